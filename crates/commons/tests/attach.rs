//! Attachments: where they go, what of the segment they show, what they may do, and that they cost no
//! descriptor.

mod common;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use common::{Private, fork};
use commons::{AttachOptions, Error};

fn page() -> usize {
    // SAFETY: asks for a constant.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

#[test]
fn a_range_shows_its_bytes() {
    let private = Private::new();
    let segment = private.options().size(100_000).create("x").unwrap();
    let whole = segment.attach().unwrap();
    let pattern: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
    whole.write_at(0, &pattern).unwrap();
    for (start, end) in
        [(0, 1), (1, 100_000), (4095, 4097), (4096, 8192), (99_999, 100_000), (12_345, 67_890)]
    {
        let part = segment.attach_with(&AttachOptions::new().range(start..end)).unwrap();
        assert_eq!((part.len() as u64, part.offset()), (end - start, start));
        let mut bytes = vec![0; part.len()];
        part.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, pattern[start as usize..end as usize]);
    }
    assert_eq!(segment.attach_with(&AttachOptions::new().range(10..=19)).unwrap().len(), 10);
    assert_eq!(segment.attach_with(&AttachOptions::new().range(90_000..)).unwrap().len(), 10_000);
    #[allow(clippy::reversed_empty_ranges, reason = "what a caller may pass")]
    for range in [0..100_001, 5..5, 6..5, 100_000..100_001, u64::MAX - 1..u64::MAX] {
        let error = segment.attach_with(&AttachOptions::new().range(range)).unwrap_err();
        assert!(matches!(error, Error::OutOfRange { size: 100_000, .. }), "{error}");
    }
}

#[test]
fn a_read_only_attachment_cannot_be_made_writable() {
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    segment.attach().unwrap().write_at(0, b"data").unwrap();
    let readers = [
        segment.attach_with(&AttachOptions::new().read_only(true)).unwrap(),
        private.options().read_only(true).open("x").unwrap().attach().unwrap(),
    ];
    for reader in readers {
        let mut bytes = [0; 4];
        reader.read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"data");
        assert!(matches!(reader.write_at(0, b"x"), Err(Error::ReadOnly(_))));
        assert!(matches!(reader.atomics::<AtomicU32>(..), Err(Error::ReadOnly(_))));
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the call is refused, which is what this tests.
        let changed = unsafe { libc::mprotect(reader.as_ptr().cast(), page(), protection) };
        assert_eq!((changed, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EACCES)));
    }
    let reader = private.options().read_only(true).open("x").unwrap();
    assert!(matches!(reader.grow(1 << 20), Err(Error::ReadOnly(_))));
    assert!(matches!(private.options().read_only(true).create("y"), Err(Error::BadOption { .. })));
}

#[test]
fn an_address_asked_for_is_used_if_it_is_free() {
    let private = Private::new();
    // In a child, where no other thread maps anything meanwhile.
    fork(|_| {
        let segment = private.options().create("x").unwrap();
        let first = segment.attach().unwrap();
        let taken = first.as_ptr().addr();
        let error = segment.attach_with(&AttachOptions::new().at(taken)).unwrap_err();
        assert!(matches!(error, Error::AddressInUse { address, .. } if address == taken), "{error}");
        drop(first);
        let again = segment.attach_with(&AttachOptions::new().at(taken)).unwrap();
        assert_eq!(again.as_ptr().addr(), taken);
        // SAFETY: what is replaced is the attachment above, which nothing uses until then.
        let options = unsafe { AttachOptions::new().at_replacing(taken) };
        let other = private.options().create("y").unwrap();
        again.write_at(0, b"old").unwrap();
        let replaced = other.attach_with(&options).unwrap();
        let mut bytes = [1; 3];
        replaced.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 3]);
        std::mem::forget(again); // its mapping is gone
        for bad in [1, taken + 1, 0] {
            assert!(matches!(
                segment.attach_with(&AttachOptions::new().at(bad)),
                Err(Error::BadOption { .. })
            ));
        }
        assert!(segment.attach_with(&AttachOptions::new().at(usize::MAX - page() + 1)).is_err());
        let shifted = AttachOptions::new().range(1..).at(taken + 64 * page());
        assert!(matches!(segment.attach_with(&shifted), Err(Error::BadOption { .. })));
    })
    .succeed();
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn ten_thousand_attachments_cost_no_descriptor() {
    let private = Private::new();
    // In a child, where no other test opens anything.
    fork(|_| {
        let before = descriptors();
        let segment = private.options().create("x").unwrap();
        let mut attachments: Vec<_> = (0..8000).map(|_| segment.attach().unwrap()).collect();
        drop(segment);
        for number in 0..2000 {
            let other = private.options().open_or_create(format!("{}", number % 500)).unwrap();
            attachments.push(other.attach().unwrap());
        }
        assert_eq!(descriptors(), before);
        attachments[0].atomics::<AtomicU64>(..).unwrap()[0].store(42, Relaxed);
        assert_eq!(attachments[7999].atomics::<AtomicU64>(..).unwrap()[0].load(Relaxed), 42);
        assert_eq!(private.files().len(), 501);
        drop(attachments);
        assert!(private.files().is_empty());
    })
    .succeed();
}

#[test]
fn too_many_mappings_is_an_error() {
    let private = Private::new();
    fork(|_| {
        let segment = private.options().create("x").unwrap();
        let mut attachments = Vec::new();
        let error = loop {
            match segment.attach() {
                Ok(attachment) => attachments.push(attachment),
                Err(error) => break error,
            }
            if attachments.len() > 300_000 {
                eprintln!("SKIPPED: too_many_mappings_is_an_error: vm.max_map_count is very large here");
                return;
            }
        };
        assert!(matches!(error, Error::TooManyMappings { .. }), "{error}");
        assert!(error.to_string().contains("vm.max_map_count"), "{error}");
        attachments.truncate(100);
        assert!(segment.attach().is_ok());
    })
    .succeed();
}

#[test]
fn pages_can_be_brought_in_and_locked() {
    let private = Private::new();
    let segment = private.options().size(1 << 20).sparse(true).create("x").unwrap();
    assert_eq!(segment.usage().unwrap().reserved, 0);
    let attachment = segment.attach_with(&AttachOptions::new().prefault(true)).unwrap();
    assert_eq!(segment.usage().unwrap().reserved, 1 << 20);
    if let Some(resident) = segment.usage().unwrap().resident {
        assert_eq!(resident, 1 << 20);
    }
    drop(attachment);
    let locked = segment.attach_with(&AttachOptions::new().range(..8192).lock_in_memory(true)).unwrap();
    let address = format!("{:x}-", locked.as_ptr().addr());
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let from = smaps.find(&address).unwrap();
    let line = smaps[from..].lines().find(|line| line.starts_with("Locked:")).unwrap();
    assert!(line.contains(" 8 kB"), "{line}");
    if !common::is_root("pages_can_be_brought_in_and_locked (the limit)") {
        return;
    }
    fork(|_| {
        let limit = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
        // SAFETY: changes only this child's limit and user.
        unsafe {
            assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit), 0);
            assert_eq!(libc::setuid(65534), 0);
        }
        let error = segment.attach_with(&AttachOptions::new().lock_in_memory(true)).unwrap_err();
        assert!(matches!(error, Error::LockedMemoryLimit { limit: 4096, .. }), "{error}");
    })
    .succeed();
}

#[test]
fn huge_pages_are_asked_for_and_aligned() {
    let private = Private::new();
    let options = private.options().size(5 << 20).huge_pages(true);
    for segment in [options.create("x").unwrap(), options.anonymous("x").unwrap()] {
        assert_eq!(segment.size().unwrap(), 5 << 20);
        assert_eq!(segment.usage().unwrap().reserved, 5 << 20);
        let attachment = segment.attach_with(&AttachOptions::new().huge_pages(true).prefault(true)).unwrap();
        assert_eq!(attachment.as_ptr().addr() % (2 << 20), 0);
        attachment.write_at((5 << 20) - 1, b"x").unwrap();
    }
}

#[test]
fn a_segment_that_grows_is_seen_without_moving() {
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    let wide = segment.attach_with(&AttachOptions::new().reserve(1 << 30)).unwrap();
    let narrow = segment.attach().unwrap();
    let ranged = segment.attach_with(&AttachOptions::new().range(..100)).unwrap();
    let address = wide.as_ptr();
    assert_eq!(wide.len(), 4096);
    assert!(wide.write_at(4096, b"x").is_err());
    fork(|_| private.options().open("x").unwrap().grow(1 << 20).unwrap()).succeed();
    assert_eq!(wide.refresh(&segment).unwrap(), 1 << 20);
    assert_eq!((wide.as_ptr(), wide.len()), (address, 1 << 20));
    wide.write_at((1 << 20) - 5, b"there").unwrap();
    assert_eq!(narrow.refresh(&segment).unwrap(), 4096, "it has no room");
    assert_eq!(ranged.refresh(&segment).unwrap(), 100, "it ends where it was told to");
    let mut bytes = [0; 5];
    segment.attach().unwrap().read_at((1 << 20) - 5, &mut bytes).unwrap();
    assert_eq!(&bytes, b"there");
    let other = private.options().create("y").unwrap();
    assert!(matches!(wide.refresh(&other), Err(Error::BadOption { .. })));

    let error = segment.grow(4096).unwrap_err();
    assert!(matches!(error, Error::Shrink { size: 0x10_0000, wanted: 4096, .. }), "{error}");
    segment.grow(1 << 20).unwrap();
    assert_eq!(segment.usage().unwrap().reserved, 1 << 20);
}

#[test]
fn many_may_grow_at_once() {
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    let children: Vec<_> = (0..4)
        .map(|child| {
            fork(move |_| ()).succeed();
            let options = private.options();
            fork(move |_| {
                let segment = options.open("x").unwrap();
                for step in 1..200 {
                    let size = 4096 * (1 + step * 4 + child);
                    match segment.grow(size) {
                        Ok(()) | Err(Error::Shrink { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    assert!(segment.size().unwrap() >= size);
                }
            })
        })
        .collect();
    children.into_iter().for_each(common::Child::succeed);
    assert_eq!(segment.size().unwrap(), 4096 * (1 + 199 * 4 + 3));
    assert_eq!(segment.usage().unwrap().reserved, segment.size().unwrap());
}
