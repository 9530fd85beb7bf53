//! Bits that flipped on disk while the server was down: it starts without the damaged part or not
//! at all, says so, and never serves a wrong byte.
//!
//! `WEIR_TEST_FLIPS=<positions>` is for the log itself, which flips that many bits below the
//! server; here it is one in fifty of them, because each needs a start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use iggy::prelude::*;

use crate::client::*;
use crate::harness::{
    Driver, Server, Setup, Transport, files_below, random, run, run_to_end, weir,
};
use crate::ledger::{PARTITIONS, payload};
use crate::load::create_topic as create_topic_with_small_segments;

const FLIPS_DEFAULT: usize = 6;
/// Messages of each batch.
const BATCH_MESSAGES: usize = 40;

/// What is known to be in each partition, by offset.
type Known = [Vec<String>; PARTITIONS as usize];

#[test]
fn a_flipped_bit_is_harmless_or_told_and_never_served() {
    let flips = match std::env::var("WEIR_TEST_FLIPS") {
        Ok(text) => text.parse::<usize>().expect("a number").div_ceil(50),
        Err(_) => FLIPS_DEFAULT,
    };
    run(Transport::Tcp, Driver::IoUring, async |setup: Setup| {
        let known = fill(&setup).await;
        let data = &setup.options.data;
        let whole = data.with_file_name("whole");
        copy(data, &whole);
        let files: Vec<PathBuf> = files_below(&whole, "")
            .into_iter()
            .filter(|path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0))
            .collect();
        let mut random = random();
        let mut verdicts = BTreeMap::<&str, usize>::new();
        for number in 0..flips {
            std::fs::remove_dir_all(data).expect("removed");
            copy(&whole, data);
            let file = files[number % files.len()]
                .strip_prefix(&whole)
                .expect("below");
            let path = data.join(file);
            let mut bytes = std::fs::read(&path).expect("readable");
            let (position, bit) = (random.usize(..bytes.len()), random.u32(..8));
            bytes[position] ^= 1 << bit;
            std::fs::write(&path, bytes).expect("damaged");
            let transport = [Transport::Tcp, Transport::WebSocket][number % 2];
            let verdict = check(&setup, transport, &known).await;
            println!("bit {bit} of {} at {position}: {verdict}", file.display());
            *verdicts.entry(verdict).or_default() += 1;
        }
        println!("{flips} flips: {verdicts:?}");
    });
}

/// A server's data with sealed and active segments, stored offsets and some catalog.
async fn fill(setup: &Setup) -> Known {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    create_topic_with_small_segments(&client).await;
    let mut known = Known::default();
    for number in 0..16 {
        for (partition, known) in known.iter_mut().enumerate() {
            let texts: Vec<String> = (0..BATCH_MESSAGES)
                .map(|message| payload(&format!("{partition}-{number}-{message}")))
                .collect();
            send(&client, partition as u32, texts.iter().cloned())
                .await
                .expect("sent");
            known.extend(texts);
        }
    }
    poll(&client, 0, PollingStrategy::next(), 100, true).await;
    let details = client.get_topic(&stream(), &topic()).await.expect("asked");
    let details = details.expect("it is there");
    assert!(details.partitions.iter().all(|one| one.segments_count > 1));
    assert!(server.stop().status.success());
    known
}

/// Starts on the damaged directory, reads everything; what became of the flip.
async fn check(setup: &Setup, transport: Transport, known: &Known) -> &'static str {
    let mut inspect = weir();
    inspect.arg("inspect").arg(&setup.options.data);
    let inspected = run_to_end(inspect).status.code();
    let server = match Server::try_start(&setup.options) {
        Ok(server) => server,
        Err(ended) => {
            let line = ended.log.lines().last().unwrap_or_default().to_owned();
            assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
            assert!(
                line.starts_with("weir: "),
                "one line says why: {}",
                ended.log
            );
            assert_ne!(inspected, Some(0), "inspect sees it too: {line}");
            return "refused to start";
        }
    };
    let client = connect(&server, transport).await;
    let mut missing = 0;
    for (partition, known) in known.iter().enumerate() {
        missing += known.len() - read_what_is_there(&client, partition as u32, known).await;
    }
    let log = server.log();
    let is_told = log.contains(" WARN ") || log.contains(" ERROR ");
    assert!(missing == 0 || is_told, "{missing} are missing:\n{log}");
    server.kill();
    match missing {
        0 => "harmless",
        _ => "told",
    }
}

/// Reads on from where the last poll ended, as consumers do, and behind damage from the next batch
/// on; how many messages came, each of them checked.
async fn read_what_is_there(client: &IggyClient, partition: u32, known: &[String]) -> usize {
    let (mut found, mut offset) = (0, 0);
    while offset < known.len() {
        let strategy = PollingStrategy::offset(offset as u64);
        let polled = client
            .poll_messages(
                &stream(),
                &topic(),
                Some(partition),
                &consumer("another"),
                &strategy,
                100,
                false,
            )
            .await;
        let messages = polled.map_or_else(|_| Vec::new(), |polled| polled.messages);
        for message in &messages {
            let at = message.header.offset as usize;
            assert_eq!(text(message), known[at], "{partition}/{at}: wrong bytes");
        }
        found += messages.len();
        offset += match messages.len() {
            // Damage, the end, or a partition that a damaged catalog no longer knows.
            0 => BATCH_MESSAGES - offset % BATCH_MESSAGES,
            count => count,
        };
    }
    found
}

fn copy(source: &Path, target: &Path) {
    for path in files_below(source, "") {
        let target = target.join(path.strip_prefix(source).expect("below"));
        std::fs::create_dir_all(target.parent().expect("a directory")).expect("created");
        std::fs::copy(path, target).expect("copied");
    }
}
