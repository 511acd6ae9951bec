//! Bytes that tell of themselves whether they are whole: the first eight are a seed, all others follow from it.

/// Bytes of the segments, from one that is saved in microseconds to one that takes milliseconds.
pub(crate) const SIZES: [u64; 4] = [64 << 10, 300_001, (1 << 20) + (200 << 10), 8 << 20];
/// How many contents there are of each size.
pub(crate) const SEEDS: u64 = 3;
/// What lies in a hole does so in pieces of this size.
const PIECE: usize = 64 << 10;

/// All contents, made once.
pub(crate) struct Contents(Vec<Vec<Vec<u8>>>);

impl Contents {
    pub(crate) fn new() -> Contents {
        Contents(
            SIZES.iter().map(|size| (0..SEEDS).map(|seed| make(*size as usize, seed)).collect()).collect(),
        )
    }

    pub(crate) fn get(&self, size: usize, seed: u64) -> &[u8] {
        &self.0[size][seed as usize]
    }

    /// The seed of these bytes, if they are whole.
    pub(crate) fn whole(&self, bytes: &[u8]) -> Option<u64> {
        let seed = claimed(bytes)?;
        let size = index(bytes.len() as u64)?;
        (self.get(size, seed) == bytes).then_some(seed)
    }

    /// What is wrong with the bytes if they are not another whole content up to somewhere, and the one of `before`
    /// from there on: what a load leaves that is killed while it copies.
    ///
    /// Somewhere is any byte, and not the end of a page or of a block: a killed write ends between two copies, and a
    /// copy ends early where what it copies from was not touched yet.
    pub(crate) fn neither(&self, bytes: &[u8], before: u64) -> Option<String> {
        let (Some(seed), Some(size)) = (claimed(bytes), index(bytes.len() as u64)) else {
            return Some("it does not begin as any content does".to_owned());
        };
        let (new, old) = (self.get(size, seed), self.get(size, before));
        let same = |these: &[u8], those: &[u8]| these.iter().zip(those).take_while(|(a, b)| a == b).count();
        let end = same(bytes, new);
        let wrong = end + same(&bytes[end..], &old[end..]);
        (wrong < bytes.len()).then(|| {
            format!(
                "content {seed} over {before} in {size} bytes, and neither from byte {wrong} on",
                size = SIZES[size]
            )
        })
    }
}

/// Which of the sizes that is.
pub(crate) fn index(size: u64) -> Option<usize> {
    SIZES.iter().position(|known| *known == size)
}

/// Puts a content into a new segment, whose holes stay holes.
pub(crate) fn fill(bytes: &mut [u8], content: &[u8]) {
    for (to, from) in bytes.chunks_mut(PIECE).zip(content.chunks(PIECE)) {
        if from.iter().any(|byte| *byte != 0) {
            to.copy_from_slice(from);
        }
    }
}

fn claimed(bytes: &[u8]) -> Option<u64> {
    let seed = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?).checked_sub(1)?;
    (seed < SEEDS).then_some(seed)
}

fn make(size: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let last = (size - 1) / PIECE;
    for (piece, bytes) in bytes.chunks_mut(PIECE).enumerate() {
        // Neither the first, with the seed, nor the last, so that a load has told of the last byte once all of a
        // snapshot was read.
        if piece != 0 && piece != last && (piece as u64 + seed) % 4 == 0 {
            continue;
        }
        for (place, word) in bytes.chunks_mut(8).enumerate() {
            let number = (piece * PIECE + place) as u64 ^ (seed + 1) << 40;
            let value = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
        }
    }
    bytes[..8].copy_from_slice(&(seed + 1).to_le_bytes());
    bytes
}
