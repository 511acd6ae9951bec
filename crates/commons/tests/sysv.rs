//! System V segments of the kernel's, through the same attachments. Each test has an ipc namespace of its own.

mod common;

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use common::{fork, is_root};
use commons::sysv::{self, SystemV};
use commons::{AttachOptions, Error, Limit};

/// Runs `body` in a child with an ipc namespace of its own; says so if that cannot be.
fn alone(test: &str, body: impl FnOnce()) {
    if !is_root(test) {
        return;
    }
    fork(|_| {
        // SAFETY: changes only this child's namespace.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWIPC) }, 0, "unshare");
        body();
    })
    .succeed();
}

#[test]
fn a_segment_is_made_found_listed_and_removed() {
    alone("a_segment_is_made_found_listed_and_removed", || {
        assert!(sysv::list().unwrap().is_empty());
        assert!(matches!(SystemV::open(7), Err(Error::NotFound(_))));
        let made = SystemV::create(7, 5000, 0o640).unwrap();
        assert!(matches!(SystemV::create(7, 5000, 0o640), Err(Error::Exists(_))));
        assert_eq!(SystemV::open(7).unwrap(), made);
        assert_eq!(SystemV::open_or_create(7, 4000, 0o600).unwrap(), made);
        let error = SystemV::open_or_create(7, 5001, 0o600).unwrap_err();
        assert!(matches!(error, Error::TooSmall { size: 5000, wanted: 5001, .. }), "{error}");
        let one = made.attach().unwrap();
        let two = SystemV::from_id(made.id()).attach().unwrap();
        assert_eq!((one.len(), two.len()), (5000, 5000));
        one.write_at(4990, b"hello").unwrap();
        let mut bytes = [0; 5];
        two.read_at(4990, &mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        two.guard().unwrap();
        let info = sysv::list().unwrap()[0];
        assert_eq!((info.segment, info.key, info.size, info.mode, info.attached), (made, 7, 5000, 0o640, 2));
        assert_eq!(
            (info.creator as u32, info.removed, info.resident),
            (std::process::id(), false, Some(4096))
        );
        assert_eq!(made.info().unwrap().attached, 2);
        two.detach().unwrap();
        assert_eq!(made.info().unwrap().attached, 1);
        made.remove().unwrap();
        assert!(matches!(SystemV::open(7), Err(Error::NotFound(_))));
        assert!(made.info().unwrap().removed);
        drop(one);
        assert!(matches!(made.info(), Err(Error::NotFound(_))));
        assert!(matches!(made.attach(), Err(Error::NotFound(_))));
        assert!(matches!(made.remove(), Err(Error::NotFound(_))));
    });
}

#[test]
fn attach_options_hold_for_them_too() {
    alone("attach_options_hold_for_them_too", || {
        let segment = SystemV::private(3 * 4096, 0o600).unwrap();
        let whole = segment.attach_with(&AttachOptions::new().prefault(true)).unwrap();
        assert_eq!(sysv::list().unwrap()[0].resident, Some(3 * 4096));
        whole.write_at(5000, b"hello").unwrap();
        let part = segment.attach_with(&AttachOptions::new().range(5000..5005).read_only(true)).unwrap();
        let mut bytes = [0; 5];
        part.read_at(0, &mut bytes).unwrap();
        assert_eq!((&bytes, part.len(), part.offset()), (b"hello", 5, 5000));
        assert!(matches!(part.write_at(0, b"x"), Err(Error::ReadOnly(_))));
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let page = part.as_ptr().wrapping_sub(5000 % 4096).cast();
        // SAFETY: the call is refused, which is what this tests.
        assert_eq!(unsafe { libc::mprotect(page, 4096, protection) }, -1);
        let taken = whole.as_ptr().addr();
        let error = segment.attach_with(&AttachOptions::new().at(taken)).unwrap_err();
        assert!(matches!(error, Error::AddressInUse { address, .. } if address == taken), "{error}");
        whole.atomics::<AtomicU32>(0..4).unwrap()[0].store(5, SeqCst);
        drop(whole);
        let again = segment.attach_with(&AttachOptions::new().at(taken)).unwrap();
        assert_eq!(
            (again.as_ptr().addr(), again.atomics::<AtomicU32>(0..4).unwrap()[0].load(SeqCst)),
            (taken, 5)
        );
        for range in [0..3 * 4096 + 1, 5..5] {
            let error = segment.attach_with(&AttachOptions::new().range(range)).unwrap_err();
            assert!(matches!(error, Error::OutOfRange { .. }), "{error}");
        }
        assert!(matches!(
            segment.attach_with(&AttachOptions::new().reserve(1 << 20)),
            Err(Error::Unsupported { .. })
        ));
        assert_eq!(segment.info().unwrap().attached, 2);
        drop((part, again));
        assert_eq!(segment.info().unwrap().attached, 0);
        segment.remove().unwrap();
    });
}

#[test]
fn what_cannot_be_made_is_an_error_that_says_why() {
    alone("what_cannot_be_made_is_an_error_that_says_why", || {
        for (key, size, mode) in [(0, 4096, 0o600), (7, 0, 0o600), (7, 4096, 0o1600), (7, u64::MAX, 0o600)] {
            let error = SystemV::create(key, size, mode).unwrap_err();
            assert!(matches!(error, Error::BadOption { .. }), "{error}");
        }
        assert!(matches!(SystemV::open(0), Err(Error::BadOption { .. })));
        std::fs::write("/proc/sys/kernel/shmmax", "8192").unwrap();
        let error = SystemV::create(7, 8193, 0o600).unwrap_err();
        let expected = matches!(error, Error::BeyondLimit { most: 8192, limit: Limit::SystemVSize, .. });
        assert!(expected && error.to_string().contains("shmmax"), "{error}");
        std::fs::write("/proc/sys/kernel/shmmni", "1").unwrap();
        SystemV::create(7, 4096, 0o600).unwrap();
        let error = SystemV::create(8, 4096, 0o600).unwrap_err();
        assert!(matches!(error, Error::BeyondLimit { limit: Limit::SystemVTotal, .. }), "{error}");
        assert!(!error.to_string().contains('\n'));
        let none = SystemV::from_id(i32::MAX);
        assert!(matches!(none.info(), Err(Error::NotFound(_))));
        assert!(matches!(SystemV::from_id(-1).attach(), Err(Error::NotFound(_))));
    });
}
