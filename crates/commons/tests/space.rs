//! Where there is no room, creating and growing fail with an error that says so, and leave the world as it
//! was. Never `SIGBUS`, `SIGXFSZ` or the OOM killer: each test runs in a child whose death would show.

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::{Private, fork, is_root, on_tmpfs};
use commons::{AttachOptions, Error, Lifetime, Limit, Namespace, SegmentOptions};

const MIB: u64 = 1 << 20;

fn free(directory: &Path) -> u64 {
    let mut statfs = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: fills the structure.
    assert_eq!(unsafe { libc::statfs(common::c_string(directory).as_ptr(), statfs.as_mut_ptr()) }, 0);
    // SAFETY: filled above.
    let statfs = unsafe { statfs.assume_init() };
    statfs.f_bfree * u64::try_from(statfs.f_bsize).unwrap()
}

fn is_empty(directory: &Path) -> bool {
    directory.read_dir().unwrap().next().is_none()
}

#[test]
fn a_full_tmpfs_is_an_error() {
    if !is_root("a_full_tmpfs_is_an_error") {
        return;
    }
    on_tmpfs("size=1m,mode=1777", |directory| {
        let namespace = Namespace::at(directory).unwrap();
        let options = |size| SegmentOptions::new().size(size).namespace(&namespace);
        let before = free(directory);
        assert_eq!(before, MIB);
        for attempt in [options(2 * MIB).create("x"), options(2 * MIB).open_or_create("x")] {
            match attempt {
                Err(error @ Error::NoSpace { wanted, free, total, .. }) => {
                    assert_eq!((wanted, free, total), (2 * MIB, MIB, MIB));
                    let text = error.to_string();
                    assert!(text.contains("2.0 MiB are needed") && text.contains("remount"), "{text}");
                }
                other => panic!("{other:?}"),
            }
            assert!(is_empty(directory) && free(directory) == before);
        }
        assert!(matches!(options(2 * MIB).sparse(true).create("x"), Err(Error::NoSpace { .. })));
        assert!(is_empty(directory));

        // All of it can be had, and touched.
        let segment = options(MIB).create("x").unwrap();
        let attachment = segment.attach().unwrap();
        attachment.write_at(0, &vec![1; MIB as usize]).unwrap();
        assert!(matches!(options(1).create("y"), Err(Error::NoSpace { .. })));
        drop((segment, attachment));
        assert_eq!(free(directory), before);

        // Growing.
        let segment = options(MIB / 2).create("x").unwrap();
        let half = free(directory);
        for size in [MIB + 1, 2 * MIB, 1 << 40] {
            let error = segment.grow(size).unwrap_err();
            assert!(matches!(error, Error::NoSpace { .. } | Error::BeyondLimit { .. }), "{error}");
            assert_eq!(segment.size().unwrap(), MIB / 2);
            assert_eq!(free(directory), half, "what was reserved in vain was given back");
        }
        segment.grow(MIB).unwrap();
        segment.attach().unwrap().write_at(0, &vec![1; MIB as usize]).unwrap();
    });
}

#[test]
fn orphans_are_swept_before_giving_up() {
    if !is_root("orphans_are_swept_before_giving_up") {
        return;
    }
    on_tmpfs("size=1m", |directory| {
        let namespace = Namespace::at(directory).unwrap();
        let options = |size| SegmentOptions::new().size(size).namespace(&namespace);
        let orphan = || fork(|_| std::mem::forget(options(MIB * 3 / 4).create("orphan").unwrap())).succeed();
        orphan();
        let segment = options(MIB / 2).create("x").unwrap();
        drop(segment);
        orphan();
        let error = options(MIB * 2).create("y").unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    });
}

#[test]
fn no_inodes_is_an_error() {
    if !is_root("no_inodes_is_an_error") {
        return;
    }
    on_tmpfs("size=1m,nr_inodes=4", |directory| {
        let namespace = Namespace::at(directory).unwrap();
        let staying = |name: &str| {
            SegmentOptions::new().size(1).namespace(&namespace).lifetime(Lifetime::UntilDeleted).create(name)
        };
        let error = (0..10).find_map(|number| staying(&number.to_string()).err()).unwrap();
        assert!(matches!(error, Error::NoSpace { free_files: Some(0), .. }), "{error:?}");
        assert!(error.to_string().contains("inode"), "{error}");
    });
}

#[test]
fn a_sparse_segment_is_guarded_where_pages_run_out() {
    if !is_root("a_sparse_segment_is_guarded_where_pages_run_out") {
        return;
    }
    on_tmpfs("size=1m", |directory| {
        let namespace = Namespace::at(directory).unwrap();
        let options = |size| SegmentOptions::new().size(size).namespace(&namespace);
        let sparse = options(MIB).sparse(true).create("sparse").unwrap();
        assert_eq!(sparse.usage().unwrap().reserved, 0);
        let other = options(MIB / 2).create("other").unwrap();
        let error = sparse.attach_with(&AttachOptions::new().prefault(true)).unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        let attachment = sparse.attach().unwrap();
        attachment.guard().unwrap();
        let error = attachment.write_at(0, &vec![1; MIB as usize]).unwrap_err();
        assert!(matches!(error, Error::Truncated(_)), "{error}");
        drop(other);
    });
}

#[test]
fn the_file_size_limit_is_an_error() {
    let private = Private::new();
    fork(|_| {
        let limit = libc::rlimit { rlim_cur: MIB, rlim_max: MIB };
        // SAFETY: changes only this child's limit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
        for sparse in [false, true] {
            let error = private.options().size(MIB + 1).sparse(sparse).create("x").unwrap_err();
            assert!(
                matches!(error, Error::BeyondLimit { limit: Limit::FileSize, most: MIB, .. }),
                "{error:?}"
            );
            let segment = private.options().size(MIB).sparse(sparse).create("x").unwrap();
            let error = segment.grow(MIB + 1).unwrap_err();
            assert!(matches!(error, Error::BeyondLimit { limit: Limit::FileSize, .. }), "{error:?}");
            assert_eq!(segment.size().unwrap(), MIB);
            let error = SegmentOptions::new().size(2 * MIB).sparse(sparse).anonymous("x").unwrap_err();
            assert!(error.to_string().contains("ulimit -f"), "{error}");
        }
    })
    .succeed();
    assert!(private.files().is_empty());
}

/// A memory cgroup of this test's own, below this process's; `None` if the machine gives none.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(limit: u64) -> Option<Cgroup> {
        let memberships = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = format!("commons-test-{}", std::process::id());
        for (mark, root, file) in [
            ("memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("0::", "/sys/fs/cgroup", "memory.max"),
        ] {
            let Some(path) = memberships.lines().find_map(|line| line.split_once(mark).map(|(_, path)| path))
            else {
                continue;
            };
            let directory = Path::new(root).join(path.trim_start_matches('/')).join(&own);
            if std::fs::create_dir(&directory).is_err() {
                continue;
            }
            let made = Cgroup(directory);
            if std::fs::write(made.0.join(file), limit.to_string()).is_ok() {
                return Some(made);
            }
        }
        None
    }

    fn enter(&self) {
        std::fs::write(self.0.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_cgroup_limit_is_an_error() {
    let Some(cgroup) = Cgroup::new(32 * MIB) else {
        eprintln!("SKIPPED: a_cgroup_limit_is_an_error: no memory cgroup can be made here");
        return;
    };
    let private = Private::new();
    let child = fork(|_| {
        cgroup.enter();
        let beyond = |error: Error| match error {
            Error::BeyondLimit { limit: Limit::Cgroup(directory), most, .. } => {
                assert_eq!((directory, most), (cgroup.0.clone(), 32 * MIB));
            }
            other => panic!("{other:?}"),
        };
        beyond(private.options().size(64 * MIB).create("x").unwrap_err());
        beyond(SegmentOptions::new().size(64 * MIB).anonymous("x").unwrap_err());
        assert!(private.files().is_empty());
        let segment = private.options().size(8 * MIB).create("x").unwrap();
        beyond(segment.grow(64 * MIB).unwrap_err());
        assert_eq!(segment.size().unwrap(), 8 * MIB);
        // Many small ones come to the limit too.
        let mut many = Vec::new();
        let error = loop {
            match private.options().size(MIB / 4).create(format!("{}", many.len())) {
                Ok(segment) => many.push(segment),
                Err(error) => break error,
            }
            assert!(many.len() < 200);
        };
        beyond(error);
        assert!(many.len() > 40, "{}", many.len());
    });
    child.succeed();
    private.namespace.sweep().unwrap();
    assert!(private.files().is_empty());
}

#[test]
fn more_than_the_machine_has_is_an_error() {
    let private = Private::new();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = meminfo.split_whitespace().nth(1).unwrap().parse().unwrap();
    let error = private.options().size(total * 1024 * 2).create("x").unwrap_err();
    assert!(matches!(error, Error::BeyondLimit { .. } | Error::NoSpace { .. }), "{error:?}");
    assert!(private.files().is_empty());
}

#[test]
fn signals_do_not_keep_a_segment_from_being_reserved() {
    let private = Private::new();
    fork(|_| {
        extern "C" fn nothing(_: i32) {}
        let each = libc::timeval { tv_sec: 0, tv_usec: 1000 };
        let timer = libc::itimerval { it_interval: each, it_value: each };
        let handler: extern "C" fn(i32) = nothing;
        // SAFETY: the handler does nothing; the structure outlives the call.
        unsafe {
            libc::signal(libc::SIGALRM, handler as libc::sighandler_t);
            libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
        }
        let segment = private.options().size(128 * MIB).create("x").unwrap();
        assert!(segment.usage().unwrap().reserved >= 128 * MIB);
    })
    .succeed();
}

#[test]
fn a_disk_namespace_keeps_the_promises_too() {
    let private = Private::within(std::env::temp_dir());
    if !private.namespace.keeps_count_of_holders() {
        eprintln!(
            "SKIPPED: a_disk_namespace_keeps_the_promises_too: {} does not keep locks",
            private.namespace.filesystem_name()
        );
        let error = private.options().create("x").unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(private.staying().create("x").is_ok());
        return;
    }
    let segment = private.options().create("x").unwrap();
    let attachment = segment.attach().unwrap();
    attachment.write_at(4000, b"disk").unwrap();
    attachment.flush().unwrap();
    assert_eq!(&std::fs::read(private.path("x")).unwrap()[4000..4004], b"disk");
    segment.grow(MIB).unwrap();
    assert_eq!(std::fs::metadata(private.path("x")).unwrap().blocks() * 512, MIB);
    drop(segment);
    assert!(private.options().open("x").is_ok());
    drop(attachment);
    assert!(private.files().is_empty());
}
