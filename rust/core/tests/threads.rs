//! Work shared out by rows: every row once, on the threads asked for, the same results on any number of them, and a forked child that works.

#![allow(missing_docs)]

mod reference;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Mutex;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use elbokit_core::Error;
use elbokit_core::random::{Key, fill_normals};
use elbokit_core::simd::{Level, level, with_level};
use elbokit_core::threads::{Interrupt, PARALLEL_WORK, RowsMut, for_rows, for_rows_awake, num_threads, set_num_threads, watched};
use reference::settings;

/// How often each row is visited, and the threads that did it; on a busy machine the first waits for `expected` of them to come.
fn visits(rows: usize, work: usize, expected: usize) -> (Vec<u32>, HashSet<ThreadId>) {
    let mut counts = vec![0; rows];
    let threads = Mutex::new(HashSet::new());
    let start = Instant::now();
    for_rows(rows, work, RowsMut::new(&mut counts, 1), &|range: Range<usize>, out: RowsMut<u32>| {
        assert_eq!(range.len(), out.data.len());
        threads.lock().expect("nothing panicked").insert(std::thread::current().id());
        out.data.iter_mut().for_each(|count| *count += 1);
        while threads.lock().expect("nothing panicked").len() < expected && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    (counts, threads.into_inner().expect("nothing panicked"))
}

#[test]
fn every_row_is_visited_once() {
    let _alone = settings();
    for threads in [1, 2, 3] {
        set_num_threads(threads).unwrap();
        for (rows, work) in [(0, 1), (1, usize::MAX), (2, PARALLEL_WORK), (7, PARALLEL_WORK), (1000, 1000), (100_000, 1)] {
            assert!(visits(rows, work, 1).0.iter().all(|&count| count == 1), "{rows} rows on {threads} threads");
        }
    }
}

#[test]
fn large_work_is_shared_and_small_work_stays() {
    let _alone = settings();
    let here = HashSet::from([std::thread::current().id()]);
    set_num_threads(2).unwrap();
    let (_, used) = visits(64, PARALLEL_WORK, 2);
    assert!(used.len() == 2 && used.is_superset(&here), "{used:?}");
    assert_eq!(visits(10, 100, 1).1, here, "too small to be shared at any time");
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(visits(10, PARALLEL_WORK / 10 - 1, 1).1, here, "the other threads sleep");
    // The machine may hold this thread up between two calls, but not every time.
    let follows = |_| visits(64, PARALLEL_WORK, 2).1.len() == 2 && visits(16, PARALLEL_WORK / 32, 2).1.len() == 2;
    assert!((0..3).any(follows), "the other threads are awake");
    set_num_threads(1).unwrap();
    assert_eq!(visits(64, PARALLEL_WORK, 1).1, here);
}

#[test]
fn the_number_of_threads_is_checked() {
    let _alone = settings();
    set_num_threads(3).unwrap();
    for bad in [0, 1025] {
        assert!(matches!(set_num_threads(bad), Err(Error::Value { argument: "n", .. })));
        assert_eq!(num_threads(), 3);
    }
}

#[test]
fn parts_of_a_loop_are_shared_row_by_row() {
    let _alone = settings();
    let here = HashSet::from([std::thread::current().id()]);
    let used = |rows: usize, work: usize, expected: usize| {
        let (threads, visited) = (Mutex::new(HashSet::new()), Mutex::new(vec![]));
        let start = Instant::now();
        for_rows_awake(rows, work, (), &|range: Range<usize>, ()| {
            visited.lock().expect("nothing panicked").extend(range);
            threads.lock().expect("nothing panicked").insert(std::thread::current().id());
            while threads.lock().expect("nothing panicked").len() < expected && start.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut visited = visited.into_inner().expect("nothing panicked");
        visited.sort_unstable();
        assert!(visited.into_iter().eq(0..rows));
        threads.into_inner().expect("nothing panicked")
    };
    for threads in [2, 3] {
        set_num_threads(threads).unwrap();
        assert_eq!(used(threads, 10_000, threads).len(), threads, "little work is shared too");
        assert_eq!(used(7, 100, 1), here, "next to none is not");
        assert_eq!(used(1, PARALLEL_WORK, 1), here);
    }
    set_num_threads(1).unwrap();
    assert_eq!(used(7, PARALLEL_WORK, 1), here);
}

#[test]
fn calls_within_a_call_visit_every_row_once() {
    let _alone = settings();
    for threads in [1, 2, 4] {
        set_num_threads(threads).unwrap();
        let mut counts = vec![0; 8 * 500];
        for_rows(8, PARALLEL_WORK, RowsMut::new(&mut counts, 500), &|_, out: RowsMut<u32>| {
            for_rows(out.data.len(), PARALLEL_WORK / 100, RowsMut::new(out.data, 1), &|_, out: RowsMut<u32>| {
                out.data.iter_mut().for_each(|count| *count += 1);
            });
        });
        assert!(counts.iter().all(|&count| count == 1), "{threads} threads");
    }
}

#[test]
fn calls_from_many_threads_at_once_end() {
    let _alone = settings();
    set_num_threads(3).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for call in 0..2000 {
                    let mut counts = vec![0; 64];
                    for_rows_awake(64, 1000, RowsMut::new(&mut counts, 1), &|_, out: RowsMut<u32>| {
                        out.data.iter_mut().for_each(|count| *count += 1);
                    });
                    assert!(counts.iter().all(|&count| count == 1), "call {call}");
                }
            });
        }
    });
}

#[test]
fn a_raised_interrupt_stops_watched_work() {
    let interrupt = Interrupt::default();
    assert_eq!(interrupt.poll(), Ok(()));
    let mut looks = 0;
    let result = watched(
        || {
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(10) {
                interrupt.poll()?;
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        },
        || {
            looks += 1;
            interrupt.raise();
        },
    );
    assert_eq!(result, Err(Error::Interrupted));
    assert!(looks > 0);
    assert_eq!(watched(|| 5, || ()), 5);
}

#[test]
fn a_panic_in_watched_work_reaches_the_caller() {
    let panic = std::panic::catch_unwind(|| watched(|| panic!("as asked"), || ())).expect_err("it panicked");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"as asked"));
}

#[test]
fn a_panic_in_shared_work_reaches_the_caller_whoever_panics() {
    let _alone = settings();
    set_num_threads(2).unwrap();
    let here = std::thread::current().id();
    for in_the_pool in [false, true] {
        let panicked = std::sync::atomic::AtomicBool::new(false);
        let call = || {
            for_rows(64, PARALLEL_WORK, (), &|_, ()| {
                let start = Instant::now();
                if (std::thread::current().id() != here) == in_the_pool {
                    panicked.store(true, std::sync::atomic::Ordering::SeqCst);
                    panic!("as asked");
                }
                while !panicked.load(std::sync::atomic::Ordering::SeqCst) && start.elapsed() < Duration::from_secs(5) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        };
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).expect_err("it panicked");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"as asked"));
    }
    assert!(visits(64, PARALLEL_WORK, 2).0.iter().all(|&count| count == 1), "the pool works on");
}

#[test]
fn a_call_does_not_wait_for_a_busy_pool() {
    let _alone = settings();
    set_num_threads(2).unwrap();
    let (busy, done) = (Interrupt::default(), Interrupt::default());
    std::thread::scope(|scope| {
        let (busy, done) = (&busy, &done);
        scope.spawn(move || {
            let caller = std::thread::current().id();
            for_rows(2, PARALLEL_WORK, (), &|_, ()| {
                if std::thread::current().id() != caller {
                    busy.raise();
                }
                while done.poll().is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        });
        while busy.poll().is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // With the pool's thread held, the call would never return if it waited for one.
        assert!(visits(1000, PARALLEL_WORK, 1).0.iter().all(|&count| count == 1));
        done.raise();
    });
}

/// Normals on two threads, enough for the pool.
fn draw() -> Vec<f32> {
    let mut out = vec![0.0; 1 << 20];
    fill_normals(Key(1), 0, 0, 16, &mut out);
    out
}

#[cfg(unix)]
#[test]
fn a_forked_child_makes_a_pool_of_its_own() {
    let _alone = settings();
    set_num_threads(2).unwrap();
    let expected = draw();
    assert_eq!(visits(64, PARALLEL_WORK, 2).1.len(), 2, "the parent has a pool before it forks");
    // SAFETY: the child calls this crate and `_exit` alone; glibc keeps the allocator usable after a fork.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let works = std::panic::catch_unwind(|| visits(64, PARALLEL_WORK, 2).1.len() == 2 && draw() == expected);
        // SAFETY: ends the child at once, without the parent's destructors.
        unsafe { libc::_exit(i32::from(!works.unwrap_or(false))) };
    }
    assert!(child > 0, "fork failed");
    let start = Instant::now();
    let mut status = 0;
    // SAFETY: `child` is our child and `status` outlives the call.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if start.elapsed() > Duration::from_secs(10) {
            // SAFETY: the child is ours and has not been waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the forked child hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the forked child ended with {status}");
    assert_eq!(draw(), expected, "the parent works on");
}

#[test]
fn a_callers_own_rayon_pool_is_not_taken_for_ours() {
    let _alone = settings();
    set_num_threads(2).unwrap();
    let theirs = rayon::ThreadPoolBuilder::new().num_threads(2).thread_name(|_| "theirs".into()).build().unwrap();
    let names = Mutex::new(HashSet::new());
    let start = Instant::now();
    theirs.install(|| {
        for_rows(64, PARALLEL_WORK, (), &|_, ()| {
            names.lock().expect("nothing panicked").insert(std::thread::current().name().map(str::to_owned));
            while names.lock().expect("nothing panicked").len() < 2 && start.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    });
    let expected = ["theirs", "elbokit-0"].map(|name| Some(name.to_owned()));
    assert_eq!(names.into_inner().expect("nothing panicked"), HashSet::from(expected));
}

#[test]
fn the_environment_says_how_many_threads() {
    const EXPECTED: &str = "ELBOKIT_TEST_EXPECTED_THREADS";
    if let Ok(expected) = std::env::var(EXPECTED) {
        assert_eq!(num_threads().to_string(), expected);
        return;
    }
    // The number is read once a process, so each case has one of its own.
    for (ours, openmp, expected) in [("", "4,2", "4"), ("", " 3 ", "3"), ("5", "4,2", "5"), ("0", "2", "2")] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "the_environment_says_how_many_threads"]).env(EXPECTED, expected);
        let output = child.env("ELBOKIT_NUM_THREADS", ours).env("OMP_NUM_THREADS", openmp).output().unwrap();
        assert!(output.status.success(), "{ours:?} {openmp:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn a_panic_at_another_level_leaves_the_level_as_it_was() {
    let _alone = settings();
    let before = level();
    let panic = std::panic::catch_unwind(|| with_level(Level::Baseline, || panic!("as asked")));
    assert!(panic.is_err() && level() == before);
}
