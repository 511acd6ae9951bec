//! A segment of any contents is saved, damaged in any way, and loaded: the damage is found, or what is loaded is what
//! was saved. What refuses damage changes nothing.

#![no_main]

use arbitrary::Arbitrary;
use commons::SegmentOptions;
use commons::snapshot::{LoadOptions, SaveOptions};
use commons_fuzz::{Place, assert_one_line, bytes_of};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Form {
    Framed,
    Zstd(u8),
    Raw,
}

#[derive(Arbitrary, Debug)]
struct Write {
    at: u32,
    len: u16,
    byte: u8,
    /// How much the byte grows from place to place.
    step: u8,
}

#[derive(Arbitrary, Debug)]
enum Damage {
    Flip {
        at: u32,
        bits: u8,
    },
    Cut {
        at: u32,
    },
    Insert {
        at: u32,
        bytes: Vec<u8>,
    },
    Remove {
        at: u32,
        len: u16,
    },
    /// Some bytes twice.
    Double {
        at: u32,
        len: u16,
    },
    Swap {
        one: u32,
        other: u32,
        len: u16,
    },
}

#[derive(Arbitrary, Debug)]
struct Case {
    size: u32,
    sparse: bool,
    writes: Vec<Write>,
    form: Form,
    damage: Vec<Damage>,
}

/// Bytes of the largest segment: more than a block.
const MOST: u32 = (1 << 20) + (1 << 17);
/// Bytes of others, which take less time, and of which a greater part is not data.
const FEW: u32 = 5 * 4096;
const FEWEST: u32 = 300;

impl Damage {
    fn inflict(self, bytes: &mut Vec<u8>) {
        let place = |at: u32, bytes: &[u8]| at as usize % (bytes.len() + 1);
        match self {
            Damage::Flip { at, bits } => {
                let at = place(at, bytes);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Damage::Cut { at } => bytes.truncate(place(at, bytes)),
            Damage::Insert { at, bytes: new } => {
                let at = place(at, bytes);
                bytes.splice(at..at, new);
            }
            Damage::Remove { at, len } => {
                let at = place(at, bytes);
                let end = bytes.len().min(at + usize::from(len));
                bytes.drain(at..end);
            }
            Damage::Double { at, len } => {
                let at = place(at, bytes);
                let end = bytes.len().min(at + usize::from(len));
                let twice = bytes[at..end].to_vec();
                bytes.splice(end..end, twice);
            }
            Damage::Swap { one, other, len } => {
                let (one, other) = (place(one, bytes), place(other, bytes));
                for step in 0..usize::from(len) {
                    if one.max(other) + step < bytes.len() {
                        bytes.swap(one + step, other + step);
                    }
                }
            }
        }
    }
}

fuzz_target!(|case: Case| {
    let place = Place::new();
    let most = match case.size >> 28 {
        15 => MOST,
        8.. => FEW,
        _ => FEWEST,
    };
    let size = u64::from(case.size % most + 1);
    let options = SegmentOptions::new().namespace(&place.namespace).size(size);
    let segment = options.sparse(case.sparse).create("x").unwrap();
    let attachment = segment.attach().unwrap();
    for write in case.writes {
        let at = write.at as usize % attachment.len();
        let len = usize::from(write.len).min(attachment.len() - at);
        let byte = |place: usize| write.byte.wrapping_add(write.step.wrapping_mul(place as u8));
        attachment.write_at(at, &(0..len).map(byte).collect::<Vec<u8>>()).unwrap();
    }
    let raw = matches!(case.form, Form::Raw);
    let save = match case.form {
        Form::Framed => SaveOptions::new(),
        // Higher levels take memory, and find the same.
        Form::Zstd(level) => SaveOptions::new().zstd(i32::from(level % 4) + 1),
        Form::Raw => SaveOptions::new().raw(true),
    };
    let before = bytes_of(&segment);
    let mut saved = Vec::new();
    save.save(&segment, &mut saved).unwrap();
    // A file is the same as a stream, but for its time.
    let path = place.path("file");
    save.sync(false).save_file(&segment, &path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), saved.len() as u64);
    let load = || LoadOptions::new().namespace(&place.namespace).raw(raw);
    assert!(bytes_of(&load().name("whole").load_file(&path).unwrap().segment) == before);

    for damage in case.damage {
        damage.inflict(&mut saved);
    }
    std::fs::write(&path, &saved).unwrap();
    // Raw bytes have nothing that could tell.
    let expected = if raw { &saved } else { &before };
    for loaded in [load().name("stream").load(&saved[..]), load().name("file 0").load_file(&path)] {
        match loaded {
            Ok(loaded) => assert!(bytes_of(&loaded.segment) == *expected),
            Err(error) => assert_one_line(&error),
        }
    }
    attachment.write_at(0, &vec![0xa5; attachment.len()]).unwrap();
    let now = bytes_of(&segment);
    match load().load_file_into(&segment, &path) {
        Ok(()) => assert!(bytes_of(&segment) == *expected),
        Err(error) => {
            assert_one_line(&error);
            assert!(bytes_of(&segment) == now, "refused, and changed");
        }
    }
    // The segment and the file; all that was loaded has gone.
    assert_eq!(place.files(), 2);
});
