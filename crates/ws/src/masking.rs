//! Masking keys for clients, unpredictable as RFC 6455 §10.3 asks.

use std::cell::RefCell;

/// Random bytes drawn at once: one call to the operating system serves 2,048 frames.
const POOL_BYTES: usize = 8192;

struct Pool {
    bytes: Box<[u8; POOL_BYTES]>,
    used_bytes: usize,
}

thread_local! {
    static POOL: RefCell<Option<Pool>> = const { RefCell::new(None) };
}

/// The next masking key of this thread. No key is given out twice from the same bytes.
pub(crate) fn masking_key() -> [u8; 4] {
    POOL.with_borrow_mut(|pool| {
        let pool = pool.get_or_insert_with(|| Pool {
            bytes: Box::new([0; POOL_BYTES]),
            used_bytes: POOL_BYTES,
        });
        if pool.used_bytes == POOL_BYTES {
            fill_random(&mut pool.bytes[..]);
            pool.used_bytes = 0;
        }
        let key = &mut pool.bytes[pool.used_bytes..pool.used_bytes + 4];
        pool.used_bytes += 4;
        let result = [key[0], key[1], key[2], key[3]];
        // A key that was used is public; the pool must not keep it.
        key.fill(0);
        result
    })
}

/// Fills `target` from the operating system's random number generator.
///
/// # Panics
/// If the system has none, which is no state in which a client may go on.
pub(crate) fn fill_random(target: &mut [u8]) {
    getrandom::fill(target).expect("the operating system gives random bytes");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Over more than one pool; 32-bit keys repeat by chance about once in 2^32 / n² draws.
    #[test]
    fn keys_do_not_repeat_when_the_pool_is_refilled() {
        let keys: Vec<_> = (0..3 * POOL_BYTES / 4).map(|_| masking_key()).collect();
        let distinct: HashSet<_> = keys.iter().collect();
        assert!(
            distinct.len() > keys.len() - 8,
            "{} of {}",
            distinct.len(),
            keys.len()
        );
        assert!(keys.iter().filter(|key| **key == [0; 4]).count() < 4);
    }
}
