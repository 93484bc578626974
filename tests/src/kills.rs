//! Many kills at random moments, and many starts at once: too long for every day.
//!
//! ```sh
//! cargo test -p percept-tests -- --ignored --exact kills::a_hundred_kills_leave_the_same_bits --nocapture
//! cargo test -p percept-tests -- --ignored --exact kills::sixty_starts_in_one_second_have_a_folder_each --nocapture
//! cargo test -p percept-tests -- --ignored --exact kills::a_disk_that_becomes_read_only_costs_nothing --nocapture    # as root
//! ```

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use percept_cppo::config::Config;
use percept_cppo::random::Random;
use percept_cppo::records::run::RunFolder;

use crate::program::{assert_nothing_is_half_written, command, end, record, recorded_steps, text, wait_until};
use crate::{compare, sft_command, train_command};

/// Runs `start`, then `resume` again and again, killing each process after up to `longest` ms, until one ends by itself. How many were killed at work.
fn kill_until_done(start: Command, resume: impl Fn() -> Command, longest: u64, random: &mut Random) -> u64 {
    let mut kills = 0;
    let mut next = start;
    loop {
        let mut child = next.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.next_u64() % longest));
        let was_at_work = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        let (code, out, errors) = end(child);
        assert!(!errors.contains("panicked"), "{errors}");
        if !was_at_work {
            assert_eq!(code, Some(0), "{out}{errors}");
            return kills;
        }
        kills += 1;
        next = resume();
    }
}

fn of(arguments: &[String]) -> Command {
    command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
#[ignore = "minutes"]
fn a_hundred_kills_leave_the_same_bits() {
    let mut random = Random::new(7, "kills", 0);
    let mut kills = [0; 3];
    let mut runs = [0; 3];
    while kills[0] < 40 {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("r");
        let start = || of(&train_command::arguments(folder.path(), "r", &[]));
        // killed before there was a folder: start again
        let resume = || if run.join("config.toml").exists() { command(&["train", "--resume", text(&run)]) } else { start() };
        kills[0] += kill_until_done(start(), resume, 4000, &mut random);
        assert_eq!(record(&run), record(train_command::undisturbed()));
        assert_nothing_is_half_written(&run);
        runs[0] += 1;
    }
    println!("train: {} kills in {} runs", kills[0], runs[0]);
    while kills[1] < 30 {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("r");
        let start = || of(&sft_command::arguments(folder.path(), "r", &[]));
        let resume = || if run.join("config.toml").exists() { command(&["sft", "--resume", text(&run)]) } else { start() };
        kills[1] += kill_until_done(start(), resume, 3000, &mut random);
        let (whole, home) = sft_command::undisturbed();
        assert_eq!(sft_command::metrics(&run), sft_command::metrics(whole));
        assert!(sft_command::weights(folder.path()) == sft_command::weights(home), "the weights differ");
        runs[1] += 1;
    }
    println!("sft: {} kills in {} runs", kills[1], runs[1]);
    let whole = tempfile::tempdir().unwrap();
    end(command(&["compare", text(&compare::file(whole.path())), "--cell", "cppo-seed0"]).spawn().unwrap());
    while kills[2] < 30 {
        let folder = tempfile::tempdir().unwrap();
        let file = compare::file(folder.path());
        let start = || command(&["compare", text(&file), "--cell", "cppo-seed0"]);
        kills[2] += kill_until_done(start(), start, 4000, &mut random);
        let [a, b] = [&whole, &folder].map(|folder| compare::cell(folder.path(), "cppo-seed0"));
        assert!(compare::same(&a, &b), "{:?}\n{:?}", a.training, b.training);
        runs[2] += 1;
    }
    println!("compare: {} kills in {} runs", kills[2], runs[2]);
    println!("{} kills, the same bits", kills.iter().sum::<u64>());
}

/// Each with a seed of its own: whoever made a folder finds its own settings in it.
#[test]
#[ignore = "minutes"]
fn sixty_starts_in_one_second_have_a_folder_each() {
    let folder = tempfile::tempdir().unwrap();
    let begin = |name: Option<&str>, seed: usize| -> Child {
        let seed = format!("run.seed={seed}");
        let mut arguments = train_command::arguments(folder.path(), name.unwrap_or("x"), &[&seed, "train.steps=1", "eval.problems=0"]);
        if name.is_none() {
            let at = arguments.iter().position(|argument| argument.starts_with("run.name=")).unwrap();
            arguments.drain(at - 1..=at);
        }
        of(&arguments).spawn().unwrap()
    };
    let seed_of = |run: &Path| RunFolder::open(run).unwrap().config::<Config>().unwrap().run.seed;
    let children: Vec<Child> = (0..60).map(|seed| begin(None, seed)).collect();
    let mut seen = BTreeSet::new();
    for (seed, child) in children.into_iter().enumerate() {
        let (code, out, errors) = end(child);
        assert_eq!(code, Some(0), "{out}{errors}");
        let run = out.split_once("run folder ").unwrap().1.lines().next().unwrap().to_owned();
        assert_eq!(seed_of(Path::new(&run)), seed as u64, "{run}");
        assert!(seen.insert(run.clone()), "{run} twice");
    }
    println!("60 starts, {} folders, each with its own settings", seen.len());
    // of those that want the same name one wins
    let children: Vec<(usize, Child)> = (0..60).map(|seed| (seed, begin(Some("same"), seed))).collect();
    let ended = children.into_iter().map(|(seed, child)| (seed, end(child)));
    let (winners, losers): (Vec<_>, Vec<_>) = ended.partition(|(_, (code, ..))| *code == Some(0));
    assert_eq!((winners.len(), winners[0].0 as u64), (1, seed_of(&folder.path().join("same"))));
    assert!(losers.iter().all(|(_, (_, _, errors))| errors.contains("this run exists already")), "{losers:?}");
    println!("60 starts with one name: one winner, {} are told that it exists", losers.len());
}

/// A small ext4 in a file, mounted on a folder, which becomes read-only at its first error, as most systems mount their disks.
#[cfg(target_os = "linux")]
struct Mount {
    folder: tempfile::TempDir,
    device: String,
}

#[cfg(target_os = "linux")]
impl Mount {
    /// None where nothing can be mounted.
    fn new() -> Option<Mount> {
        let folder = tempfile::tempdir().unwrap();
        let [disk, place] = ["disk", "place"].map(|name| folder.path().join(name));
        std::fs::create_dir(&place).unwrap();
        std::fs::File::create(&disk).unwrap().set_len(256 << 20).unwrap();
        done("mkfs.ext4", &["-q", "-F", text(&disk)]).then_some(())?;
        done("mount", &["-o", "loop,errors=remount-ro", text(&disk), text(&place)]).then_some(())?;
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(text(&place))).unwrap();
        let device = line.split(' ').next().unwrap().trim_start_matches("/dev/").to_owned();
        Some(Mount { folder, device })
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("place")
    }

    /// From here on nothing is written, to open files neither. (`mount -o remount,ro` is refused while a file is open for writing, which a run's are.)
    fn fail(&self) {
        std::fs::write(format!("/sys/fs/ext4/{}/trigger_fs_error", self.device), "test").unwrap();
    }

    /// As an administrator does it: unmounted, checked, mounted again.
    fn mend(&self) {
        let (disk, place) = (self.folder.path().join("disk"), self.path());
        assert!(done("umount", &[text(&place)]));
        done("e2fsck", &["-f", "-p", text(&disk)]);
        assert!(done("mount", &["-o", "loop,errors=remount-ro", text(&disk), text(&place)]));
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mount {
    fn drop(&mut self) {
        done("umount", &[text(&self.path())]);
    }
}

#[cfg(target_os = "linux")]
fn done(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "mounts, for which it must be root"]
fn a_disk_that_becomes_read_only_costs_nothing() {
    for after in 1..7 {
        let Some(mount) = Mount::new() else { return println!("skipped: nothing can be mounted here") };
        let folder = mount.path();
        let run = folder.join("r");
        let mut child = of(&train_command::arguments(&folder, "r", &[])).spawn().unwrap();
        wait_until(&mut child, || recorded_steps(&run) >= after);
        mount.fail();
        let (code, out, errors) = end(child);
        println!("after step {after}: {}", errors.trim());
        // where the journal ended, an error of the disk at first
        let is_said = ["Read-only file system", "Input/output error"].iter().any(|what| errors.contains(what));
        assert!(code != Some(0) && is_said && errors.contains("/place/r") && !errors.contains("panicked"), "{out}{errors}");
        mount.mend();
        let (code, out, errors) = end(command(&["train", "--resume", text(&run)]).spawn().unwrap());
        assert_eq!(code, Some(0), "{out}{errors}");
        assert_eq!(record(&run), record(train_command::undisturbed()));
        assert_nothing_is_half_written(&run);
    }
    println!("six runs were stopped by it, and went on to the same bits");
}
