//! Whatever a peer sends, it gets an error or a closed connection; the process and all other
//! connections go on. The decoder itself is tried far more often where it lives; this is a sample
//! against the real process.

use iggy_binary_protocol::codes::{
    DESCRIBE_OPTIONS_CODE, GET_CONSUMER_OFFSET_CODE, GET_STATS_CODE, GET_STREAM_CODE,
    GET_TOPIC_CODE, PING_CODE, POLL_MESSAGES_CODE, SYNC_CONSUMER_GROUP_CODE,
};
use iggy_binary_protocol::requests::streams::CreateStreamRequest;
use iggy_binary_protocol::{Operation, WireName, WireOptions, WirePollingStrategy};

use crate::bytes::{poll_body, send_body};
use crate::client::{connect, create_topic, read_all, send};
use crate::harness::{Server, Setup, Transport, matrix, random};
use crate::raw::{RawClient, Received, encode, login_body, masked_frame, open};

matrix!(
    mutated_requests,
    unknown_commands_are_answered,
    broken_framing
);

/// The name of a request, its operation and command code, and a valid body.
type Request = (&'static str, Operation, u32, Vec<u8>);

const MUTATIONS: usize = 60;

async fn mutated_requests(setup: Setup) {
    let mut random = random();
    let mut server = setup.start();
    let witness = connect(&server, setup.transport).await;
    create_topic(&witness, 2).await;
    let before = send(&witness, 0, ["before".to_owned()])
        .await
        .expect("sent");

    for (name, operation, code, body) in requests(&mut random) {
        for round in 0..MUTATIONS {
            let mut client = RawClient::connect(&server, setup.transport);
            // A login costs a password hash; one request in a few shows the same.
            if round % 6 == 0 && operation != Operation::Register {
                client.log_in();
            }
            let mut frame = client.frame(operation, code, &body);
            mutate(&mut random, &mut frame);
            client.send_frame(&frame);
            client.finish_sending();
            let is_ended = matches!(client.receive(), Received::Frame(_) | Received::Closed(_));
            assert!(is_ended, "{name}");
        }
        server.assert_alive();
    }

    // Bytes changed on the way must not have become messages of the partition that was not named.
    let after = send(&witness, 0, ["after".to_owned()]).await.expect("sent");
    assert_eq!(read_all(&witness, 0).await.len() as u64, after + 1);
    assert!(after > before);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

fn requests(random: &mut fastrand::Rng) -> Vec<Request> {
    let read = Operation::NonReplicated;
    let create_stream = encode(&CreateStreamRequest {
        name: WireName::new("another").expect("a name"),
        options: WireOptions::empty(),
    });
    // Two identifiers, as many requests begin.
    let identifiers = vec![1, 4, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0];
    vec![
        (
            "login",
            Operation::Register,
            0,
            login_body("wrong password"),
        ),
        ("ping", read, PING_CODE, Vec::new()),
        ("stats", read, GET_STATS_CODE, Vec::new()),
        (
            "get stream",
            read,
            GET_STREAM_CODE,
            identifiers[..6].to_vec(),
        ),
        ("get topic", read, GET_TOPIC_CODE, identifiers.clone()),
        (
            "poll",
            read,
            POLL_MESSAGES_CODE,
            poll_body(WirePollingStrategy::first(), 10),
        ),
        ("send", Operation::SendMessages, 0, send_body(random, 3, 1)),
        ("create stream", Operation::CreateStream, 0, create_stream),
        (
            "store offset",
            Operation::StoreConsumerOffset,
            0,
            identifiers.clone(),
        ),
        (
            "get offset",
            read,
            GET_CONSUMER_OFFSET_CODE,
            identifiers.clone(),
        ),
        ("sync group", read, SYNC_CONSUMER_GROUP_CODE, identifiers),
    ]
}

fn mutate(random: &mut fastrand::Rng, frame: &mut Vec<u8>) {
    match random.u8(..4) {
        0 => frame.truncate(random.usize(..frame.len())),
        1 => frame.extend((0..random.usize(1..40)).map(|_| 0xa5)),
        _ => {
            for _ in 0..random.usize(1..4) {
                let position = random.usize(..frame.len());
                frame[position] = random.u8(..);
            }
        }
    }
}

/// Never a hang and never a closed socket: the protocol has an error for it.
async fn unknown_commands_are_answered(setup: Setup) {
    let server = setup.start();
    let mut client = RawClient::connect(&server, setup.transport);
    client.log_in();
    for code in [0, 2, 99, 700, u32::MAX] {
        let reply = client.call(Operation::NonReplicated, code, &[]);
        assert_ne!(reply.status, 0, "command {code} does not exist");
    }
    let described = client.call(Operation::NonReplicated, DESCRIBE_OPTIONS_CODE, &[]);
    assert_ne!(described.status, 0, "its body is missing");
    for operation in [
        Operation::CreateUser,
        Operation::UpdateTopic,
        Operation::DeleteSegments,
    ] {
        let reply = client.call(operation, 0, &[]);
        let result = reply.body.get(..4).is_some_and(|count| count != [0; 4]);
        assert!(
            reply.status != 0 || result,
            "{operation:?} with an empty body is an error"
        );
    }
    assert_eq!(
        client.call(Operation::NonReplicated, PING_CODE, &[]).status,
        0,
        "still there"
    );
}

async fn broken_framing(setup: Setup) {
    let mut server = setup.start();
    let witness = connect(&server, setup.transport).await;
    match setup.transport {
        Transport::Tcp => broken_tcp(&server),
        Transport::WebSocket => broken_websocket(&server),
    }
    server.assert_alive();
    assert!(!server.log().contains("panicked"), "{}", server.log());
    iggy::prelude::SystemClient::ping(&witness)
        .await
        .expect("other connections go on");
}

fn broken_tcp(server: &Server) {
    let check = |name: &str, change: fn(&mut Vec<u8>)| {
        let mut client = RawClient::connect(server, Transport::Tcp);
        let mut frame = client.frame(Operation::NonReplicated, PING_CODE, &[]);
        change(&mut frame);
        client.send_bytes(&frame);
        // No half-close: the server must notice by itself that this is no frame.
        match client.receive() {
            Received::Closed(_) => {}
            Received::Frame(reply) => {
                let is_reply = reply[60] == 8;
                assert!(
                    !is_reply || reply[216..220] != [0; 4],
                    "{name} is not a success"
                );
            }
        }
    };
    check("a size below the header's", |frame| {
        frame[48..52].copy_from_slice(&[255, 0, 0, 0])
    });
    check("a size of zero", |frame| frame[48..52].fill(0));
    check("a size beyond the limit", |frame| frame[48..52].fill(0xff));
    check("a reply", |frame| frame[60] = 8);
    check("an unknown operation", |frame| frame[176] = 250);
    check("a client number of zero", |frame| frame[128..144].fill(0));
    check("a frame of an older generation", |frame| {
        frame[..8].copy_from_slice(&[4, 0, 0, 0, 1, 0, 0, 0]);
    });
    check("HTTP", |frame| {
        frame.splice(
            ..,
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
                .iter()
                .copied()
                .cycle()
                .take(600),
        );
    });
}

fn broken_websocket(server: &Server) {
    let check = |name: &str, bytes: Vec<u8>, expected: &[u16]| {
        let mut client = RawClient::connect(server, Transport::WebSocket);
        client.send_bytes(&bytes);
        let code = client
            .receive_close()
            .expect("a Close frame before the end");
        assert!(expected.contains(&code), "{name}: closed with {code}");
    };
    let mut unmasked = masked_frame(0x82, b"hello");
    unmasked[1] &= 0x7f;
    check("an unmasked frame", unmasked, &[1002]);
    check("a reserved opcode", masked_frame(0x83, b""), &[1002]);
    check("a reserved bit", masked_frame(0xc2, b""), &[1002]);
    check("a fragmented ping", masked_frame(0x09, b""), &[1002]);
    check("a long ping", masked_frame(0x89, &[0; 126]), &[1002]);
    check(
        "a continuation of nothing",
        masked_frame(0x80, b""),
        &[1002],
    );
    check(
        "a Close frame of one byte",
        masked_frame(0x88, &[3]),
        &[1002],
    );
    check(
        "a reserved close code",
        masked_frame(0x88, &1005_u16.to_be_bytes()),
        &[1002],
    );
    check(
        "text that is not UTF-8",
        masked_frame(0x81, &[0xff]),
        &[1007, 1003],
    );
    check("text", masked_frame(0x81, b"hello"), &[1003]);
    let mut claim = vec![0x82, 0x80 | 127];
    claim.extend_from_slice(&(1_u64 << 40).to_be_bytes());
    claim.extend_from_slice(&[0; 4]);
    check("a frame of a tebibyte", claim, &[1009]);

    // No handshake at all, and one that is none.
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"BREW /pot HTCPCP/1.0\r\n\r\n",
    ] {
        use std::io::{Read, Write};
        let mut stream = open(server.websocket);
        stream.write_all(garbage).expect("sent");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("half closed");
        let mut answer = Vec::new();
        // A reset is as good an end as any.
        let _ = stream.read_to_end(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{answer:?}"
        );
    }
}
