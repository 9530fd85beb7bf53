//! Passwords and personal access tokens: hashing, verifying, generating.
//!
//! Argon2id takes tens of milliseconds and 19 MiB on purpose: call these functions off the shard
//! threads. Secrets are never logged and never stored.
