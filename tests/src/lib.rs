//! The case table and the integration tests.
