//! How properties are tried: on the same random cases in every run, so that what has passed once
//! passes again. `PROPTEST_RNG_SEED` asks for others, as `make soak` does.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// `count` cases.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    let config = ProptestConfig::with_cases(count);
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        asked @ RngSeed::Fixed(_) => asked,
    };
    ProptestConfig { rng_seed, ..config }
}
