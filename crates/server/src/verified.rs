//! Passwords that were right a moment ago, so that they need not be proven the slow way again.
//!
//! After a restart every client logs in again at once; with Argon2id alone 10,000 of them would
//! keep a core busy for minutes. A password that was verified is therefore remembered as a keyed
//! hash, in memory only, under a key that lives as long as the process. It helps nobody to guess:
//! a wrong password still takes the slow way.

use std::cell::RefCell;
use std::collections::HashMap;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};

type Tag = [u8; 32];

/// One shard's memory of verified passwords: one entry a user, so bounded by the catalog.
pub(crate) struct VerifiedPasswords {
    /// None when the system gave no randomness: then nothing is remembered.
    key: Option<[u8; 32]>,
    tags: RefCell<HashMap<u32, Tag>>,
}

impl VerifiedPasswords {
    pub(crate) fn new() -> Self {
        let mut key = [0; 32];
        let key = getrandom::fill(&mut key).ok().map(|()| key);
        Self {
            key,
            tags: RefCell::default(),
        }
    }

    /// Whether this password of this user was verified against this very stored hash.
    pub(crate) fn contains(&self, user_id: u32, stored_hash: &str, password: &str) -> bool {
        // The tag is keyed: how long a comparison takes tells nothing about the password.
        let tag = self.tag(stored_hash, password);
        tag.is_some() && self.tags.borrow().get(&user_id).copied() == tag
    }

    /// Remembers a password that was just verified against the stored hash.
    pub(crate) fn insert(&self, user_id: u32, stored_hash: &str, password: &str) {
        if let Some(tag) = self.tag(stored_hash, password) {
            self.tags.borrow_mut().insert(user_id, tag);
        }
    }

    /// The stored hash is part of it, so a changed password forgets the old one.
    fn tag(&self, stored_hash: &str, password: &str) -> Option<Tag> {
        let key = self.key?;
        let mut hasher = Blake2b::<U32>::new();
        hasher.update(key);
        hasher.update(
            u64::try_from(stored_hash.len())
                .unwrap_or(u64::MAX)
                .to_le_bytes(),
        );
        hasher.update(stored_hash);
        hasher.update(password);
        Some(hasher.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_user_hash_and_password_are_known() {
        let verified = VerifiedPasswords::new();
        assert!(!verified.contains(1, "hash", "password"));
        verified.insert(1, "hash", "password");
        assert!(verified.contains(1, "hash", "password"));
        assert!(!verified.contains(2, "hash", "password"));
        assert!(
            !verified.contains(1, "other", "password"),
            "the password was changed"
        );
        assert!(!verified.contains(1, "hash", "Password"));
        assert!(
            !verified.contains(1, "hashp", "assword"),
            "lengths are part of the tag"
        );
        verified.insert(1, "other", "new");
        assert!(
            !verified.contains(1, "hash", "password"),
            "one entry a user"
        );
    }

    #[test]
    fn another_process_has_another_key() {
        let (one, two) = (VerifiedPasswords::new(), VerifiedPasswords::new());
        assert_ne!(one.tag("hash", "password"), two.tag("hash", "password"));
    }
}
