//! [`Filter`]: a TLS session between what the socket carries and what the connection means.
//!
//! It does no I/O: received chunks are opened where they lie, and what is to be sent is sealed
//! into the buffer that is written. Between records a session owns no buffer. The receiver and
//! the writer of a stream share it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use ws_proto::Transmit;

use super::TlsError;
use crate::chunk::Chunk;
use crate::receiver::Received;
use crate::{large, limits};

/// Bytes of a record's header (RFC 8446 §5.1).
const RECORD_HEADER_BYTES: usize = 5;

/// Plaintext of the largest record (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;

/// The shared handle of a session.
#[derive(Clone)]
pub(crate) struct Filter {
    session: Rc<RefCell<Session>>,
}

struct Session {
    side: Side,
    /// Received and not processed: a record that is not complete.
    partial: BytesMut,
    opened: Opened,
    /// To be written before anything sealed later: handshake, alerts.
    sealed: BytesMut,
    /// To be sealed, in order.
    unsealed: VecDeque<Bytes>,
    established: bool,
    /// The peer's close_notify was received.
    peer_closed: bool,
    /// Our close_notify was sealed.
    closed: bool,
    failure: Option<TlsError>,
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// Received plaintext on its way to the connection.
#[derive(Default)]
struct Opened {
    /// What nobody took yet.
    plain: BytesMut,
    /// The buffer that the connection wants filled.
    lent: Option<Lent>,
}

struct Lent {
    buffer: BytesMut,
    before_bytes: usize,
    /// Up to here it may be filled.
    end_bytes: usize,
}

impl Filter {
    pub(super) fn client(connection: UnbufferedClientConnection) -> Self {
        Filter::new(Side::Client(connection))
    }

    pub(super) fn server(connection: UnbufferedServerConnection) -> Self {
        Filter::new(Side::Server(connection))
    }

    fn new(side: Side) -> Self {
        Filter {
            session: Rc::new(RefCell::new(Session {
                side,
                partial: BytesMut::new(),
                opened: Opened::default(),
                sealed: BytesMut::new(),
                unsealed: VecDeque::new(),
                established: false,
                peer_closed: false,
                closed: false,
                failure: None,
            })),
        }
    }

    /// Whether the handshake is done.
    pub(super) fn is_established(&self) -> bool {
        self.session.borrow().established
    }

    /// Goes on as far as it can without anything received: a client's first message.
    pub(super) fn begin(&self) {
        self.session.borrow_mut().process(&mut []);
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self.session.borrow().side, Side::Server(_))
    }

    /// Why the session failed.
    pub(super) fn failure(&self) -> Option<TlsError> {
        self.session.borrow().failure.clone()
    }

    /// Takes bytes of the socket.
    pub(crate) fn open(&self, received: &mut [u8]) {
        self.session.borrow_mut().open(received);
    }

    /// Notes the end of the socket's bytes.
    pub(crate) fn end(&self) {
        let session = &mut *self.session.borrow_mut();
        // RFC 8446 §6.1: without the peer's close_notify what came before may be a part only.
        if !session.peer_closed {
            session.failure.get_or_insert(TlsError::Truncated);
        }
    }

    /// Plaintext that was received, or how it ended; `None`: more has to be received first.
    pub(crate) fn take(&self) -> Option<io::Result<Received>> {
        let session = &mut *self.session.borrow_mut();
        if let Some(received) = session.opened.take() {
            return Some(Ok(received));
        }
        if let Some(failure) = &session.failure {
            return Some(Err(failure.clone().into()));
        }
        session.peer_closed.then(|| Ok(Received::End))
    }

    /// Whether a buffer is lent.
    pub(crate) fn is_lent(&self) -> bool {
        self.session.borrow().opened.lent.is_some()
    }

    /// Lends a buffer: the next plaintext, at most `bytes_max`, goes behind its end.
    pub(crate) fn lend(&self, buffer: BytesMut, bytes_max: usize) {
        self.session.borrow_mut().opened.lend(buffer, bytes_max);
    }

    /// Queues plaintext to be sealed.
    pub(crate) fn queue(&self, transmit: Transmit) {
        let session = &mut *self.session.borrow_mut();
        match transmit {
            Transmit::Contiguous(bytes) => session.unsealed.push_back(bytes.freeze()),
            Transmit::Vectored(parts) => session.unsealed.extend(parts),
        }
    }

    /// Whether the session itself has something to say, such as an alert.
    pub(crate) fn has_pending(&self) -> bool {
        !self.session.borrow().sealed.is_empty()
    }

    /// The next bytes for the socket, about [`limits::TLS_SEALED_BYTES_MAX`] at once.
    ///
    /// # Errors
    /// When the session can seal no more; what was queued is gone.
    pub(crate) fn seal(&self) -> io::Result<Option<BytesMut>> {
        let session = &mut *self.session.borrow_mut();
        let result = session.seal_queued();
        if !session.sealed.is_empty() {
            return Ok(Some(std::mem::take(&mut session.sealed)));
        }
        match result {
            Ok(()) => Ok(None),
            Err(error) => {
                session.unsealed.clear();
                Err(error.into())
            }
        }
    }

    /// Seals a close_notify (RFC 8446 §6.1); everything queued was written before. False: there
    /// is none to send, or not any more.
    pub(crate) fn close(&self) -> bool {
        let session = &mut *self.session.borrow_mut();
        if session.closed || session.sealing_failure().is_some() || !session.established {
            return false;
        }
        session.closed = true;
        session.seal(Seal::CloseNotify).is_ok()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Filter")
    }
}

impl Session {
    fn open(&mut self, received: &mut [u8]) {
        let mut position = 0;
        while position < received.len() && self.failure.is_none() && !self.peer_closed {
            if self.partial.is_empty() {
                position += self.process(&mut received[position..]);
                if self.failure.is_none() && !self.peer_closed {
                    self.partial.extend_from_slice(&received[position..]);
                }
                return;
            }
            let rest = &received[position..];
            let wanted_bytes = missing_bytes(&self.partial).min(rest.len());
            self.partial.extend_from_slice(&rest[..wanted_bytes]);
            position += wanted_bytes;
            let mut partial = std::mem::take(&mut self.partial);
            let used_bytes = self.process(&mut partial);
            partial.advance(used_bytes);
            if !partial.is_empty() {
                self.partial = partial;
            }
        }
    }

    /// Processes whole records at the front of `bytes`; returns how many bytes are used up.
    fn process(&mut self, bytes: &mut [u8]) -> usize {
        let mut used_bytes = 0;
        loop {
            let (discard_bytes, step) = self.step(&mut bytes[used_bytes..], None);
            used_bytes += discard_bytes;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Blocked) => return used_bytes,
                Ok(Step::Traffic) => {
                    self.established = true;
                    return used_bytes;
                }
                Ok(Step::PeerClosed) => {
                    self.peer_closed = true;
                    return bytes.len();
                }
                Err(error) => {
                    self.failure
                        .get_or_insert_with(|| TlsError::Protocol(error));
                    // The alert that tells the peer, and nothing else: after an error the session
                    // must not look at received bytes again.
                    while self.side.has_sealed()
                        && let (_, Ok(Step::Again)) = self.step(&mut [], None)
                    {}
                    return bytes.len();
                }
            }
        }
    }

    fn step(&mut self, bytes: &mut [u8], seal: Option<Seal<'_>>) -> (usize, StepResult) {
        let Session {
            side,
            sealed,
            opened,
            ..
        } = self;
        match side {
            Side::Client(client) => step(client.process_tls_records(bytes), seal, sealed, opened),
            Side::Server(server) => step(server.process_tls_records(bytes), seal, sealed, opened),
        }
    }

    fn seal_queued(&mut self) -> Result<(), TlsError> {
        while self.sealed.len() < limits::TLS_SEALED_BYTES_MAX {
            let Some(part) = self.unsealed.front_mut() else {
                return Ok(());
            };
            if part.len() < RECORD_BYTES_MAX {
                self.seal_gathered()?;
                continue;
            }
            // Whole records, straight from the payload.
            let room_bytes = limits::TLS_SEALED_BYTES_MAX - self.sealed.len();
            let records_count = part.len().min(room_bytes.max(RECORD_BYTES_MAX)) / RECORD_BYTES_MAX;
            let now = part.slice(..records_count * RECORD_BYTES_MAX);
            if now.len() == part.len() {
                // The one handle that is left may give its memory back.
                let whole = self.unsealed.pop_front();
                drop(now);
                let whole = whole.expect("looked at above");
                self.seal(Seal::Plain(&whole))?;
                large::keep(whole);
            } else {
                part.advance(now.len());
                self.seal(Seal::Plain(&now))?;
            }
        }
        Ok(())
    }

    /// Seals one record of small parts, filled up from the part behind them.
    fn seal_gathered(&mut self) -> Result<(), TlsError> {
        let mut record = BytesMut::with_capacity(
            self.unsealed
                .iter()
                .take(limits::WRITE_PARTS_MAX)
                .map(Bytes::len)
                .sum::<usize>()
                .min(RECORD_BYTES_MAX),
        );
        while record.len() < RECORD_BYTES_MAX
            && let Some(part) = self.unsealed.front_mut()
        {
            let count = part.len().min(RECORD_BYTES_MAX - record.len());
            record.extend_from_slice(&part[..count]);
            part.advance(count);
            if part.is_empty() {
                self.unsealed.pop_front();
            }
        }
        self.seal(Seal::Plain(&record))
    }

    /// Why nothing can be sealed. That the peer's bytes ended too early does not hinder.
    fn sealing_failure(&self) -> Option<&TlsError> {
        let failure = self.failure.as_ref();
        failure.filter(|failure| **failure != TlsError::Truncated)
    }

    fn seal(&mut self, seal: Seal<'_>) -> Result<(), TlsError> {
        if let Some(failure) = self.sealing_failure() {
            return Err(failure.clone());
        }
        // The session knows what it has not processed by its place in this buffer.
        let mut partial = std::mem::take(&mut self.partial);
        let result = self.seal_beside(seal, &mut partial);
        self.partial = partial;
        result
    }

    fn seal_beside(&mut self, seal: Seal<'_>, partial: &mut BytesMut) -> Result<(), TlsError> {
        loop {
            let (used_bytes, step) = self.step(partial, Some(seal));
            partial.advance(used_bytes);
            match step {
                Ok(Step::Again) => {}
                Ok(Step::PeerClosed) => self.peer_closed = true,
                Ok(Step::Traffic) => return Ok(()),
                Ok(Step::Blocked) => return Err(TlsError::Closed),
                Err(error) => {
                    let error = TlsError::Protocol(error);
                    self.failure.get_or_insert_with(|| error.clone());
                    return Err(error);
                }
            }
        }
    }
}

impl Side {
    /// Whether the session has sealed something by itself.
    fn has_sealed(&self) -> bool {
        match self {
            Side::Client(client) => client.wants_write(),
            Side::Server(server) => server.wants_write(),
        }
    }
}

impl Opened {
    /// What came, in the buffer that it came into.
    fn take(&mut self) -> Option<Received> {
        if let Some(lent) = self
            .lent
            .take_if(|lent| lent.buffer.len() > lent.before_bytes)
        {
            return Some(Received::Buffer {
                received_bytes: lent.buffer.len() - lent.before_bytes,
                buffer: lent.buffer,
            });
        }
        if self.plain.is_empty() {
            return None;
        }
        Some(Received::Chunk(Chunk::from(std::mem::take(
            &mut self.plain,
        ))))
    }

    fn lend(&mut self, buffer: BytesMut, bytes_max: usize) {
        let before_bytes = buffer.len();
        let mut lent = Lent {
            before_bytes,
            end_bytes: before_bytes
                .saturating_add(bytes_max)
                .min(buffer.capacity()),
            buffer,
        };
        let used_bytes = lent.fill(&self.plain);
        self.plain.advance(used_bytes);
        self.lent = Some(lent);
    }

    fn push(&mut self, plain: &[u8]) {
        let mut rest = plain;
        if let Some(lent) = &mut self.lent {
            rest = &rest[lent.fill(rest)..];
        }
        self.plain.extend_from_slice(rest);
    }
}

impl Lent {
    /// Takes what it has room for; returns how many bytes these are.
    fn fill(&mut self, plain: &[u8]) -> usize {
        let count = plain.len().min(self.end_bytes - self.buffer.len());
        self.buffer.extend_from_slice(&plain[..count]);
        count
    }
}

/// What becomes records.
#[derive(Clone, Copy)]
enum Seal<'a> {
    Plain(&'a [u8]),
    CloseNotify,
}

enum Step {
    /// Something was done; there may be more to do.
    Again,
    /// More has to be received, or both ends are closed.
    Blocked,
    /// The handshake is done; what was to be sealed is sealed.
    Traffic,
    PeerClosed,
}

type StepResult = Result<Step, rustls::Error>;

/// One step of the session's state machine; with the bytes that it used up.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    seal: Option<Seal<'_>>,
    sealed: &mut BytesMut,
    opened: &mut Opened,
) -> (usize, StepResult) {
    let mut used_bytes = status.discard;
    let step = match status.state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    used_bytes += record.discard;
                    opened.push(record.payload);
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::Again),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            append(sealed, |buffer| data.encode(buffer)).map(|()| Step::Again)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It leaves before everything that is sealed later.
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => match seal {
            None => Ok(()),
            Some(Seal::Plain(plain)) => append(sealed, |buffer| traffic.encrypt(plain, buffer)),
            Some(Seal::CloseNotify) => append(sealed, |buffer| traffic.queue_close_notify(buffer)),
        }
        .map(|()| Step::Traffic),
        Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => Ok(Step::Blocked),
        Ok(ConnectionState::PeerClosed) => Ok(Step::PeerClosed),
        Ok(_) => Err(rustls::Error::General(
            "early data is not accepted".to_owned(),
        )),
        Err(error) => Err(error),
    };
    (used_bytes, step)
}

/// Appends what `write` writes, which says by its error how much room it needs.
fn append<E>(
    sealed: &mut BytesMut,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), rustls::Error>
where
    Wanted: From<E>,
{
    let begin = sealed.len();
    let mut room_bytes = 0;
    loop {
        sealed.resize(begin + room_bytes, 0);
        match write(&mut sealed[begin..]).map_err(Wanted::from) {
            Ok(written_bytes) => {
                sealed.truncate(begin + written_bytes);
                return Ok(());
            }
            Err(Wanted::Room(InsufficientSizeError { required_size }))
                if required_size > room_bytes =>
            {
                room_bytes = required_size;
            }
            Err(_) => {
                sealed.truncate(begin);
                return Err(rustls::Error::EncryptError);
            }
        }
    }
}

/// What a failed encoding wants.
enum Wanted {
    Room(InsufficientSizeError),
    Nothing,
}

impl From<EncodeError> for Wanted {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(size) => Wanted::Room(size),
            EncodeError::AlreadyEncoded => Wanted::Nothing,
        }
    }
}

impl From<EncryptError> for Wanted {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(size) => Wanted::Room(size),
            EncryptError::EncryptExhausted => Wanted::Nothing,
        }
    }
}

/// How many bytes an incomplete record lacks; of a record that has not begun, its header.
fn missing_bytes(partial: &[u8]) -> usize {
    let mut end_bytes = 0;
    while let Some(&[_, _, _, high, low]) =
        partial.get(end_bytes..).and_then(|rest| rest.first_chunk())
    {
        end_bytes += RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    }
    if end_bytes <= partial.len() {
        end_bytes += RECORD_HEADER_BYTES;
    }
    end_bytes - partial.len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;

    #[test]
    fn the_missing_part_of_a_record_is_its_header_then_its_rest() {
        let check = |partial: &[u8], expected| assert_eq!(missing_bytes(partial), expected);
        check(&[], 5);
        check(&[22], 4);
        check(&[22, 3, 3, 0], 1);
        check(&[22, 3, 3, 0, 2], 2);
        check(&[22, 3, 3, 0, 2, 9], 1);
        check(&[22, 3, 3, 0, 2, 9, 9], 5);
        check(&[22, 3, 3, 0, 2, 9, 9, 23], 4);
        check(&[22, 3, 3, 0, 0], 5);
        check(&[22, 3, 3, 0x40, 0], 1 << 14);
    }

    /// Draws numbers from a seed (SplitMix64).
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) % sides as u64) as usize
        }
    }

    fn configs() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let server = super::super::server_config_of(vec![certificate.clone()], key.into());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).expect("added");
        let client = super::super::files::client_config(roots);
        (server.expect("they fit"), client.expect("a client"))
    }

    /// Hands over what `from` has sealed, in pieces of any size, with a bit flipped if that is
    /// asked for; false when there was nothing. The other end answers each piece with a byte.
    fn carry(
        dice: &mut Dice,
        from: &Filter,
        to: &Filter,
        flip: bool,
        mut answers: Option<&mut Vec<u8>>,
    ) -> bool {
        let Ok(Some(mut wire)) = from.seal() else {
            return false;
        };
        if flip && dice.roll(8) == 0 {
            let place = dice.roll(wire.len());
            wire[place] ^= 1 << dice.roll(8);
        }
        while !wire.is_empty() {
            let most = if dice.roll(2) == 0 { 9 } else { 30_000 };
            let count = (1 + dice.roll(most)).min(wire.len());
            let mut piece = wire.split_to(count);
            to.open(&mut piece);
            if let Some(answers) = answers.as_deref_mut().filter(|_| to.is_established()) {
                // Sealing between two parts of a record must not disturb what is received.
                let byte = dice.roll(256) as u8;
                answers.push(byte);
                to.queue(Transmit::Contiguous(BytesMut::from(&[byte][..])));
            }
        }
        true
    }

    fn take_all(filter: &Filter, into: &mut Vec<u8>) {
        loop {
            match filter.take() {
                Some(Ok(Received::Chunk(chunk))) => into.extend_from_slice(&chunk),
                Some(Ok(Received::Buffer { buffer, .. })) => into.extend_from_slice(&buffer),
                Some(Ok(Received::End) | Err(_)) | None => return,
            }
        }
    }

    /// Both ends over a wire that cuts anywhere: nothing is lost, doubled or swapped; and where
    /// bits flip, an end of the session is all that happens.
    fn converse(seed: u64, flip: bool) {
        println!("seed {seed}, flips: {flip}");
        let dice = &mut Dice(seed);
        let (server, client) = configs();
        let server = UnbufferedServerConnection::new(server).expect("a server");
        let name = "localhost".try_into().expect("a name");
        let client = UnbufferedClientConnection::new(client, name).expect("a client");
        let ends = [Filter::client(client), Filter::server(server)];
        ends[0].begin();
        let mut sent = [Vec::new(), Vec::new()];
        let mut received = [Vec::new(), Vec::new()];
        for round in 0..60 {
            for index in 0..2 {
                let (from, to) = (&ends[index], &ends[1 - index]);
                if from.is_established() && round < 50 {
                    let is_large = dice.roll(4) == 0;
                    let bytes = dice.roll(if is_large { 200_000 } else { 300 });
                    let part: Vec<u8> = (0..bytes).map(|_| dice.roll(256) as u8).collect();
                    sent[index].extend_from_slice(&part);
                    let cut = dice.roll(bytes + 1);
                    from.queue(Transmit::Vectored(vec![
                        Bytes::copy_from_slice(&part[..cut]),
                        Bytes::copy_from_slice(&part[cut..]),
                    ]));
                }
                if dice.roll(3) == 0 && !to.is_lent() {
                    to.lend(
                        BytesMut::with_capacity(1 + dice.roll(9_000)),
                        1 + dice.roll(9_000),
                    );
                }
                // The last rounds only bring what is under way.
                let mut answers = (round < 50).then_some(&mut sent[1 - index]);
                while carry(dice, from, to, flip, answers.as_deref_mut()) {}
                take_all(to, &mut received[index]);
            }
        }
        if flip {
            return;
        }
        for index in 0..2 {
            assert!(ends[index].is_established(), "{:?}", ends[index].failure());
            let lengths = (received[index].len(), sent[index].len());
            assert!(received[index] == sent[index], "{index}: {lengths:?}");
            assert!(ends[index].close(), "nothing to close");
            assert!(carry(dice, &ends[index], &ends[1 - index], false, None));
        }
        for end in &ends {
            assert!(matches!(end.take(), Some(Ok(Received::End))));
        }
    }

    #[test]
    fn a_session_survives_every_cut_and_every_flip() {
        for seed in 0..6 {
            converse(seed, false);
            converse(seed, true);
        }
    }

    #[test]
    fn a_lent_buffer_is_filled_to_its_limit_and_the_rest_stays() {
        let mut opened = Opened::default();
        opened.push(b"abcdef");
        let mut buffer = BytesMut::with_capacity(16);
        buffer.extend_from_slice(b"__");
        opened.lend(buffer, 4);
        match opened.take() {
            Some(Received::Buffer {
                buffer,
                received_bytes: 4,
            }) => assert_eq!(buffer, b"__abcd"[..]),
            other => panic!("{other:?}"),
        }
        assert!(opened.lent.is_none());
        match opened.take() {
            Some(Received::Chunk(chunk)) => assert_eq!(chunk[..], b"ef"[..]),
            other => panic!("{other:?}"),
        }
        opened.lend(BytesMut::with_capacity(2), 100);
        assert!(opened.take().is_none(), "nothing came");
        opened.push(b"xyz");
        assert!(matches!(opened.take(), Some(Received::Buffer { .. })));
        assert_eq!(opened.plain, b"z"[..]);
    }
}
