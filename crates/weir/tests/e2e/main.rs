//! End to end: the real binary, driven from outside by clients that nobody here wrote and by raw
//! sockets.
//!
//! Most scenarios run four times, over TCP and WebSocket and on both kernel drivers; the name of
//! a test says which. The interpreter for the Python scenarios is named by `WEIR_TEST_PYTHON`,
//! without it the one that `cargo xtask test` prepares is used; `WEIR_TEST_CHROMIUM` names the
//! browser for the reports of `weir bench`, without it `chromium` is. Random choices come from a
//! seed that a failing test prints; `WEIR_TEST_SEED` repeats a run.

mod bench;
mod browser;
mod bytes;
mod client;
mod crash;
mod drain;
mod flips;
mod harness;
mod http;
mod inspect;
mod kills;
mod ledger;
mod life;
mod load;
mod malformed;
mod mounts;
mod own_client;
mod pictures;
mod power_cut;
mod published_control;
mod published_python;
mod published_rust;
mod python;
mod raw;
mod start;
mod tls;
