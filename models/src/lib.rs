//! STIMP and its baselines, built on the engine.
