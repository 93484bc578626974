//! `percept-fuzz`: mutated files by the hundred thousand.
//!
//! ```sh
//! cargo run --package percept-fuzz -- --seconds 60
//! cargo run --package percept-fuzz -- --target jsonl --seed 1 --from 4711 --count 1    # one file again
//! ```

use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use percept_fuzz::Folder;
use percept_fuzz::mutate::mutate;
use percept_fuzz::random::Random;
use percept_fuzz::targets::{TARGETS, Target, Verdict};

/// Reads mutated files with everything in Percept that reads files of strangers. Ends with an error after a panic, an abort, a hang (over ten seconds for a file), more than 2 GiB of
/// address space, or an error that names no file.
#[derive(Parser)]
struct Args {
    /// Read for about so long, all targets together.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The same seed makes the same files.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Only this target, in this process.
    #[arg(long)]
    target: Option<String>,
    /// With --target: the number of the first file.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// With --target: how many files. Default: as many as there is time for.
    #[arg(long)]
    count: Option<u64>,
    /// With --target: where the number of the file that is being read is written.
    #[arg(long, hide = true)]
    log: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(name) = &args.target {
        let target = TARGETS.iter().find(|target| target.name == *name);
        let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
        let target = target.with_context(|| format!("--target: expected one of {}, got {name}", names()))?;
        return work(target, &args);
    }
    let mut is_good = true;
    let mut all = 0;
    let seconds = args.seconds as f64 / TARGETS.len() as f64;
    for target in TARGETS {
        match in_process(target, args.seed, seconds) {
            Ok((read, report)) => {
                all += read;
                println!("{report}");
            }
            Err(error) => {
                is_good = false;
                println!("{:<14} FAILED: {error:#}", target.name);
            }
        }
    }
    println!("{all} files, seed {}", args.seed);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a target in a process of its own. How many files it read, and what it said.
fn in_process(target: &Target, seed: u64, seconds: f64) -> Result<(u64, String)> {
    let log = tempfile::NamedTempFile::new()?;
    let program = std::env::current_exe()?;
    let seed = seed.to_string();
    let mut child = Command::new(program)
        .args(["--target", target.name, "--seed", &seed, "--seconds", &(seconds.ceil() as u64).to_string(), "--log"])
        .arg(log.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let hung = wait(&mut child, log.path())?;
    let output = child.wait_with_output()?;
    let number = || std::fs::read_to_string(log.path()).unwrap_or_default();
    let again =
        || format!("cargo run --package percept-fuzz -- --target {} --seed {seed} --from {} --count 1", target.name, number().trim());
    if hung {
        bail!("hangs: {}", again());
    }
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        bail!("{}: {}\n{said}", output.status, again());
    }
    let read = said.split_whitespace().nth(1).and_then(|number| number.parse().ok());
    Ok((read.ok_or_else(|| anyhow!("no report: {said}"))?, said))
}

/// Waits for the end, or for a file that is read for ten seconds, which ends it; whether that was it.
fn wait(child: &mut Child, log: &Path) -> Result<bool> {
    let (mut last, mut since) = (String::new(), Instant::now());
    while child.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(50));
        let now = std::fs::read_to_string(log).unwrap_or_default();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > Duration::from_secs(10) {
            child.kill()?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads files with one target.
fn work(target: &Target, args: &Args) -> Result<ExitCode> {
    #[cfg(unix)]
    limit_memory()?;
    let folder = Folder::new();
    let seeds = (target.seeds)();
    let mut reader = (target.open)(folder.path());
    // good files are read, else nothing behind the first check is ever reached
    let mut good = 0;
    for (name, bytes) in &seeds {
        match reader(name, bytes) {
            Verdict::Read => good += 1,
            Verdict::Refused => {}
            Verdict::Nameless(error) => bail!("a good {name}: {error}"),
        }
    }
    if good == 0 {
        bail!("none of {} good files is read", seeds.len());
    }
    let names: Vec<&str> = seeds.iter().map(|(name, _)| *name).collect();
    let mut log = args.log.as_ref().map(File::create).transpose()?;
    let end = args.count.map(|count| args.from + count);
    let (start, mut number) = (Instant::now(), args.from);
    let (mut read, mut refused, mut slowest) = (0u64, 0u64, (Duration::ZERO, 0));
    while end.map_or_else(|| start.elapsed().as_secs() < args.seconds, |end| number < end) {
        if let Some(log) = &mut log {
            note(log, number)?;
        }
        let mut random = Random::new(args.seed, number);
        let name = *random.one_of(&names);
        let of_name: Vec<Vec<u8>> = seeds.iter().filter(|(seed, _)| *seed == name).map(|(_, bytes)| bytes.clone()).collect();
        let bytes = mutate(&of_name, &mut random);
        if args.count == Some(1) {
            let path = std::env::temp_dir().join(format!("percept-fuzz-{name}"));
            std::fs::write(&path, &bytes)?;
            println!("{}", path.display());
        }
        let clock = Instant::now();
        let verdict = catch_unwind(AssertUnwindSafe(|| reader(name, &bytes)));
        slowest = slowest.max((clock.elapsed(), number));
        let wrong = match verdict {
            Ok(Verdict::Read) => {
                read += 1;
                None
            }
            Ok(Verdict::Refused) => {
                refused += 1;
                None
            }
            Ok(Verdict::Nameless(error)) => Some(format!("an error that names no file: {error}")),
            Err(_) => Some("a panic".to_owned()),
        };
        if let Some(wrong) = wrong {
            println!("file {number} ({name}): {wrong}");
            return Ok(ExitCode::FAILURE);
        }
        number += 1;
    }
    let files = number - args.from;
    println!(
        "{:<14} {files:>7} files: {read} read, {refused} refused; the slowest {} ms (file {})",
        target.name,
        slowest.0.as_millis(),
        slowest.1
    );
    Ok(ExitCode::SUCCESS)
}

fn note(log: &mut File, number: u64) -> Result<()> {
    use std::io::{Seek, SeekFrom};
    log.seek(SeekFrom::Start(0))?;
    write!(log, "{number:020}")?;
    Ok(())
}

/// An allocation beyond it ends the process.
#[cfg(unix)]
fn limit_memory() -> Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    const MOST: u64 = 2 << 30;
    setrlimit(Resource::As, Rlimit { current: Some(MOST), maximum: Some(MOST) })?;
    Ok(())
}
