//! Elementary functions.

#![allow(missing_docs)]

#[path = "../reference/mod.rs"]
mod reference;

/// The tests that every function of a table of [`Measured`](sweep::Measured) has to pass.
macro_rules! sweeps {
    ($measured:expr) => {
        #[test]
        fn the_quick_reference_is_right_to_fourteen_digits() {
            sweep::the_quick_reference_is_right_to_fourteen_digits(&$measured);
        }

        #[test]
        fn float32_over_every_97th_number() {
            sweep::float32_over_every(97, &$measured);
        }

        #[test]
        #[ignore = "minutes; `make test-exhaustive` runs it"]
        fn float32_over_every_number() {
            sweep::float32_over_every(1, &$measured);
        }

        #[test]
        fn float64_over_random_numbers() {
            sweep::float64_over_random_numbers(200_000, &$measured);
        }

        #[test]
        #[ignore = "a minute; `make test-exhaustive` runs it"]
        fn float64_over_five_million_random_numbers() {
            sweep::float64_over_random_numbers(5_000_000, &$measured);
        }

        #[test]
        fn every_level_gives_the_same_bits() {
            sweep::every_level_gives_the_same_bits(&$measured);
        }

        #[test]
        fn neighbours_do_not_matter() {
            sweep::neighbours_do_not_matter(&$measured);
        }
    };
}

mod elementary;
mod gamma;
mod sweep;
