//! What stands in the place of a TLS session in a build without TLS: nothing, at no cost.

use std::io;

use bytes::BytesMut;
use ws_proto::Transmit;

use crate::receiver::Received;

/// There is none.
#[derive(Clone, Debug)]
pub(crate) enum Filter {}

impl Filter {
    pub(crate) fn open(&self, _received: &mut [u8]) {
        match *self {}
    }

    pub(crate) fn end(&self) {
        match *self {}
    }

    pub(crate) fn take(&self) -> Option<io::Result<Received>> {
        match *self {}
    }

    pub(crate) fn is_lent(&self) -> bool {
        match *self {}
    }

    pub(crate) fn lend(&self, _buffer: BytesMut, _bytes_max: usize) {
        match *self {}
    }

    pub(crate) fn queue(&self, _transmit: Transmit) {
        match *self {}
    }

    pub(crate) fn has_pending(&self) -> bool {
        match *self {}
    }

    pub(crate) fn seal(&self) -> io::Result<Option<BytesMut>> {
        match *self {}
    }

    pub(crate) fn close(&self) -> bool {
        match *self {}
    }
}
