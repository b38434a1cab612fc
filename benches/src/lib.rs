//! Criterion benches over the case table.
