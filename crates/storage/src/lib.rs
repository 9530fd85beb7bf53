//! storage: see ARCHITECTURE.md.
