//! Tools that prove the log: power cuts, the explorer that checks what is left after them, failing
//! disks, damaged files.

pub mod crash;
#[cfg(test)]
mod explorer;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod flips;
#[cfg(test)]
mod model;
#[cfg(test)]
mod sample;
