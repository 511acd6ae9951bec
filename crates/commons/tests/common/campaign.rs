//! What campaigns of random kills share: chance, arguments, and children that nobody waits for by name.

/// Chance that is the same for the same seed.
pub struct Random(pub u64);

impl Random {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        // xorshift64*, Vigna 2016
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// The arguments of a campaign, which has its own `main`; `None` if only its name was asked for.
pub fn arguments(test: &str) -> Option<Vec<String>> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("{test}: test");
        return None;
    }
    Some(arguments)
}

/// The number behind the argument of this name.
pub fn number(arguments: &[String], name: &str) -> Option<u64> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1)?.parse().ok()
}

/// Reaps one child, if there is one; `false` if there is none (or none that has ended).
pub fn wait_for_any(flags: i32) -> bool {
    // SAFETY: reaps children of this process.
    unsafe { libc::waitpid(-1, std::ptr::null_mut(), flags) > 0 }
}
