//! Passwords and personal access tokens: generating, hashing, verifying.
//!
//! Argon2id takes tens of milliseconds and 19 MiB on purpose: call [`hash`] and [`verify`] off
//! the shard threads. Secrets are never logged and never stored; what is stored is a hash.

use std::fmt::Write as _;
use std::hint::black_box;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Argon2, Params};
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};

/// Random bytes in a generated token: 256 bits cannot be guessed, and 64 hex digits stay below
/// the 100 bytes that published clients accept.
const TOKEN_BYTES: usize = 32;
/// Random bytes in a generated password: 128 bits.
const GENERATED_PASSWORD_BYTES: usize = 16;

/// The system has no randomness to give, or not enough memory for Argon2.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// From the operating system.
    #[error("the system's random number generator failed: {0}")]
    Random(getrandom::Error),
    /// From Argon2.
    #[error("the password could not be hashed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// Hashes a password with Argon2id (19 MiB, 2 passes, 1 lane: the OWASP minimum) and a fresh salt
/// into PHC string form. Takes tens of milliseconds.
///
/// # Errors
/// [`Error`], for reasons outside the password.
pub fn hash(password: &str) -> Result<String, Error> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(Error::Random)?;
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
    Ok(hash.map_err(Error::Hash)?.to_string())
}

/// Whether `password` is the one that `stored_hash` was made of. The comparison takes constant
/// time, and `None` (no such user) takes as long as a real hash, so that an answer's delay does
/// not tell which user names exist.
///
/// A stored hash that does not parse verifies nothing.
#[must_use]
pub fn verify(password: &str, stored_hash: Option<&str>) -> bool {
    let Some(stored_hash) = stored_hash else {
        let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
        let hashed = Argon2::default().hash_password_into(password.as_bytes(), &[0; 16], &mut out);
        // There is nothing to compare with; this only keeps the work from being optimised away.
        black_box((&hashed, &out));
        return false;
    };
    let Ok(stored) = PasswordHash::new(stored_hash) else {
        return false;
    };
    Argon2::default()
        .verify_password(password.as_bytes(), &stored)
        .is_ok()
}

/// A password for the root user when the operator gave none: 32 hexadecimal digits.
///
/// # Errors
/// The system's random number generator failed.
pub fn generate() -> Result<String, Error> {
    let mut random = [0; GENERATED_PASSWORD_BYTES];
    getrandom::fill(&mut random).map_err(Error::Random)?;
    Ok(hex(&random))
}

/// A new personal access token: 64 hexadecimal digits, shown to its owner once.
///
/// # Errors
/// The system's random number generator failed.
pub fn generate_token() -> Result<String, Error> {
    let mut random = [0; TOKEN_BYTES];
    getrandom::fill(&mut random).map_err(Error::Random)?;
    Ok(hex(&random))
}

/// What is stored of a token: BLAKE2b-256 in lower-case hex. A token is random, so a fast hash
/// without salt is enough, and the catalog can look a token up by it.
#[must_use]
pub fn hash_token(token: &str) -> String {
    hex(&Blake2b::<U32>::digest(token.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_verifies_its_password_and_no_other() {
        let stored = hash("correct horse").expect("hash");
        assert!(
            stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{stored}"
        );
        assert!(verify("correct horse", Some(&stored)));
        assert!(!verify("correct horsf", Some(&stored)));
        assert!(!verify("", Some(&stored)));
    }

    #[test]
    fn the_same_password_hashes_differently_each_time() {
        assert_ne!(hash("secret").expect("hash"), hash("secret").expect("hash"));
    }

    #[test]
    fn an_unknown_user_and_a_damaged_hash_verify_nothing() {
        assert!(!verify("secret", None));
        assert!(!verify("secret", Some("")));
        assert!(!verify("secret", Some("secret")));
        assert!(!verify(
            "secret",
            Some("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$")
        ));
    }

    #[test]
    fn a_hash_made_with_other_costs_still_verifies() {
        // Stored before the costs were raised: the costs in the string count.
        let stored = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQxMjM0NQ$";
        let params = Params::new(64, 1, 1, None).expect("params");
        let cheap = Argon2::from(params);
        let made = cheap
            .hash_password_with_salt(b"old", b"somesalt12345")
            .expect("hash");
        let made = made.to_string();
        assert!(made.starts_with(stored), "{made}");
        assert!(verify("old", Some(&made)));
    }

    #[test]
    fn generated_passwords_are_hexadecimal_and_different() {
        let one = generate().expect("password");
        assert_eq!(one.len(), 32);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, generate().expect("password"));
    }

    #[test]
    fn tokens_are_random_and_their_hashes_known() {
        let token = generate_token().expect("token");
        assert_eq!(token.len(), 64);
        assert_ne!(token, generate_token().expect("token"));
        assert_eq!(hash_token(&token), hash_token(&token));
        // BLAKE2b-256 of the empty string, from RFC 7693's reference implementation.
        let empty = "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8";
        assert_eq!(hash_token(""), empty);
    }
}
