//! Choices of the kill loops, which a seed repeats, and how long the loops are.

/// Xorshift, which is random enough to choose whom to kill.
pub(crate) struct Choices(u64);

impl Choices {
    /// `CC_EXECUTOR_SOAK_SEED` repeats the choices of an earlier run, which printed it.
    pub(crate) fn from_environment() -> Self {
        let seed = number("CC_EXECUTOR_SOAK_SEED", 0x5eed_0000 + u64::from(std::process::id())).max(1);
        println!("CC_EXECUTOR_SOAK_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    pub(crate) fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[usize::try_from(self.below(these.len() as u64)).expect("a small one")]
    }
}

/// A number that an environment variable may set.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().expect("a number"))
}
