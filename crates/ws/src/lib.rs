//! ws: see ARCHITECTURE.md.
