//! A guarded attachment survives a truncation by a foreign program: an error instead of `SIGBUS`, beside the
//! program's own handlers.

mod common;

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

use common::{Private, fork};
use commons::{Attachment, Error, Segment};

const SIZE: u64 = 64 * 4096;

/// A segment that a foreign program has truncated to one page, and an attachment of all of it.
fn truncated(private: &Private) -> (Segment, Attachment) {
    let segment = private.options().size(SIZE).create("x").unwrap();
    let attachment = segment.attach().unwrap();
    attachment.write_at(0, &[1; SIZE as usize]).unwrap();
    (segment, attachment)
}

fn truncate(private: &Private) {
    std::fs::OpenOptions::new().write(true).open(private.path("x")).unwrap().set_len(4096).unwrap();
}

#[test]
fn a_truncation_becomes_an_error() {
    let private = Private::new();
    fork(|_| {
        let (_segment, attachment) = truncated(&private);
        attachment.guard().unwrap();
        attachment.guard().unwrap();
        truncate(&private);
        attachment.check().unwrap();
        let mut page = [9; 4096];
        attachment.read_at(0, &mut page).unwrap();
        assert_eq!(page, [1; 4096], "what is left is still there");
        let error = attachment.read_at(SIZE as usize - 4096, &mut page).unwrap_err();
        assert!(matches!(error, Error::Truncated(_)), "{error}");
        assert_eq!(page, [0; 4096]);
        assert!(matches!(attachment.check(), Err(Error::Truncated(_))));
        assert!(matches!(attachment.write_at(8192, &[2; 8192]), Err(Error::Truncated(_))));
        assert!(matches!(attachment.atomics::<AtomicU64>(..), Err(Error::Truncated(_))));
        drop(attachment);
    })
    .succeed();
    private.namespace.sweep().unwrap();
}

#[test]
fn views_made_before_read_zeros() {
    let private = Private::new();
    fork(|_| {
        let (_segment, attachment) = truncated(&private);
        attachment.guard().unwrap();
        let words = attachment.atomics::<AtomicU64>(..).unwrap();
        truncate(&private);
        let sum: u64 = words.iter().map(|word| word.load(Relaxed) & 1).sum();
        assert_eq!(sum, 512);
        assert!(attachment.check().is_err());
        words[words.len() - 1].fetch_add(1, Relaxed);
    })
    .succeed();
}

#[test]
fn without_a_guard_it_is_sigbus() {
    let private = Private::new();
    let status = fork(|_| {
        let (_segment, attachment) = truncated(&private);
        // Another attachment's guard does not cover this one.
        let other = private.options().create("y").unwrap().attach().unwrap();
        other.guard().unwrap();
        truncate(&private);
        let _ = attachment.read_at(8192, &mut [0]);
    })
    .status();
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGBUS, "{status:#x}");
    private.namespace.sweep().unwrap();
}

static SEEN: AtomicI32 = AtomicI32::new(0);

extern "C" fn own_handler(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    SEEN.fetch_add(1, Relaxed);
    // SAFETY: the kernel passes a valid structure, and the address lies in a page that may be replaced.
    unsafe {
        let page = (*info).si_addr().map_addr(|address| address & !4095);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        libc::mmap(page, 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
    }
}

/// Puts the test's handler in place; what was there before.
fn install(passing_on: bool) -> libc::sigaction {
    static BEFORE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    extern "C" fn passes_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        SEEN.fetch_add(1, Relaxed);
        type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
        // SAFETY: the address of the handler that was there before.
        let before: Handler = unsafe { std::mem::transmute(*BEFORE.get().unwrap()) };
        before(signal, info, context);
    }
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
        if passing_on { passes_on } else { own_handler };
    // SAFETY: the structures outlive the call, and the handlers are async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO;
        let mut before = std::mem::zeroed();
        libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut before);
        BEFORE.get_or_init(|| before.sa_sigaction);
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
        before
    }
}

#[test]
fn the_programs_own_handler_sees_all_other_faults() {
    let private = Private::new();
    fork(|_| {
        install(false);
        let (_segment, guarded) = truncated(&private);
        let unguarded = private.options().open("x").unwrap().attach().unwrap();
        guarded.guard().unwrap();
        truncate(&private);
        assert!(guarded.read_at(8192, &mut [0]).is_err());
        assert_eq!(SEEN.load(Relaxed), 0);
        unguarded.read_at(8192, &mut [0]).unwrap();
        assert_eq!(SEEN.load(Relaxed), 1);
    })
    .succeed();
}

#[test]
fn a_later_handler_that_passes_on_works_and_does_not_go_in_circles() {
    let private = Private::new();
    fork(|_| {
        let (_segment, guarded) = truncated(&private);
        guarded.guard().unwrap();
        install(true);
        truncate(&private);
        assert!(guarded.read_at(8192, &mut [0]).is_err());
        assert_eq!(SEEN.load(Relaxed), 1);
    })
    .succeed();
    let status = fork(|_| {
        let (_segment, guarded) = truncated(&private);
        guarded.guard().unwrap();
        install(true);
        // Ours passes on to that of Rust's runtime, which puts the default action in place and returns.
        // SAFETY: sends signals to this child only.
        unsafe {
            libc::raise(libc::SIGBUS);
            libc::raise(libc::SIGBUS);
        }
    })
    .status();
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGBUS, "{status:#x}");
    private.namespace.sweep().unwrap();
}

#[test]
fn many_guards_come_and_go_while_others_fault() {
    let private = Private::new();
    fork(|_| {
        let (segment, _whole) = truncated(&private);
        truncate(&private);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..300_usize {
                        let file = std::fs::OpenOptions::new().write(true).open(private.path("x")).unwrap();
                        file.set_len(SIZE).unwrap();
                        let Ok(attachment) = segment.attach() else { continue };
                        attachment.guard().unwrap();
                        file.set_len(4096).unwrap();
                        let at = (1 + round % 63) * 4096;
                        if attachment.len() > at + 8 {
                            // Another thread may have made it long again.
                            let _ = attachment.read_at(at, &mut [0; 8]);
                        }
                    }
                });
            }
        });
    })
    .succeed();
    private.namespace.sweep().unwrap();
}

#[test]
fn where_a_seal_forbids_truncation_a_guard_is_free() {
    let segment = Segment::anonymous(SIZE).unwrap();
    let attachment = segment.attach().unwrap();
    attachment.guard().unwrap();
    let copy = std::os::fd::AsFd::as_fd(&segment).try_clone_to_owned().unwrap();
    let error = std::fs::File::from(copy).set_len(4096).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    attachment.write_at(SIZE as usize - 1, b"x").unwrap();
    segment.grow(2 * SIZE).unwrap();
    assert_eq!(segment.attach().unwrap().len() as u64, 2 * SIZE);
}

#[test]
fn a_guarded_attachment_holds_though_all_its_bytes_are_gone() {
    let private = Private::new();
    fork(|_| {
        let (segment, whole) = truncated(&private);
        let last = segment.attach_with(&commons::AttachOptions::new().range(4096..8192)).unwrap();
        last.guard().unwrap();
        drop((segment, whole));
        truncate(&private);
        assert!(last.read_at(0, &mut [0]).is_err());
        assert!(private.namespace.exists("x").unwrap());
        assert_eq!(private.namespace.sweep().unwrap().segments, 0);
        drop(last);
        assert!(private.files().is_empty());
    })
    .succeed();
}

#[test]
fn a_large_truncation_does_not_run_out_of_mappings() {
    let private = Private::new();
    fork(|_| {
        let segment = private.options().size(300 << 20).sparse(true).create("x").unwrap();
        let attachment = segment.attach().unwrap();
        attachment.guard().unwrap();
        truncate(&private);
        for page in (1..attachment.len() / 8192).rev().chain(1..attachment.len() / 8192) {
            assert!(attachment.read_at(page * 8192, &mut [0]).is_err());
        }
    })
    .succeed();
}
