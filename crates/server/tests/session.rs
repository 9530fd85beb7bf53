//! A whole server in this process, spoken to with frames over a plain socket: what published
//! clients never send, and what becomes of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use server::boot::{self, Running};
use server::config::{Config, Driver};
use server::limits::Limits;
use wire::Status;
use wire::iggy::eviction::{self, EvictionReason};
use wire::iggy::frame::{HEADER_BYTES, LEGACY_REFUSAL, ReplyHeader, RequestHeader};
use wire::iggy::published::{WireEncode, codes};
use wire::iggy::{PROTOCOL_VERSION, login, operation};

const USERNAME: &str = "tester";
const PASSWORD: &str = "secret of the test";

struct Fixture {
    running: Option<Running>,
    tcp: SocketAddr,
    websocket: SocketAddr,
    directory: tempfile::TempDir,
}

impl Fixture {
    fn start(driver: Driver) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::start_in(directory, driver)
    }

    fn start_in(directory: tempfile::TempDir, driver: Driver) -> Self {
        Self::start_with(directory, driver, Limits::default())
    }

    /// One shard, so that a limit of a shard is a limit of the server.
    fn limited(limits: Limits) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::start_with(directory, Driver::Auto, limits)
    }

    fn start_with(directory: tempfile::TempDir, driver: Driver, limits: Limits) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let shards = (limits != Limits::default()).then_some(NonZeroUsize::MIN);
        let config = Config {
            shards,
            data_dir: directory.path().join("data"),
            tcp: loopback,
            websocket: loopback,
            driver,
            root_username: Some(USERNAME.to_owned()),
            root_password: Some(PASSWORD.to_owned()),
            ..Config::default()
        };
        let running = boot::start_with(config, limits).expect("the server starts");
        let (tcp, websocket) = (running.tcp_address, running.websocket_address);
        Self {
            running: Some(running),
            tcp,
            websocket,
            directory,
        }
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(self.tcp).expect("the server accepts");
        // A test that waits for what never comes shall fail, not hang.
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("the socket is ours");
        Client {
            stream,
            session: 0,
            request: 0,
        }
    }

    fn stop(mut self) -> tempfile::TempDir {
        assert!(
            self.running.take().expect("it runs").shutdown(),
            "everything ends in order"
        );
        self.directory
    }
}

struct Client {
    stream: TcpStream,
    session: u64,
    request: u64,
}

/// What came back.
#[derive(Debug)]
enum Answer {
    Reply(Status, Vec<u8>),
    Evicted(EvictionReason),
    Closed,
}

impl Client {
    fn send(&mut self, operation: u8, code: u32, body: &[u8]) {
        let register = operation == operation::REGISTER;
        let header = RequestHeader {
            frame_bytes: (HEADER_BYTES + body.len()) as u32,
            client: 77,
            request_checksum: 0,
            request: if register { 0 } else { self.request.max(1) },
            operation,
            session: if register { 0 } else { self.session },
            code,
        };
        self.request += 1;
        let mut frame = header.encode().to_vec();
        frame.extend_from_slice(body);
        self.stream
            .write_all(&frame)
            .expect("the connection is open");
    }

    fn answer(&mut self) -> Answer {
        let mut header = [0; HEADER_BYTES];
        match self.stream.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if is_end(error.kind()) => return Answer::Closed,
            Err(error) => panic!("no answer: {error}"),
        }
        if let Some(evicted) = eviction::parse(&header) {
            return Answer::Evicted(evicted.reason.expect("a known reason"));
        }
        let reply = ReplyHeader::parse(&header).expect("a reply");
        let mut body = vec![0; reply.body_bytes()];
        self.stream.read_exact(&mut body).expect("the whole body");
        Answer::Reply(reply.status, body)
    }

    fn ask(&mut self, operation: u8, code: u32, body: &[u8]) -> Answer {
        self.send(operation, code, body);
        self.answer()
    }

    fn status(&mut self, operation: u8, code: u32, body: &[u8]) -> Status {
        match self.ask(operation, code, body) {
            Answer::Reply(status, _) => status,
            other => panic!("expected a reply, got {other:?}"),
        }
    }

    /// A ping that may find the connection closed.
    fn try_ping(&mut self) -> Result<(), ()> {
        let header = RequestHeader {
            frame_bytes: HEADER_BYTES as u32,
            client: 77,
            request_checksum: 0,
            request: 1,
            operation: operation::NON_REPLICATED,
            session: 0,
            code: codes::PING_CODE,
        };
        self.stream.write_all(&header.encode()).map_err(drop)?;
        match self.answer() {
            Answer::Reply(Status::OK, _) => Ok(()),
            _ => Err(()),
        }
    }

    fn read(&mut self, code: u32) -> Status {
        self.status(operation::NON_REPLICATED, code, &[])
    }

    fn login_with(&mut self, version: u32, username: &str, password: &str) -> Answer {
        let mut body = BytesMut::new();
        body.put_u32_le(version);
        for text in ["test", "1", username, password] {
            body.put_u8(text.len() as u8);
            body.put_slice(text.as_bytes());
        }
        body.put_u32_le(0);
        self.ask(operation::REGISTER, 0, &body)
    }

    fn login(&mut self) {
        match self.login_with(PROTOCOL_VERSION, USERNAME, PASSWORD) {
            Answer::Reply(Status::OK, body) => {
                // Result section, user id, then the session.
                self.session = u64::from_le_bytes(body[8..16].try_into().expect("8 bytes"));
                assert_ne!(self.session, 0);
            }
            other => panic!("login failed: {other:?}"),
        }
    }
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

#[test]
fn before_login_only_ping_and_login_are_served() {
    for driver in [Driver::Auto, Driver::Poll] {
        let fixture = Fixture::start(driver);
        let mut client = fixture.client();
        assert_eq!(client.read(codes::PING_CODE), Status::OK);
        for code in [
            codes::GET_STATS_CODE,
            codes::GET_STREAMS_CODE,
            codes::GET_ME_CODE,
        ] {
            assert_eq!(client.read(code), Status::UNAUTHENTICATED, "command {code}");
        }
        client.login();
        assert_eq!(client.read(codes::GET_STREAMS_CODE), Status::OK);
        assert_eq!(client.read(codes::GET_STATS_CODE), Status::OK);
        fixture.stop();
    }
}

#[test]
fn a_login_is_refused_with_its_reason_and_the_connection_ends() {
    let fixture = Fixture::start(Driver::Auto);
    let attempts = [
        (
            PROTOCOL_VERSION,
            USERNAME,
            "wrong password",
            EvictionReason::InvalidCredentials,
        ),
        (
            PROTOCOL_VERSION,
            "nobody",
            PASSWORD,
            EvictionReason::InvalidCredentials,
        ),
        (
            PROTOCOL_VERSION + (1 << 20),
            USERNAME,
            PASSWORD,
            EvictionReason::IncompatibleProtocol,
        ),
    ];
    for (version, username, password, expected) in attempts {
        let mut client = fixture.client();
        match client.login_with(version, username, password) {
            Answer::Evicted(reason) => assert_eq!(reason, expected),
            other => panic!("expected an eviction, got {other:?}"),
        }
        assert!(matches!(client.answer(), Answer::Closed));
    }
    fixture.stop();
}

#[test]
fn every_command_code_and_operation_is_answered() {
    let fixture = Fixture::start(Driver::Auto);
    let mut client = fixture.client();
    client.login();
    for code in 0..700 {
        // An empty body fits few commands; what matters is that an answer comes, in order.
        let status = client.read(code);
        let known = wire::iggy::command::name(operation::NON_REPLICATED, code) != "unknown";
        assert!(
            known || status == Status::INVALID_COMMAND,
            "code {code}: {status:?}"
        );
    }
    for number in 4..=u8::MAX {
        let status = client.status(number, 0, &[]);
        assert_ne!(status, Status::OK, "operation {number} with an empty body");
    }
    assert_eq!(client.read(codes::PING_CODE), Status::OK);
    fixture.stop();
}

#[test]
fn a_session_of_another_login_is_refused() {
    let fixture = Fixture::start(Driver::Auto);
    let mut client = fixture.client();
    client.login();
    let own = client.session;
    client.session = own + 1;
    assert_eq!(
        client.read(codes::GET_STREAMS_CODE),
        Status::UNAUTHENTICATED
    );
    client.session = own;
    assert_eq!(client.read(codes::GET_STREAMS_CODE), Status::OK);
    client.login();
    assert_ne!(client.session, own, "a new login is a new session");
    fixture.stop();
}

#[test]
fn bytes_that_are_no_frames_end_only_their_connection() {
    let fixture = Fixture::start(Driver::Auto);
    let mut good = fixture.client();
    good.login();
    let cases: [(&str, Vec<u8>); 3] = [
        ("a checksum that is not zero", vec![0xff; HEADER_BYTES]),
        ("a size below the header's", {
            let mut frame = vec![0; HEADER_BYTES];
            frame[48] = 255;
            frame
        }),
        ("a frame larger than anyone may send before login", {
            let mut frame = vec![0; HEADER_BYTES];
            frame[48..52].copy_from_slice(&(1_u32 << 20).to_le_bytes());
            frame
        }),
    ];
    for (name, bytes) in cases {
        let mut bad = fixture.client();
        bad.stream
            .write_all(&bytes)
            .expect("the connection is open");
        assert!(matches!(bad.answer(), Answer::Closed), "{name}");
        assert_eq!(good.read(codes::PING_CODE), Status::OK, "{name}");
    }
    fixture.stop();
}

#[test]
fn an_older_client_gets_a_refusal_that_it_understands() {
    let fixture = Fixture::start(Driver::Auto);
    let mut client = fixture.client();
    // Length 4, command 1: the ping of the older framing.
    client
        .stream
        .write_all(&[4, 0, 0, 0, 1, 0, 0, 0])
        .expect("the connection is open");
    let mut refusal = Vec::new();
    client
        .stream
        .read_to_end(&mut refusal)
        .expect("the refusal and the end");
    assert_eq!(refusal, LEGACY_REFUSAL);
    fixture.stop();
}

#[test]
fn requests_that_arrive_together_are_answered_in_order() {
    let fixture = Fixture::start(Driver::Auto);
    let mut client = fixture.client();
    client.login();
    client.request = 10;
    for _ in 0..100 {
        client.send(operation::NON_REPLICATED, codes::PING_CODE, &[]);
    }
    for request in 10..110_u64 {
        let mut header = [0; HEADER_BYTES];
        client
            .stream
            .read_exact(&mut header)
            .expect("one reply each");
        assert_eq!(
            ReplyHeader::parse(&header).expect("a reply").request,
            request
        );
    }
    fixture.stop();
}

#[test]
fn a_drain_answers_what_is_in_flight_and_then_ends_the_connection() {
    let fixture = Fixture::start(Driver::Auto);
    let mut client = fixture.client();
    client.login();
    assert_eq!(create_stream(&mut client, "kept"), Status::OK);
    let directory = fixture.stop();
    assert!(matches!(client.answer(), Answer::Closed));

    let again = Fixture::start_in(directory, Driver::Auto);
    let mut client = again.client();
    client.login();
    assert_eq!(
        create_stream(&mut client, "kept"),
        Status::STREAM_NAME_ALREADY_EXISTS
    );
    again.stop();
}

fn create_stream(client: &mut Client, name: &str) -> Status {
    use wire::iggy::published::requests::streams::CreateStreamRequest;
    use wire::iggy::published::{WireName, WireOptions};
    let request = CreateStreamRequest {
        name: WireName::new(name).expect("a valid name"),
        options: WireOptions::empty(),
    };
    client.status(operation::CREATE_STREAM, 0, &request.to_bytes())
}

#[test]
fn the_websocket_port_answers_plain_http() {
    for driver in [Driver::Auto, Driver::Poll] {
        let fixture = Fixture::start(driver);
        let page = http(fixture.websocket, "GET / HTTP/1.1\r\nHost: weir\r\n\r\n");
        assert!(
            page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("<h1>Weir</h1>"),
            "{page}"
        );
        let health = http(
            fixture.websocket,
            "GET /health HTTP/1.1\r\nHost: weir\r\n\r\n",
        );
        assert!(health.contains(r#""status":"ok""#), "{health}");
        let expected = if driver == Driver::Poll {
            r#""driver":"poll""#
        } else {
            r#""driver":""#
        };
        assert!(health.contains(expected), "{health}");
        let missing = http(
            fixture.websocket,
            "GET /other HTTP/1.1\r\nHost: weir\r\n\r\n",
        );
        assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
        fixture.stop();
    }
}

fn http(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("the socket is ours");
    stream
        .write_all(request.as_bytes())
        .expect("the connection is open");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("an answer and the end");
    // The peer may have ended the connection already.
    let _ = stream.shutdown(Shutdown::Both);
    answer
}

#[test]
fn an_unknown_token_is_refused() {
    let fixture = Fixture::start(Driver::Auto);
    let mut client = fixture.client();
    let unknown = {
        let mut body = BytesMut::new();
        let credentials = login::Credentials::Token("no such token");
        login::Login::new("test", "1", credentials).put(&mut body);
        client.ask(operation::REGISTER, 0, &body)
    };
    assert!(
        matches!(unknown, Answer::Evicted(EvictionReason::InvalidToken)),
        "{unknown:?}"
    );
    fixture.stop();
}

#[test]
fn a_stranger_is_sent_away_after_the_login_timeout_although_it_pings() {
    let login_timeout = Duration::from_millis(300);
    let fixture = Fixture::limited(Limits {
        login_timeout,
        ..Limits::default()
    });
    let mut known = fixture.client();
    known.login();
    let mut stranger = fixture.client();
    let mut answered = 0;
    while let Ok(()) = stranger.try_ping() {
        answered += 1;
        assert!(answered < 1_000_000, "pings bought more time");
    }
    assert!(matches!(stranger.answer(), Answer::Closed));
    assert_eq!(
        known.read(codes::GET_STREAMS_CODE),
        Status::OK,
        "who logged in may stay"
    );
    fixture.stop();
}

#[test]
fn a_shard_takes_as_many_connections_as_allowed() {
    let fixture = Fixture::limited(Limits {
        connections_max: 2,
        ..Limits::default()
    });
    let mut first = fixture.client();
    let mut second = fixture.client();
    assert_eq!(first.read(codes::PING_CODE), Status::OK);
    assert_eq!(second.read(codes::PING_CODE), Status::OK);
    let mut third = fixture.client();
    assert!(matches!(third.answer(), Answer::Closed));
    let page = http(fixture.websocket, "GET / HTTP/1.1\r\nHost: weir\r\n\r\n");
    assert!(
        page.starts_with("HTTP/1.1 503 ") && page.contains("Retry-After: 1"),
        "{page}"
    );
    assert_eq!(first.read(codes::PING_CODE), Status::OK);
    fixture.stop();
}

#[test]
fn frames_are_served_up_to_the_largest_and_no_further() {
    let largest_bytes = HEADER_BYTES + 1_000;
    for login_first in [false, true] {
        let limits = if login_first {
            Limits {
                frame_bytes_max: largest_bytes,
                ..Limits::default()
            }
        } else {
            Limits {
                login_frame_bytes_max: largest_bytes,
                ..Limits::default()
            }
        };
        let fixture = Fixture::limited(limits);
        let mut client = fixture.client();
        if login_first {
            client.login();
        }
        let ping = codes::PING_CODE;
        let status = client.status(operation::NON_REPLICATED, ping, &[0; 1_000]);
        assert_eq!(status, Status::OK);
        let over = client.ask(operation::NON_REPLICATED, ping, &[0; 1_001]);
        assert!(matches!(over, Answer::Closed), "{over:?}");
        fixture.stop();
    }
}
