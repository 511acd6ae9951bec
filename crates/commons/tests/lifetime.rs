//! A segment `UntilLastDetach` lives as long as anybody holds it, in whatever way, and no longer.

mod common;

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

use common::{Private, fork};
use commons::{Error, Lifetime, OwnerPolicy, SegmentOptions};

#[test]
fn it_goes_with_the_last_handle_or_attachment() {
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    let attachment = segment.attach().unwrap();
    let other = private.options().open("x").unwrap();
    drop(segment);
    drop(other);
    assert_eq!(private.files(), ["x"], "the attachment holds it");
    assert!(private.namespace.exists("x").unwrap());
    attachment.detach().unwrap();
    assert!(private.files().is_empty());

    let segment = private.options().create("x").unwrap();
    drop(segment.attach().unwrap());
    assert_eq!(private.files(), ["x"], "the handle holds it");
    drop(segment);
    assert!(private.files().is_empty());
}

#[test]
fn until_deleted_stays_until_it_is_deleted() {
    let private = Private::new();
    drop(private.staying().create("x").unwrap());
    assert_eq!(private.namespace.sweep().unwrap().segments, 0);
    assert_eq!(private.options().open("x").unwrap().lifetime(), Lifetime::UntilDeleted);
    private.namespace.delete("x").unwrap();
    assert!(private.files().is_empty());
    assert!(matches!(private.namespace.delete("x"), Err(Error::NotFound(_))));
}

#[test]
fn a_deleted_segment_lives_on_for_its_holders() {
    let private = Private::new();
    let old = private.options().create("x").unwrap();
    let memory = old.attach().unwrap();
    old.delete().unwrap();
    assert!(matches!(old.delete(), Err(Error::NotFound(_))));
    let new = private.options().create("x").unwrap();
    memory.write_at(0, b"old").unwrap();
    let mut bytes = [1; 3];
    new.attach().unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 3]);
    drop(memory);
    drop(old);
    assert_eq!(private.files(), ["x"], "leaving the old one does not touch the new one's name");
}

#[test]
fn of_two_that_leave_together_the_later_deletes() {
    let private = Private::new();
    let rounds = 400;
    for round in 0..rounds {
        let segment = private.options().create("x").unwrap();
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            for way in 0..2 {
                let other = private.options().open("x").unwrap();
                let (start, round) = (&start, round);
                scope.spawn(move || {
                    let attachment = (round % 2 == way).then(|| other.attach().unwrap());
                    let other = if round % 3 == 0 { None } else { Some(other) };
                    start.wait();
                    drop(other);
                    drop(attachment);
                });
            }
            drop(segment);
        });
        assert!(private.files().is_empty(), "left behind in round {round} of {rounds}");
    }
}

#[test]
fn threads_may_share_and_leave_as_they_like() {
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let one = segment.attach().unwrap();
                    let two = private.options().open("x").unwrap().attach().unwrap();
                    one.write_at(8, b"abc").unwrap();
                    let mut bytes = [0; 3];
                    two.read_at(8, &mut bytes).unwrap();
                    assert_eq!(&bytes, b"abc");
                }
            });
        }
    });
    assert_eq!(private.files(), ["x"]);
    drop(segment);
    assert!(private.files().is_empty());
}

#[test]
fn a_fork_holds_what_its_parent_holds() {
    for with_handle in [true, false] {
        let private = Private::new();
        let segment = private.options().create("x").unwrap();
        let attachment = segment.attach().unwrap();
        let segment = Some(segment).filter(|_| with_handle);
        let mut held = Some((segment, attachment));

        // The child leaves properly first: the parent still holds it.
        let first = held.take().unwrap();
        let child = fork(|_| drop(unsafe_copy(&first)));
        child.succeed();
        assert_eq!(private.files(), ["x"], "with_handle {with_handle}");

        // The parent leaves first: the child still holds it, and its leaving deletes it.
        let mut child = fork(|line| {
            line.hear();
            drop(unsafe_copy(&first));
        });
        drop(first);
        assert_eq!(private.files(), ["x"], "with_handle {with_handle}");
        assert!(private.options().open("x").is_ok(), "it is no orphan");
        child.say();
        child.succeed();
        assert!(private.files().is_empty(), "with_handle {with_handle}");
    }
}

/// A fork in one thread copies the process while another opens and leaves: what the child got a whole handle of,
/// it holds.
#[test]
fn a_fork_at_any_moment_holds_what_it_copied() {
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::SeqCst};
    let private = Private::new();
    let path = private.path("x");
    let shown: AtomicPtr<commons::Segment> = AtomicPtr::new(std::ptr::null_mut());
    let done = AtomicBool::new(false);
    let (mut held, mut taken) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                let Ok(segment) = private.options().open_or_create("x") else { continue };
                let segment = Box::into_raw(Box::new(segment));
                shown.store(segment, SeqCst);
                std::thread::yield_now();
                shown.store(std::ptr::null_mut(), SeqCst);
                // SAFETY: made above; the child that may still look at it has a copy of its own.
                drop(unsafe { Box::from_raw(segment) });
            }
        });
        for _ in 0..1500 {
            let child = fork(|_| {
                // SAFETY: if it is shown, it was whole when this process was copied, and is never dropped here.
                let Some(segment) = (unsafe { shown.load(SeqCst).as_ref() }) else { return };
                // Descriptors are copied before memory: one of an earlier segment may have come with it.
                if segment.size().is_err() {
                    return;
                }
                let mine = format!("/proc/self/fd/{}", segment.as_fd().as_raw_fd());
                let mine = std::fs::metadata(mine).unwrap().ino();
                for _ in 0..20 {
                    if !std::fs::metadata(&path).is_ok_and(|now| now.ino() == mine) {
                        // SAFETY: ends the child.
                        unsafe { libc::_exit(7) };
                    }
                    std::thread::sleep(std::time::Duration::from_micros(10));
                }
                // SAFETY: ends the child.
                unsafe { libc::_exit(8) };
            });
            match child.status() >> 8 {
                7 => taken += 1,
                8 => held += 1,
                _ => {}
            }
        }
        done.store(true, SeqCst);
    });
    assert_eq!(taken, 0, "of {held} that were held");
    assert!(held > 0);
    private.namespace.sweep().unwrap();
}

/// In a forked child, the parent's object: the child's memory is a copy, and ends without dropping it again.
fn unsafe_copy<T>(object: &T) -> T {
    // SAFETY: only called in a forked child, whose original is never used or dropped.
    unsafe { std::ptr::read(object) }
}

#[test]
fn what_an_exec_or_a_kill_leaves_is_an_orphan() {
    let private = Private::new();
    for exec in [true, false] {
        let mut child = fork(|line| {
            let attachment = private.options().create("x").unwrap().attach().unwrap();
            attachment.write_at(0, b"x").unwrap();
            line.say();
            if exec {
                line.hear();
                use std::os::unix::process::CommandExt;
                panic!("{}", std::process::Command::new("sleep").arg("100").exec());
            }
            line.hear();
        });
        child.hear();
        assert!(private.namespace.exists("x").unwrap(), "exec {exec}: it is held");
        assert!(matches!(private.options().create("x"), Err(Error::Exists(_))));
        if exec {
            child.say();
            while private.namespace.exists("x").unwrap() {
                std::thread::yield_now();
            }
        }
        child.kill();
        assert!(!private.namespace.exists("x").unwrap());
        assert_eq!(private.files(), ["x"], "exec {exec}: looking removes nothing");
        let mut told = Vec::new();
        let sweep = private.namespace.sweep_with(|name, bytes| told.push((name.to_string(), bytes))).unwrap();
        assert_eq!((sweep.segments, sweep.bytes, sweep.failed), (1, 4096, 0));
        assert_eq!(told, [("x".to_owned(), 4096)]);
        assert!(private.files().is_empty());
    }
}

#[test]
fn an_orphan_is_not_found_and_makes_way() {
    let private = Private::new();
    let orphan = || {
        fork(|_| std::mem::forget(private.options().create("x").unwrap())).succeed();
        assert_eq!(private.files(), ["x"]);
    };
    orphan();
    assert!(matches!(private.options().open("x"), Err(Error::NotFound(_))));
    assert!(private.files().is_empty());
    orphan();
    assert!(matches!(private.options().size(0).read_only(true).open("x"), Err(Error::NotFound(_))));
    assert_eq!(private.files(), ["x"], "a read-only opener removes nothing");
    assert!(private.options().create("x").unwrap().was_created());
    orphan();
    assert!(private.options().open_or_create("x").unwrap().was_created());
    orphan();
    private.namespace.delete("x").unwrap();
}

#[test]
fn a_program_that_closes_all_descriptors_loses_nothing() {
    let private = Private::new();
    fork(|_| {
        let segment = private.options().create("x").unwrap();
        let attachment = segment.attach().unwrap();
        let number = segment.as_fd().as_raw_fd();
        // A handle that was opened this instant is taken to be whole without asking.
        std::thread::sleep(std::time::Duration::from_millis(40));
        // SAFETY: what this test is about; nothing else here uses the descriptors.
        assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
        // The number is now somebody else's.
        let log = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: as above.
        assert!(log.as_raw_fd() == number || unsafe { libc::dup2(log.as_raw_fd(), number) } == number);
        attachment.write_at(0, b"still here").unwrap();
        assert!(matches!(segment.attach(), Err(Error::HandleClosed(_))));
        assert!(matches!(segment.grow(1 << 20), Err(Error::HandleClosed(_))));
        drop(segment);
        // SAFETY: asks about a descriptor.
        assert!(unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0, "another's descriptor was closed");
        assert_eq!(private.files(), ["x"]);
        assert!(private.options().open("x").is_ok());
        drop(attachment);
        assert!(private.files().is_empty());
    })
    .succeed();
}

#[test]
fn a_read_only_holder_holds() {
    let private = Private::new();
    let writer = private.options().create("x").unwrap();
    let reader = SegmentOptions::new().namespace(&private.namespace).read_only(true).open("x").unwrap();
    let memory = reader.attach().unwrap();
    assert!(memory.is_read_only());
    drop(reader);
    drop(writer);
    assert_eq!(private.files(), ["x"]);
    assert!(private.options().open("x").is_ok());
    drop(memory);
    assert!(private.files().is_empty(), "its user may delete it, and does");
}

#[test]
fn a_read_only_attachment_of_a_writable_handle_holds_too() {
    let private = Private::new();
    let writer = private.options().create("x").unwrap();
    let memory = writer.attach_with(&commons::AttachOptions::new().read_only(true)).unwrap();
    drop(writer);
    assert!(private.options().open("x").is_ok());
    drop(memory);
    assert!(private.files().is_empty());
}

#[test]
fn holders_of_other_users_hold() {
    if !common::is_root("holders_of_other_users_hold") {
        return;
    }
    let private = Private::new();
    // As /dev/shm is: all may make files, only owners delete them.
    std::fs::set_permissions(private.directory.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let other = || private.options().owner(OwnerPolicy::Any);
    // Forked first, or the child would hold what this process holds.
    let mut child = fork(|line| {
        line.hear();
        // SAFETY: changes only this child's user.
        assert_eq!(unsafe { libc::setuid(65534) }, 0);
        assert!(matches!(private.options().open("x"), Err(Error::ForeignOwner { owner: 0, .. })));
        let attachment = other().open("x").unwrap().attach().unwrap();
        line.say();
        line.hear();
        drop(attachment);
        line.say();
        line.hear();
        let error = other().open("x").unwrap_err();
        assert!(matches!(error, Error::ForeignOrphan { owner: 0, .. }), "{error}");
        let error = other().open_or_create("x").unwrap_err();
        assert!(matches!(error, Error::ForeignOrphan { owner: 0, .. }), "{error}");
        assert_eq!(private.namespace.sweep().unwrap().failed, 1);
    });
    let segment = private.options().mode(0o666).create("x").unwrap();
    child.say();
    child.hear();
    drop(segment);
    assert!(private.options().open("x").is_ok(), "the other user holds it");
    child.say();
    child.hear();
    // The last holder could not delete it: the directory keeps others' files from it.
    assert_eq!(private.files(), ["x"]);
    child.say();
    child.succeed();
    assert_eq!(private.namespace.sweep().unwrap().segments, 1, "its owner sweeps it");
}

#[test]
fn holders_in_other_pid_namespaces_hold() {
    if !common::is_root("holders_in_other_pid_namespaces_hold") {
        return;
    }
    let private = Private::new();
    let mut child = fork(|line| {
        // SAFETY: the next child begins a new pid namespace.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
        let inner = fork(|_| {
            assert_eq!(std::process::id(), 1);
            line.hear();
            let attachment = private.options().open("x").unwrap().attach().unwrap();
            line.say();
            line.hear();
            drop(attachment);
        });
        inner.succeed();
    });
    let segment = private.options().create("x").unwrap();
    child.say();
    child.hear();
    let holders = segment.holders().unwrap();
    assert_eq!(holders.elsewhere, 1, "{holders:?}");
    assert!(holders.processes.iter().any(|holder| holder.pid == std::process::id() && holder.handles == 1));
    drop(segment);
    assert!(private.options().open("x").is_ok());
    child.say();
    child.succeed();
    assert!(private.files().is_empty());
}

#[test]
fn holders_are_told() {
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    let mut child = fork(|line| {
        let one = private.options().open("x").unwrap();
        let two = private.options().open("x").unwrap().attach().unwrap();
        line.say();
        line.hear();
        drop((one, two));
    });
    child.hear();
    let holders = segment.holders().unwrap();
    assert_eq!((holders.elsewhere, holders.inherited), (0, 0), "{holders:?}");
    let find = |pid| holders.processes.iter().find(|holder| holder.pid == pid).unwrap();
    let me = find(std::process::id());
    assert_eq!((me.handles, me.mapped), (1, false));
    let other = find(child.pid as u32);
    assert_eq!((other.handles, other.mapped), (2, true));
    let look = private.namespace.entry("x").unwrap().look().unwrap();
    assert_eq!((look.holders, look.is_orphan()), (3, false));
    child.say();
    child.succeed();

    // Very many: told from the kernel's list of all locks.
    let many: Vec<_> = (0..300).map(|_| private.options().open("x").unwrap()).collect();
    assert_eq!(private.namespace.entry("x").unwrap().look().unwrap().holders, 301);
    drop(many);
}

#[test]
fn the_mode_is_exact_whatever_the_umask() {
    let private = Private::new();
    for (umask, mode) in [(0o777, 0o600), (0, 0o666), (0o077, 0o664), (0o022, 0o777)] {
        fork(|_| {
            // SAFETY: changes only this child's umask.
            unsafe { libc::umask(umask) };
            let segment = private.options().mode(mode).create("x").unwrap();
            assert_eq!(segment.info().unwrap().mode, mode);
            let staying = private.staying().mode(mode).create("y").unwrap();
            assert_eq!(staying.info().unwrap().mode, mode);
            staying.delete().unwrap();
        })
        .succeed();
    }
    assert!(matches!(private.options().mode(0o400).create("x"), Err(Error::BadOption { .. })));
    assert!(matches!(private.options().mode(0o1600).create("x"), Err(Error::BadOption { .. })));
    let sealed_off = private.staying().mode(0).create("x").unwrap();
    drop(sealed_off);
    private.namespace.delete("x").unwrap();
}
