//! The threads that CPU kernels share: one pool, and one way to split work, numbered tasks that whoever is free takes next.
//!
//! A training step of a small model runs thousands of kernels that take tens of microseconds each, so handing work over has to cost less than one. A
//! worker that has nothing to do looks for the next job in a loop for a while before it goes to sleep; within a step it hardly ever sleeps. Nobody waits for a worker
//! that comes late: it finds the tasks gone. A kernel called from inside a task, or while another thread is using the pool, runs its tasks by itself.
//!
//! Which thread runs a task is left to chance. So that results do not depend on it, a task is cut by sizes alone, never by the number of threads.
#![allow(unsafe_code)] // a job lives on its caller's stack; the caller returns after the last worker has left it

use std::cell::Cell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock, TryLockError};
use std::thread::{self, Thread};

use crate::{parallel, widest};

/// How often an idle worker looks for a job before it sleeps: a few tens of microseconds.
const LOOKS: u32 = 2_000;

/// The number of threads, the caller's among them: as many as rayon has, which `RAYON_NUM_THREADS` sets.
pub fn threads() -> usize {
    pool().workers.len() + 1
}

/// Calls `f` with every number below `tasks`, on all threads. Returns when all calls have.
///
/// # Panics
/// If a call panics, with the message of one that did.
#[inline(always)]
pub fn for_each(tasks: usize, f: impl Fn(usize) + Sync) {
    parallel!(for_each_with(tasks, || ()), |(), task| f(task));
}

/// [`for_each`] with something that each thread makes once and keeps from task to task, such as scratch memory.
///
/// # Panics
/// As [`for_each`].
#[inline(always)]
pub fn for_each_with<S>(tasks: usize, start: impl Fn() -> S + Sync, f: impl Fn(&mut S, usize) + Sync) {
    let work = |next: &AtomicUsize| {
        let mut task = next.fetch_add(1, SeqCst);
        if task >= tasks {
            return;
        }
        widest!({
            let mut state = start();
            while task < tasks {
                f(&mut state, task);
                task = next.fetch_add(1, SeqCst);
            }
        });
    };
    if tasks > 1 && !BUSY.get() {
        let pool = pool();
        let owner = match pool.owner.try_lock() {
            Ok(owner) => Some(owner),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if owner.is_some() {
            return pool.run(tasks, &work);
        }
    }
    work(&AtomicUsize::new(0));
}

thread_local! {
    /// True on a thread that is running a task.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Work that a caller shares with the workers. It lives on the caller's stack.
struct Job<'a> {
    /// Takes tasks, by counting on, until there are none.
    work: &'a (dyn Fn(&AtomicUsize) + Sync),
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

impl Job<'_> {
    fn take_part(&self) {
        BUSY.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| (self.work)(&self.next)));
        BUSY.set(false);
        if let Err(payload) = result {
            self.next.store(usize::MAX / 2, SeqCst); // the tasks that are left are given up
            *self.panic.lock().expect("no panic while it is held") = Some(payload);
        }
    }
}

struct Pool {
    /// Held by the caller whose job is being done.
    owner: Mutex<()>,
    /// The job, if there is one.
    job: AtomicPtr<Job<'static>>,
    /// Counts jobs, so that a worker sees that there is a new one.
    generation: AtomicU32,
    /// Workers that may be looking at the job.
    inside: AtomicUsize,
    workers: Vec<Worker>,
}

struct Worker {
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    static STARTED: OnceLock<()> = OnceLock::new();
    let pool = POOL.get_or_init(|| Pool {
        owner: Mutex::new(()),
        job: AtomicPtr::new(ptr::null_mut()),
        generation: AtomicU32::new(0),
        inside: AtomicUsize::new(0),
        workers: (1..rayon::current_num_threads()).map(|_| Worker { asleep: AtomicBool::new(false), thread: OnceLock::new() }).collect(),
    });
    STARTED.get_or_init(|| {
        for (index, worker) in pool.workers.iter().enumerate() {
            let started = thread::Builder::new().name(format!("percept-{}", index + 1)).spawn(move || pool.serve(worker));
            if let Ok(handle) = started {
                worker.thread.set(handle.thread().clone()).expect("set once");
            } // a thread that cannot be had is done without: nobody waits for it
        }
    });
    pool
}

impl Pool {
    fn run(&self, tasks: usize, work: &(dyn Fn(&AtomicUsize) + Sync)) {
        let job = Job { work, next: AtomicUsize::new(0), panic: Mutex::new(None) };
        self.job.store((&raw const job).cast_mut().cast(), SeqCst);
        self.generation.fetch_add(1, SeqCst);
        for worker in self.workers.iter().take(tasks - 1) {
            if worker.asleep.swap(false, SeqCst)
                && let Some(thread) = worker.thread.get()
            {
                thread.unpark();
            }
        }
        job.take_part();
        // no worker finds the job from here on; those that have found it are waited for
        self.job.store(ptr::null_mut(), SeqCst);
        let mut looks = 0;
        while self.inside.load(SeqCst) > 0 {
            looks += 1;
            if looks < LOOKS { spin_loop() } else { thread::yield_now() }
        }
        if let Some(payload) = job.panic.into_inner().expect("no panic while it is held") {
            resume_unwind(payload);
        }
    }

    fn serve(&self, worker: &Worker) {
        let mut seen = 0;
        loop {
            seen = self.await_job_after(seen, worker);
            self.inside.fetch_add(1, SeqCst);
            // SAFETY: the caller first hides the job and then waits until nobody is inside. All accesses are in one order (`SeqCst`): either this
            // load comes after the hiding and finds nothing, or the caller sees that this worker is inside and lets the job live.
            if let Some(job) = unsafe { self.job.load(SeqCst).as_ref() } {
                job.take_part();
            }
            self.inside.fetch_sub(1, SeqCst);
        }
    }

    /// The number of a job later than `seen`, once there is one.
    fn await_job_after(&self, seen: u32, worker: &Worker) -> u32 {
        loop {
            for _ in 0..LOOKS {
                let generation = self.generation.load(SeqCst);
                if generation != seen {
                    return generation;
                }
                spin_loop();
            }
            worker.asleep.store(true, SeqCst);
            while self.generation.load(SeqCst) == seen && worker.asleep.load(SeqCst) {
                thread::park();
            }
            worker.asleep.store(false, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_also_from_inside_a_task_and_from_many_threads() {
        let counts: Vec<AtomicUsize> = (0..500).map(|_| AtomicUsize::new(0)).collect();
        let all = || {
            for _ in 0..200 {
                for_each(50, |outer| {
                    for_each(10, |inner| {
                        counts[outer * 10 + inner].fetch_add(1, SeqCst);
                    });
                });
            }
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(all);
            }
        });
        assert!(counts.iter().all(|count| count.load(SeqCst) == 800));
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        for _ in 0..20 {
            let result = catch_unwind(|| for_each(64, |task| assert!(task != 40, "task {task}")));
            assert_eq!(result.expect_err("a panic").downcast_ref::<String>().expect("a message"), "task 40");
            let sum = AtomicUsize::new(0);
            for_each(100, |task| {
                sum.fetch_add(task, SeqCst);
            });
            assert_eq!(sum.load(SeqCst), 4950);
        }
    }
}
