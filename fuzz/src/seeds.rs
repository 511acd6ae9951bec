//! Makes the seeds anew: `cargo run --manifest-path fuzz/Cargo.toml --bin seeds`. The same each time.

use std::path::Path;

use commons::snapshot::SaveOptions;
use commons::{Lifetime, SegmentOptions};
use commons_fuzz::{Place, mend};

/// What a header says beside its checksum.
struct Header<'h> {
    flags: u32,
    size: u64,
    mode: u32,
    name: &'h [u8],
}

fn header(header: &Header<'_>) -> Vec<u8> {
    let mut bytes = b"\x89CMNSNP\n".to_vec();
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    bytes.extend_from_slice(&header.flags.to_le_bytes());
    bytes.extend_from_slice(&header.size.to_le_bytes());
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(&header.mode.to_le_bytes());
    bytes.extend_from_slice(&(header.name.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 20]);
    bytes.extend_from_slice(header.name);
    bytes
}

fn block(offset: u64, len: u32, stored: &[u8]) -> Vec<u8> {
    let mut bytes = offset.to_le_bytes().to_vec();
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&(stored.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(stored);
    bytes
}

/// A snapshot of these parts, whose checksums are right.
fn snapshot(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = parts.concat();
    mend(&mut bytes);
    bytes
}

/// What the library itself writes, but for the time.
fn saved(size: u64, sparse: bool, lifetime: Lifetime, save: &SaveOptions<'_>) -> Vec<u8> {
    let place = Place::new();
    let options = SegmentOptions::new().namespace(&place.namespace).size(size).sparse(sparse);
    let segment = options.lifetime(lifetime).create("jobs").unwrap();
    segment.attach().unwrap().write_at(0, &vec![b'x'; size.min(100) as usize]).unwrap();
    let mut saved = Vec::new();
    save.save(&segment, &mut saved).unwrap();
    saved[24..36].fill(0);
    mend(&mut saved);
    saved
}

fn main() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let zstd = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).unwrap();
    let plain = Header { flags: 0, size: 300, mode: 0o600, name: b"jobs" };
    let packed = Header { flags: 2, ..plain };
    let end = |size| block(size, 0, b"");
    let snapshots = [
        ("saved", saved(200, false, Lifetime::UntilLastDetach, &SaveOptions::new())),
        ("saved-sparse", saved(20_000, true, Lifetime::UntilDeleted, &SaveOptions::new().zstd(3))),
        ("saved-zstd", saved(5_000, false, Lifetime::UntilLastDetach, &SaveOptions::new().zstd(1))),
        ("empty", snapshot(&[header(&plain), end(300)])),
        (
            "blocks",
            snapshot(&[
                header(&plain),
                block(0, 5, b"hello"),
                block(100, 3, b"abc"),
                block(297, 3, b"end"),
                end(300),
            ]),
        ),
        ("anonymous", snapshot(&[header(&Header { name: b"", ..plain }), block(7, 1, b"x"), end(300)])),
        ("odd-name", snapshot(&[header(&Header { name: b"/a/b %\xff\n", ..plain }), end(300)])),
        ("bad-name", snapshot(&[header(&Header { name: b"..", ..plain }), end(300)])),
        ("long-name", snapshot(&[header(&Header { name: &[b'n'; 255], ..plain }), end(300)])),
        (
            "until-last-detach",
            snapshot(&[header(&Header { flags: 5, ..plain }), block(0, 2, b"ab"), end(300)]),
        ),
        ("unreadable", snapshot(&[header(&Header { flags: 4, mode: 0, ..plain }), end(300)])),
        (
            "zstd",
            snapshot(&[
                header(&packed),
                block(0, 250, &zstd(&[b'z'; 250])),
                block(260, 4, b"tail"),
                end(300),
            ]),
        ),
        ("zstd-too-long", snapshot(&[header(&packed), block(0, 200, &zstd(&[b'z'; 250])), end(300)])),
        (
            "huge",
            snapshot(&[
                header(&Header { flags: 1, size: 1 << 60, ..plain }),
                block(1 << 59, 1, b"x"),
                end(1 << 60),
            ]),
        ),
        (
            "megabytes",
            snapshot(&[
                header(&Header { flags: 3, size: 3 << 20, ..plain }),
                block(1 << 20, 1 << 20, &zstd(&vec![7; 1 << 20])),
                end(3 << 20),
            ]),
        ),
        ("no-end", snapshot(&[header(&plain), block(0, 5, b"hello")])),
        ("more-behind", [snapshot(&[header(&plain), end(300)]), b"more".to_vec()].concat()),
        ("overlapping", snapshot(&[header(&plain), block(10, 5, b"hello"), block(12, 3, b"abc"), end(300)])),
    ];
    for (name, bytes) in snapshots {
        write(&seeds.join("snapshots"), name, &bytes);
    }
    // What becomes a case of these bytes is for the target to say; these are some that differ.
    for number in 0..12_u8 {
        let byte = |place: u32| (place.wrapping_mul(2_654_435_769).rotate_left(number.into()) >> 11) as u8;
        let bytes: Vec<u8> = (0..40 + 20 * u32::from(number)).map(byte).collect();
        write(&seeds.join("cases"), &number.to_string(), &bytes);
    }
}

fn write(directory: &Path, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join(name), bytes).unwrap();
}
