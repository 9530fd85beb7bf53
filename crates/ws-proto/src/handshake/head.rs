//! What request and response heads have in common (RFC 9112 §2–5), read strictly.

use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

/// Looks for the end of a head in bytes that arrive in pieces; sees each byte once.
#[derive(Debug, Default)]
pub(super) struct HeadScanner {
    scanned_bytes: usize,
    previous: u8,
    /// Bytes of the current line, without its end.
    line_bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadStatus {
    Incomplete,
    /// The head ends after this many bytes.
    Complete(usize),
    /// A byte that no head has at its place.
    Malformed,
    TooLarge,
}

impl HeadScanner {
    /// `received` is everything received so far.
    pub(super) fn scan(&mut self, received: &[u8], head_bytes_max: usize) -> HeadStatus {
        let window = received.len().min(head_bytes_max);
        let fresh = received.get(self.scanned_bytes..window).unwrap_or_default();
        for &byte in fresh {
            self.scanned_bytes += 1;
            let previous = core::mem::replace(&mut self.previous, byte);
            match byte {
                // RFC 9112 §2.2: a lone CR or LF ends no line; other readers may think it does.
                b'\n' if previous != b'\r' => return HeadStatus::Malformed,
                b'\n' if self.line_bytes == 0 => return self.end_of_head(),
                b'\n' => self.line_bytes = 0,
                _ if previous == b'\r' => return HeadStatus::Malformed,
                b'\r' => {}
                b'\t' if self.line_bytes > 0 => self.line_bytes += 1,
                0..0x20 | 0x7F => return HeadStatus::Malformed,
                _ => self.line_bytes += 1,
            }
        }
        if received.len() >= head_bytes_max {
            return HeadStatus::TooLarge;
        }
        HeadStatus::Incomplete
    }

    fn end_of_head(&self) -> HeadStatus {
        // An empty line where the first line should be: nothing that we would answer.
        if self.scanned_bytes == 2 {
            return HeadStatus::Malformed;
        }
        HeadStatus::Complete(self.scanned_bytes)
    }
}

/// The header lines of a head, in order, as ranges of the received bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    head: Bytes,
    lines: Vec<(Range<usize>, Range<usize>)>,
}

impl Headers {
    pub(super) fn new(head: Bytes, parsed: &[httparse::Header<'_>], source: &[u8]) -> Self {
        let lines = parsed
            .iter()
            .map(|line| {
                let name = range_in(source, line.name.as_bytes());
                (name, range_in(source, line.value))
            })
            .collect();
        Self { head, lines }
    }

    /// The head as received, with the empty line that ends it.
    #[must_use]
    pub fn head(&self) -> &Bytes {
        &self.head
    }

    /// Names and values in the order received. Names keep their case.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines
            .iter()
            .map(|(name, value)| (str_at(&self.head, name), bytes_at(&self.head, value)))
    }

    /// All values of this name, whatever its case.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The first value of this name, whatever its case.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The value of a header that may come once: `Ok(None)` if absent.
    pub(super) fn single(&self, name: &str) -> Result<Option<&[u8]>, Repeated> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(Repeated),
        }
    }

    /// Whether a comma-separated list header has this token, whatever its case
    /// (RFC 9110 §5.6.1).
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(split_list)
            .any(|found| found.eq_ignore_ascii_case(token.as_bytes()))
    }
}

/// A header that may come once came more often.
#[derive(Debug)]
pub(super) struct Repeated;

/// The elements of a list value, without the blanks around them and without empty ones.
pub(super) fn split_list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Whether these bytes are a token (RFC 9110 §5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether these bytes can be a header value (RFC 9110 §5.5).
pub(super) fn is_field_value(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7F))
}

/// Where `part`, which lies in `whole`, begins and ends.
pub(super) fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    // Addresses only: a part that lay elsewhere would give a range that no accessor serves.
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    start..start.wrapping_add(part.len())
}

pub(super) fn bytes_at<'a>(head: &'a Bytes, range: &Range<usize>) -> &'a [u8] {
    head.get(range.clone()).unwrap_or_default()
}

pub(super) fn str_at<'a>(head: &'a Bytes, range: &Range<usize>) -> &'a str {
    core::str::from_utf8(bytes_at(head, range)).unwrap_or_default()
}
