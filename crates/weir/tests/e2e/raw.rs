//! A peer that speaks the protocol byte by byte, so that tests can see and break every byte.
//!
//! Frames are built from the published codec's types where there are any; the header is laid out
//! by hand, because a test must be able to write a wrong one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use bytes::BytesMut;
use iggy_binary_protocol::requests::users::LoginRegisterRequest;
use iggy_binary_protocol::{
    ClientVersionInfo, HEADER_SIZE, IGGY_PROTOCOL_VERSION, Operation, WireEncode, WireName,
};

use crate::harness::{PASSWORD, PATIENCE, Server, Transport, USERNAME};

const COMMAND_REQUEST: u8 = 5;
const COMMAND_REPLY: u8 = 8;

/// A message of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// One protocol frame, header and body.
    Frame(Vec<u8>),
    /// The connection ended; over WebSocket with this close code if there was one.
    Closed(Option<u16>),
}

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u32,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct RawClient {
    stream: TcpStream,
    transport: Transport,
    session: u64,
    last_request: u64,
}

impl RawClient {
    pub(crate) fn connect(server: &Server, transport: Transport) -> RawClient {
        let mut stream = open(server.address(transport));
        if transport == Transport::WebSocket {
            upgrade(&mut stream, server.websocket);
        }
        RawClient {
            stream,
            transport,
            session: 0,
            last_request: 0,
        }
    }

    pub(crate) fn log_in(&mut self) {
        let reply = self.call(Operation::Register, 0, &login_body(PASSWORD));
        assert_eq!(reply.status, 0, "logged in");
        assert_eq!(reply.body[..4], [0; 4], "the result section says success");
        // After the result section: user number, then session.
        self.session = u64::from_le_bytes(reply.body[8..16].try_into().expect("eight bytes"));
        assert!(self.session > 0);
    }

    /// Sends a request and waits for its answer; `code` counts for non-replicated ones only.
    pub(crate) fn call(&mut self, operation: Operation, code: u32, body: &[u8]) -> Reply {
        let frame = self.frame(operation, code, body);
        self.send_frame(&frame);
        match self.receive() {
            Received::Frame(frame) => {
                assert_eq!(frame[60], COMMAND_REPLY, "a reply, not an eviction");
                let status = frame[216..220].try_into().expect("four bytes");
                let status = u32::from_le_bytes(status);
                Reply {
                    status,
                    body: frame[HEADER_SIZE..].to_vec(),
                }
            }
            Received::Closed(code) => panic!("closed ({code:?}) instead of answered"),
        }
    }

    /// A valid request frame of this session.
    pub(crate) fn frame(&mut self, operation: Operation, code: u32, body: &[u8]) -> Vec<u8> {
        let is_counted = !matches!(operation, Operation::Register | Operation::NonReplicated);
        self.last_request += u64::from(is_counted);
        let request = if operation == Operation::Register {
            0
        } else {
            self.last_request
        };
        let mut frame = vec![0; HEADER_SIZE];
        let size = u32::try_from(HEADER_SIZE + body.len()).expect("small");
        frame[48..52].copy_from_slice(&size.to_le_bytes());
        frame[60] = COMMAND_REQUEST;
        frame[128..144].copy_from_slice(&0x5765_6972_u128.to_le_bytes());
        frame[168..176].copy_from_slice(&request.to_le_bytes());
        frame[176] = operation as u8;
        frame[184..192].copy_from_slice(&self.session.to_le_bytes());
        if operation == Operation::NonReplicated {
            frame[196..200].copy_from_slice(&code.to_le_bytes());
        }
        frame.extend_from_slice(body);
        frame
    }

    /// Sends protocol bytes as one unit of the transport.
    pub(crate) fn send_frame(&mut self, frame: &[u8]) {
        match self.transport {
            Transport::Tcp => self.send_bytes(frame),
            Transport::WebSocket => self.send_bytes(&masked_frame(0x82, frame)),
        }
    }

    /// Writes to the socket. The server may have closed it, which the next read will tell.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            let is_closed = matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            );
            assert!(is_closed, "cannot write: {error}");
        }
    }

    /// Tells the server that nothing more comes.
    pub(crate) fn finish_sending(&self) {
        // Fails when the server has closed already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    pub(crate) fn receive(&mut self) -> Received {
        match self.transport {
            Transport::Tcp => self.receive_tcp(),
            Transport::WebSocket => self.receive_websocket(),
        }
    }

    /// Reads on until the server has closed; gives the close code.
    pub(crate) fn receive_close(&mut self) -> Option<u16> {
        loop {
            if let Received::Closed(code) = self.receive() {
                return code;
            }
        }
    }

    fn receive_tcp(&mut self) -> Received {
        let mut frame = vec![0; HEADER_SIZE];
        if !self.read(&mut frame) {
            return Received::Closed(None);
        }
        let size = u32::from_le_bytes(frame[48..52].try_into().expect("four bytes"));
        frame.resize(size as usize, 0);
        if self.read(&mut frame[HEADER_SIZE..]) {
            Received::Frame(frame)
        } else {
            Received::Closed(None)
        }
    }

    fn receive_websocket(&mut self) -> Received {
        let mut message = Vec::new();
        loop {
            let mut head = [0; 2];
            if !self.read(&mut head) {
                return Received::Closed(None);
            }
            assert_eq!(head[1] & 0x80, 0, "a server does not mask");
            let length = match head[1] {
                126 => self.read_number(2),
                127 => self.read_number(8),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            if !self.read(&mut payload) {
                return Received::Closed(None);
            }
            match head[0] & 0x0f {
                0 | 2 => message.extend_from_slice(&payload),
                8 => {
                    let code = payload.get(..2).map(|code| [code[0], code[1]]);
                    self.send_bytes(&masked_frame(0x88, &payload));
                    // The server ends the connection after the closing handshake.
                    while self.read(&mut [0]) {}
                    return Received::Closed(code.map(u16::from_be_bytes));
                }
                9 | 10 => continue,
                other => panic!("unexpected opcode {other}"),
            }
            if head[0] & 0x80 != 0 {
                return Received::Frame(message);
            }
        }
    }

    fn read_number(&mut self, bytes: usize) -> usize {
        let mut number = [0; 8];
        assert!(self.read(&mut number[8 - bytes..]), "the length is cut off");
        usize::try_from(u64::from_be_bytes(number)).expect("fits")
    }

    /// False: the server closed before `target` was full.
    fn read(&mut self, target: &mut [u8]) -> bool {
        match self.stream.read_exact(target) {
            Ok(()) => true,
            Err(error) if is_timeout(&error) => panic!("neither an answer nor an end came"),
            Err(_) => false,
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The body of a login with this password.
pub(crate) fn login_body(password: &str) -> Vec<u8> {
    let request = LoginRegisterRequest {
        version_info: ClientVersionInfo {
            protocol_version: IGGY_PROTOCOL_VERSION,
            sdk_name: WireName::new("raw").expect("a name"),
            sdk_version: WireName::new("1.0.0").expect("a version"),
        },
        username: WireName::new(USERNAME).expect("a name"),
        password: password.to_owned().into(),
        client_context: None,
    };
    encode(&request)
}

pub(crate) fn encode(request: &impl WireEncode) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    request.encode(&mut buffer);
    buffer.to_vec()
}

/// A socket that fails rather than waits for ever.
pub(crate) fn open(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// The opening handshake, with the key of the example in RFC 6455 section 1.3.
fn upgrade(stream: &mut TcpStream, address: SocketAddr) {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a response");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
}

/// One frame of a client. The key is zero, which is a key like any other and leaves the payload
/// readable in a debugger.
pub(crate) fn masked_frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first_byte];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}
