//! Shared helpers of the benchmarks; see `README.md` beside this crate.
