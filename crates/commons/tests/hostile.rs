//! Neighbours that mean harm, or do not care: users who squat a name, programs that are stopped in the
//! middle, filesystems that cannot keep the promises. Each costs a bounded time and a clear error.

mod common;

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::{Private, fork, is_root};
use commons::{Error, Lifetime, Namespace, OwnerPolicy, SegmentOptions};

const VICTIM: u32 = 1001;
const NEIGHBOUR: u32 = 1002;

fn become_user(user: u32) {
    // SAFETY: changes only this child's user and groups.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setgid(user), 0);
        assert_eq!(libc::setuid(user), 0);
    }
}

/// A directory like `/dev/shm`: all may make files, only owners delete them.
fn public() -> Private {
    let private = Private::new();
    std::fs::set_permissions(private.directory.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    private
}

#[test]
fn another_user_squats_the_name() {
    if !is_root("another_user_squats_the_name") {
        return;
    }
    let private = public();
    let as_user = |user, body: &dyn Fn()| {
        fork(|_| {
            become_user(user);
            body();
        })
        .succeed();
    };
    as_user(NEIGHBOUR, &|| {
        std::fs::write(private.path("closed"), [0; 8192]).unwrap();
        std::fs::set_permissions(private.path("closed"), std::fs::Permissions::from_mode(0o600)).unwrap();
        for (name, mode) in [("open", 0o666), ("marked", 0o1666), ("readable", 0o444)] {
            std::fs::write(private.path(name), [0; 8192]).unwrap();
            std::fs::set_permissions(private.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::fs::create_dir(private.path("directory")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", private.path("symlink")).unwrap();
        let fifo = common::c_string(&private.path("fifo"));
        // SAFETY: makes a fifo of that name.
        assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o666) }, 0);
    });
    as_user(VICTIM, &|| {
        let started = Instant::now();
        for name in ["closed", "open", "marked", "readable"] {
            for error in [
                private.options().open(name).unwrap_err(),
                private.options().open_or_create(name).unwrap_err(),
                private.options().owner(OwnerPolicy::User(VICTIM)).open(name).unwrap_err(),
            ] {
                assert!(matches!(error, Error::ForeignOwner { owner: NEIGHBOUR, .. }), "{name}: {error}");
            }
            let error = private.options().create(name).unwrap_err();
            assert!(matches!(error, Error::Exists(_) | Error::ForeignOrphan { .. }), "{name}: {error}");
            assert!(private.namespace.delete(name).is_err());
        }
        for name in ["directory", "symlink", "fifo"] {
            let error = private.options().open_or_create(name).unwrap_err();
            assert!(matches!(error, Error::NotASegment { .. }), "{name}: {error}");
        }
        // Allowed on purpose, the mode decides.
        let any = || private.options().owner(OwnerPolicy::Any);
        assert!(any().open("open").is_ok());
        assert!(matches!(any().open("closed"), Err(Error::PermissionDenied { .. })));
        assert!(matches!(any().open("readable"), Err(Error::PermissionDenied { .. })));
        assert!(any().read_only(true).open("readable").is_ok());
        assert!(matches!(any().open("marked"), Err(Error::ForeignOrphan { .. })));
        assert_eq!(private.namespace.sweep().unwrap().failed, 1, "only what is marked is looked at");
        // Everything at once, without waiting for anybody.
        assert!(started.elapsed() < Duration::from_secs(5));
        // Other names are still to be had.
        assert!(private.options().create("free").is_ok());
    });
    assert_eq!(private.files().len(), 7, "nothing of the neighbour's was touched");
}

#[test]
fn a_directory_without_permission_is_told() {
    if !is_root("a_directory_without_permission_is_told") {
        return;
    }
    let private = Private::new();
    fork(|_| {
        std::fs::set_permissions(private.directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        drop(private.staying().mode(0o644).create("x").unwrap());
        become_user(VICTIM);
        for error in [
            private.options().create("y").unwrap_err(),
            private.options().open_or_create("y").unwrap_err(),
            private.options().owner(OwnerPolicy::Any).open("x").unwrap_err(),
            private.namespace.delete("x").unwrap_err(),
        ] {
            assert!(matches!(error, Error::PermissionDenied { .. }), "{error}");
            assert_eq!(error.raw_os_error(), Some(libc::EACCES));
        }
        let reader = private.options().owner(OwnerPolicy::Any).read_only(true).open("x").unwrap();
        assert!(reader.attach().is_ok());
    })
    .succeed();
    assert_eq!(private.files(), ["x"]);
}

fn lock(file: &std::fs::File, kind: i32, start: u64, len: i64) {
    // SAFETY: all-zero bytes are a valid value.
    let mut flock: libc::flock = unsafe { std::mem::zeroed() };
    flock.l_type = kind as _;
    flock.l_start = start as _;
    flock.l_len = len as _;
    let fd = std::os::fd::AsRawFd::as_raw_fd(file);
    // SAFETY: the structure outlives the call.
    assert_eq!(unsafe { libc::fcntl(fd, libc::F_OFD_SETLK, &raw const flock) }, 0);
}

#[test]
fn a_process_stopped_in_the_middle_costs_a_bounded_time() {
    let private = Private::new();
    let options = || private.options().patience(Duration::from_millis(200));
    // Stopped while it deletes as the last one, or has found an orphan: it has the whole range.
    let mut stopped = fork(|line| {
        let orphan = private.options().create("x").unwrap();
        orphan.delete().unwrap();
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(private.path("x"));
        let file = file.unwrap();
        file.set_len(4096).unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(0o1600)).unwrap();
        lock(&file, libc::F_WRLCK as _, commons::slot::BASE, 0);
        line.say();
        // SAFETY: stops this child.
        unsafe { libc::raise(libc::SIGSTOP) };
    });
    stopped.hear();
    let started = Instant::now();
    for error in [
        options().open("x").unwrap_err(),
        options().open_or_create("x").unwrap_err(),
        options().open_wait("x", Duration::from_millis(100)).unwrap_err(),
        private.namespace.delete("x").unwrap_err(),
    ] {
        assert!(matches!(error, Error::Busy { .. }), "{error}");
    }
    assert!(matches!(options().create("x"), Err(Error::Busy { .. })), "it is about to go");
    assert!(private.namespace.exists("x").unwrap());
    assert_eq!(private.namespace.sweep().unwrap().segments, 0);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    // Killed, it is in nobody's way.
    stopped.kill();
    assert!(options().open_or_create("x").unwrap().was_created());
    assert!(private.files().is_empty());
}

#[test]
fn a_gate_does_not_bring_an_orphan_back_to_life() {
    let private = Private::new();
    fork(|_| std::mem::forget(private.options().create("x").unwrap())).succeed();
    let mut stopped = fork(|line| {
        let file = std::fs::File::options().read(true).write(true).open(private.path("x")).unwrap();
        lock(&file, libc::F_WRLCK as _, commons::slot::BASE, 1);
        line.say();
        // SAFETY: stops this child.
        unsafe { libc::raise(libc::SIGSTOP) };
    });
    stopped.hear();
    let options = || private.options().patience(Duration::from_millis(50));
    assert!(matches!(options().open("x"), Err(Error::Busy { .. })));
    assert!(matches!(options().open_or_create("x"), Err(Error::Busy { .. })));
    assert!(matches!(options().read_only(true).open("x"), Err(Error::NotFound(_))));
    assert!(!private.namespace.exists("x").unwrap());
    stopped.kill();
    assert!(matches!(options().open("x"), Err(Error::NotFound(_))));
    assert!(private.files().is_empty());
}

#[test]
fn a_process_stopped_while_it_grows_costs_a_bounded_time() {
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    let mut stopped = fork(|line| {
        let file = std::fs::File::options().read(true).write(true).open(private.path("x")).unwrap();
        lock(&file, libc::F_WRLCK as _, commons::slot::GROW, 1);
        line.say();
        // SAFETY: stops this child.
        unsafe { libc::raise(libc::SIGSTOP) };
    });
    stopped.hear();
    let started = Instant::now();
    assert!(matches!(segment.grow(8192), Err(Error::Busy { .. })));
    assert!(started.elapsed() < Duration::from_secs(4));
    stopped.kill();
    segment.grow(8192).unwrap();
}

#[test]
fn processes_stopped_at_random_moments_cost_a_bounded_time() {
    let private = Private::new();
    let worker = || {
        fork(|line| {
            // SAFETY: this child is meant to live for the test's time.
            unsafe { libc::alarm(0) };
            line.say();
            loop {
                match private.options().open_or_create("x") {
                    Ok(segment) => drop(segment.attach().unwrap()),
                    Err(Error::Busy { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    };
    let mut workers = [worker(), worker()];
    workers.iter_mut().for_each(common::Child::hear);
    let mut longest = Duration::ZERO;
    let mut busy = 0;
    for round in 0..300_u64 {
        let victim = &workers[(round % 2) as usize];
        std::thread::sleep(Duration::from_micros(round * 37 % 700));
        victim.signal(libc::SIGSTOP);
        let started = Instant::now();
        match private.options().patience(Duration::from_millis(20)).open_or_create("x") {
            Ok(segment) => drop(segment.attach().unwrap()),
            Err(Error::Busy { .. }) => busy += 1,
            Err(error) => panic!("{error}"),
        }
        longest = longest.max(started.elapsed());
        victim.signal(libc::SIGCONT);
    }
    println!("longest {longest:?}, busy {busy} of 300");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    workers.into_iter().for_each(common::Child::kill);
    private.namespace.sweep().unwrap();
    assert!(private.files().is_empty());
}

#[test]
fn a_filesystem_that_cannot_tell_its_holders_says_so() {
    if !is_root("a_filesystem_that_cannot_tell_its_holders_says_so") {
        return;
    }
    common::on_tmpfs("size=16m", |directory| {
        for part in ["lower", "upper", "work", "merged"] {
            std::fs::create_dir(directory.join(part)).unwrap();
        }
        let layers =
            ["lower", "upper", "work"].map(|part| format!("{part}dir={}", directory.join(part).display()));
        let layers = CString::new(layers.join(",")).unwrap();
        let merged = common::c_string(&directory.join("merged"));
        let overlay = c"overlay".as_ptr();
        // SAFETY: mounts in this child's own mounts; the strings outlive the call.
        if unsafe { libc::mount(overlay, merged.as_ptr(), overlay, 0, layers.as_ptr().cast()) } != 0 {
            eprintln!("SKIPPED: a_filesystem_that_cannot_tell_its_holders_says_so: no overlayfs here");
            return;
        }
        let namespace = Namespace::at(directory.join("merged")).unwrap();
        assert!(!namespace.keeps_count_of_holders());
        assert_eq!(namespace.filesystem_name(), "overlayfs");
        let options = || SegmentOptions::new().size(4096).namespace(&namespace);
        let error = options().create("x").unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(
            error.to_string().contains("overlayfs") && error.to_string().contains("UntilDeleted"),
            "{error}"
        );
        assert_eq!(namespace.list().unwrap().count(), 0);
        let segment = options().lifetime(Lifetime::UntilDeleted).create("x").unwrap();
        segment.attach().unwrap().write_at(0, b"x").unwrap();
        segment.grow(8192).unwrap();
        assert!(options().open("x").is_ok());
        namespace.delete("x").unwrap();
    });
}
