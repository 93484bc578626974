//! A command as one of several processes that `mpirun` or `srun` has started: joining them, being the same as they are, and ending with them.

use std::io::{Write, sink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use flate2::Crc;
use percept_engine::Device;

use super::interrupt;
use super::outcome::{Advised, Outcome, in_words, is_broken_pipe, outcome_of};
use crate::config::{Config, ConfigError, Reduce};
use crate::records::run::Beginning;
use crate::terminal::cut;
use crate::training::reduce::Leaves;
use crate::training::world::{World, limit_from_env};

/// What launchers tell the processes that they start: how many there are, and which one this is.
const LAUNCHERS: &[[&str; 2]] = &[
    ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"],
    ["PMI_SIZE", "PMI_RANK"],
    // srun --mpi=pmix tells the number under a name of its own
    ["SLURM_STEP_NUM_TASKS", "PMIX_RANK"],
];

/// This process among those that were started together, as the launcher says: how many, and which; none without a launcher.
fn launched() -> Option<[usize; 2]> {
    let number = |name: &str| std::env::var(name).ok()?.trim().parse().ok();
    LAUNCHERS.iter().find_map(|[size, rank]| Some([number(size)?, number(rank)?]))
}

/// Whether this process speaks before there are ranks: one that was started alone, or is the first.
pub(super) fn is_first() -> bool {
    launched().is_none_or(|[_, rank]| rank == 0)
}

/// Runs a command that several processes do together, and ends all of them if one fails: with its error and exit code, after a panic with 101. What the others than the first have to say is not
/// shown, unless it is an error.
pub(super) fn together(
    out: &mut dyn Write,
    errors: &mut dyn Write,
    run: impl FnOnce(&World, &mut dyn Write, &mut dyn Write) -> Result<Outcome>,
) -> Result<Outcome> {
    let joined = join()?;
    let world = joined.world();
    if world.size() == 1 {
        return run(world, out, errors);
    }
    let limit = limit_from_env().map_err(|problem| ConfigError::Range { origin: "environment".into(), problem })?;
    world.watch_over(limit, interrupt::requested, |waiting| eprintln!("error: {waiting}"));
    let (mut nowhere, mut nobody) = (sink(), sink());
    let ended = catch_unwind(AssertUnwindSafe(|| match world.is_first() {
        true => run(world, out, errors),
        false => run(world, &mut nowhere, &mut nobody),
    }));
    let code = match ended {
        Ok(Ok(outcome)) => return Ok(outcome),
        Ok(Err(error)) if world.is_first() && is_broken_pipe(&error) => return Ok(Outcome::Done),
        Ok(Err(error)) => {
            // what all ranks find is told once: the first ends the others while they wait here
            if !world.is_first() {
                std::thread::sleep(OTHERS_WAIT);
                if interrupt::requested() {
                    std::process::exit(i32::from(outcome_of(&error).code()));
                }
            }
            let _ = writeln!(errors, "error: rank {} of {}: {}", world.rank(), world.size(), cut(&in_words(&error)));
            outcome_of(&error).code()
        }
        Err(_) => {
            let _ = writeln!(errors, "error: rank {} of {} panicked", world.rank(), world.size());
            PANICKED
        }
    };
    let _ = errors.flush();
    world.abort(code)
}

/// As long as it takes to print an error and to end other processes.
const OTHERS_WAIT: Duration = Duration::from_secs(3);
/// The exit code of a Rust program that panics.
const PANICKED: u8 = 101;

#[cfg(feature = "mpi")]
fn join() -> Result<Joined> {
    let Some([size, _]) = launched() else { return Ok(Joined::Alone(World::alone())) };
    let joined = crate::training::world::mpi::join().ok_or_else(|| anyhow!("MPI was used in this process before"))?;
    let found = joined.world.size();
    if found != size {
        let error = anyhow!("the launcher started {size} processes, and MPI knows of {found}");
        let advice =
            "percept was built with another MPI than it is started with: build it with the mpicc that belongs to this mpirun or srun"
                .to_owned();
        return Err(Advised { error, advice, outcome: Outcome::BadInput }.into());
    }
    Ok(Joined::Ranks(joined))
}

#[cfg(not(feature = "mpi"))]
fn join() -> Result<Joined> {
    match launched() {
        Some([size, _]) if size > 1 => {
            let error = anyhow!("started as one of {size} processes, each of which would do the whole run");
            let advice = "this percept was built without MPI: build it with --features mpi (README.md, Several machines)".to_owned();
            Err(Advised { error, advice, outcome: Outcome::BadInput }.into())
        }
        _ => Ok(Joined::Alone(World::alone())),
    }
}

enum Joined {
    Alone(World),
    #[cfg(feature = "mpi")]
    Ranks(crate::training::world::mpi::Joined),
}

impl Joined {
    fn world(&self) -> &World {
        match self {
            Joined::Alone(world) => world,
            #[cfg(feature = "mpi")]
            Joined::Ranks(joined) => &joined.world,
        }
    }
}

/// The settings of a run that begins: what `auto` means here.
pub(super) fn resolved(mut config: Config, world: &World) -> Config {
    if config.train.reduce == Reduce::Auto && world.is_launched() {
        config.train.reduce = Reduce::Exact;
    }
    config
}

/// Checks that so many ranks can share a step.
///
/// # Errors
/// A number of ranks that does not divide the prompts, or that does not add gradients exactly.
pub(super) fn check(config: &Config, world: &World) -> Result<(), ConfigError> {
    let leaves = Leaves::new(config.rollout.prompts_per_step, config.train.updates_per_step);
    leaves
        .check(world.size(), config.train.reduce)
        .map_err(|problem| ConfigError::Range { origin: format!("{} ranks", world.size()), problem })
}

/// Compares what ranks begin with: program, settings, model and data, device.
///
/// # Errors
/// What a rank has otherwise than the first, the same error on all of them.
pub(super) fn compare(world: &World, settings: &str, beginning: &Beginning, device: &Device) -> Result<()> {
    if world.size() == 1 {
        return Ok(());
    }
    let text = |name: &str, sums: &std::collections::BTreeMap<String, u32>| {
        sums.iter().map(|(what, sum)| format!("{name}{what} {sum:08x}\n")).collect::<String>()
    };
    let own = [
        ("program", program()?),
        ("settings", settings.to_owned()),
        ("model", text("", &beginning.model)),
        ("data", text("", &beginning.data)),
        ("device", format!("{device}\n")),
    ];
    let said: Vec<&str> = own.iter().map(|(_, text)| text.as_str()).collect();
    let all = world.gather("what the ranks begin with", serde_json::to_vec(&said).expect("plain data"));
    let all: Vec<Vec<String>> = all.iter().map(|bytes| serde_json::from_slice(bytes).expect("what a rank sends is whole")).collect();
    for (rank, of_rank) in all.iter().enumerate() {
        for ((what, _), (first, other)) in own.iter().zip(all[0].iter().zip(of_rank)) {
            if first != other {
                let (expected, got) = first_difference(first, other);
                let problem = format!("{what} of rank {rank}: expected `{expected}`, as rank 0 has, got `{got}`");
                return Err(ConfigError::Range { origin: format!("{} ranks", world.size()), problem }.into());
            }
        }
    }
    Ok(())
}

/// The first lines that differ.
fn first_difference<'a>(a: &'a str, b: &'a str) -> (&'a str, &'a str) {
    let (mut a, mut b) = (a.lines(), b.lines());
    loop {
        match (a.next(), b.next()) {
            (Some(a), Some(b)) if a == b => {}
            (a, b) => return (a.unwrap_or("nothing more"), b.unwrap_or("nothing more")),
        }
    }
}

/// The version of this program and the checksum of its file: builds of one version may round otherwise.
fn program() -> Result<String> {
    let mut crc = Crc::new();
    crc.update(&std::fs::read(std::env::current_exe()?)?);
    Ok(format!("percept {}, CRC-32 {:08x}\n", env!("CARGO_PKG_VERSION"), crc.sum()))
}

/// A line for each rank: where it is, on what it computes, what it holds, and how long it took to get there.
pub(super) fn lines(world: &World, device: &Device, started: Instant) -> Vec<String> {
    if !world.is_launched() {
        return Vec::new();
    }
    let live = device.counters().live_bytes as f64 / 1e6;
    let threads = if device.is_cpu() { format!(" with {} threads", rayon::current_num_threads()) } else { String::new() };
    let own = format!(
        "rank {} of {}: {device}{threads}, {} {}, {live:.0} MB in use, ready after {:.1} s",
        world.rank(),
        world.size(),
        world.host(),
        std::process::id(),
        started.elapsed().as_secs_f64()
    );
    world.gather("the ranks' devices", own.into_bytes()).iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}
