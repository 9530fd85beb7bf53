//! Bugs that tests plant, to prove that the crash explorer finds them.
//!
//! Outside this crate's own tests the switch does not exist and every question is answered "no".

/// A mistake that storage engines have made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Appends are never synced.
    NoSync,
    /// New names are never synced.
    NoDirectorySync,
    /// Appends are acknowledged while their sync is still under way.
    AcknowledgeBeforeSync,
    /// Records are not verified.
    NoChecksum,
    /// The index is durable before what it tells of, and is believed.
    IndexBeforeData,
    /// Files get their name before their content is durable.
    RenameWithoutSync,
    /// A torn tail is cut, but the cut is not synced.
    TruncateNotSynced,
    /// The sync lies between the header of an entry and its body.
    HeaderBeforeBody,
    /// A segment is sealed while its last records wait for a sync.
    RollWithoutSync,
    /// A checkpoint tells of records that wait for a sync.
    CheckpointUnsynced,
    /// Groups in a recycled file end without a block of zeros.
    NoZeroBlock,
    /// A recycled file keeps its salt.
    SaltKept,
    /// A file gets its new header before its old name is gone for good.
    RecycledTooEarly,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug on this thread, or removes it.
#[cfg(test)]
pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether a test planted this bug.
#[cfg(test)]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Nothing is ever planted outside tests.
#[cfg(not(test))]
pub(crate) const fn is_planted(_bug: Bug) -> bool {
    false
}
