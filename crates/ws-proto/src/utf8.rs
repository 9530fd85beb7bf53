//! UTF-8 as it arrives (RFC 6455 §8.1): wrong at the first byte that no valid text continues.

/// Whether `text` is valid from end to end.
#[inline]
pub(crate) fn is_valid(text: &[u8]) -> bool {
    simdutf8::basic::from_utf8(text).is_ok()
}

/// Text that is not, and cannot become, valid UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invalid;

/// Checks text that comes in pieces cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Validator {
    /// The start of a sequence that the last piece cut, 1–3 bytes.
    pending: [u8; 4],
    pending_bytes: u8,
}

impl Validator {
    /// Takes the next piece.
    ///
    /// # Errors
    /// As soon as a byte is there that makes the text invalid, whatever follows.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), Invalid> {
        let rest = self.complete_pending(piece)?;
        match simdutf8::compat::from_utf8(rest) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                self.keep(rest.get(error.valid_up_to()..).unwrap_or_default());
                Ok(())
            }
            Err(_) => Err(Invalid),
        }
    }

    /// The text ends here.
    ///
    /// # Errors
    /// If the last sequence is not complete.
    pub(crate) fn finish(&mut self) -> Result<(), Invalid> {
        match core::mem::take(&mut self.pending_bytes) {
            0 => Ok(()),
            _ => Err(Invalid),
        }
    }

    /// Takes bytes until the pending sequence is complete; returns the others.
    fn complete_pending<'a>(&mut self, mut piece: &'a [u8]) -> Result<&'a [u8], Invalid> {
        while self.pending_bytes > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                return Ok(piece);
            };
            piece = rest;
            let length = usize::from(self.pending_bytes);
            let slot = self.pending.get_mut(length).ok_or(Invalid)?;
            *slot = byte;
            self.pending_bytes += 1;
            let sequence = self.pending.get(..=length).ok_or(Invalid)?;
            match core::str::from_utf8(sequence) {
                Ok(_) => self.pending_bytes = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(Invalid),
            }
        }
        Ok(piece)
    }

    fn keep(&mut self, start: &[u8]) {
        for (slot, &byte) in self.pending.iter_mut().zip(start) {
            *slot = byte;
        }
        self.pending_bytes = start.len() as u8;
    }
}
