//! ws-proto: see ARCHITECTURE.md.
