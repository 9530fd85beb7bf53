//! Tests of the pure handlers.
