//! Tools that prove the log: power cuts, and the explorer that checks what is left after them.

pub mod crash;
#[cfg(test)]
mod explorer;
#[cfg(test)]
mod model;
