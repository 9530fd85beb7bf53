//! The life of what is stored: old messages go, deleted topics leave nothing behind, a full disk
//! is survived, and there may be more partitions than files that may be open.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use iggy::prelude::*;

use crate::client::*;
use crate::harness::{
    Driver, Options, Server, Setup, Transport, files_below, matrix, random, run, until,
};
use crate::http::get;

matrix!(messages_expire_and_consumers_go_on);

const MIB: u64 = 1 << 20;

/// The statuses that a client may see when its topic goes away under it.
const GONE: [u32; 4] = [
    1009, // stream
    2010, // topic by id
    2011, // topic by name
    3007, // partition
];

/// A server that looks for old messages all the time.
fn eager(setup: &mut Setup) -> Server {
    let interval = ("WEIR_RETENTION_INTERVAL", "100ms".to_owned());
    setup.options.variables.push(interval);
    setup.start()
}

async fn create_topic_with(client: &IggyClient, options: TopicCreateOptions) {
    client.create_stream(STREAM).await.expect("stream created");
    client
        .create_topic(&stream(), TOPIC, &options)
        .await
        .expect("topic created");
}

async fn details(client: &IggyClient) -> TopicDetails {
    let found = client.get_topic(&stream(), &topic()).await.expect("asked");
    found.expect("the topic is there")
}

fn kilobytes(count: usize, name: &str) -> impl Iterator<Item = String> {
    let text = format!("{name:-<1000}");
    (0..count).map(move |_| text.clone())
}

async fn messages_expire_and_consumers_go_on(mut setup: Setup) {
    let server = eager(&mut setup);
    let client = connect(&server, setup.transport).await;
    let options = TopicCreateOptions {
        partitions_count: Some(1),
        message_expiry: Some(IggyExpiry::ExpireDuration(IggyDuration::from(1_000_000))),
        ..TopicCreateOptions::default()
    };
    create_topic_with(&client, options).await;
    send(&client, 0, kilobytes(10, "old")).await.expect("sent");
    let polled = poll(&client, 0, PollingStrategy::next(), 3, true).await;
    assert_eq!(polled.messages.len(), 3);

    until("the end of old messages", async || {
        details(&client).await.messages_count == 0
    })
    .await;
    assert_eq!(details(&client).await.size.as_bytes_u64(), 0);
    server.wait_for_log("old messages removed");
    let base_offset = send(&client, 0, ["new".to_owned()]).await.expect("sent");
    assert_eq!(base_offset, 10, "offsets go on");
    // What is stored points at a message that is gone.
    let polled = poll(&client, 0, PollingStrategy::next(), 10, false).await;
    assert_eq!(texts(&polled), ["new"]);
    assert_eq!(polled.messages[0].header.offset, 10);
    let (_, metrics) = get(&server, "/metrics");
    let removed = metrics
        .lines()
        .find_map(|line| line.strip_prefix("weir_retention_segments_total "));
    assert!(removed.expect("a figure").parse::<u64>().expect("a number") > 0);
}

/// Two partitions on two shards, so that no shard alone knows the size.
#[test]
fn a_topic_keeps_to_its_size_while_it_is_read() {
    run(Transport::Tcp, Driver::IoUring, async |mut setup: Setup| {
        let server = eager(&mut setup);
        let client = connect(&server, setup.transport).await;
        let options = TopicCreateOptions {
            partitions_count: Some(2),
            segment_size: Some(IggyByteSize::from(MIB)),
            max_topic_size: Some(MaxTopicSize::Custom(IggyByteSize::from(4 * MIB))),
            ..TopicCreateOptions::default()
        };
        create_topic_with(&client, options).await;
        let reader = connect(&server, setup.transport).await;
        let reading = tokio::spawn(async move {
            let mut next_offset = 0;
            while next_offset < 8_000 {
                let strategy = PollingStrategy::offset(next_offset);
                let polled = poll(&reader, 0, strategy, 50, false).await;
                for message in &polled.messages {
                    assert!(message.header.offset >= next_offset, "offsets go up");
                    next_offset = message.header.offset + 1;
                }
            }
        });
        for _ in 0..40 {
            for partition in 0..2 {
                let sent = send(&client, partition, kilobytes(200, "x")).await;
                sent.expect("a topic that gives room is never full");
            }
        }
        reading.await.expect("no read failed");
        // 16 MB were sent. The two active segments may come on top of the size.
        until("the size", async || {
            details(&client).await.size.as_bytes_u64() <= 6 * MIB
        })
        .await;
        let bytes: u64 = files_below(&setup.options.data, ".log")
            .iter()
            .map(|path| path.metadata().map_or(0, |metadata| metadata.len()))
            .sum();
        assert!(bytes <= 7 * MIB, "{bytes} bytes are on the disk");
    });
}

/// Whether the segment's header says that an older segment's bytes may lie in the file.
fn is_recycled(path: &Path) -> bool {
    // The format of the header, at 8. Retention may have removed the file by now.
    std::fs::read(path).is_ok_and(|bytes| bytes[8..12] == 2_u32.to_le_bytes())
}

#[test]
fn a_topic_at_its_size_writes_over_the_files_of_removed_segments() {
    run(Transport::Tcp, Driver::IoUring, async |setup: Setup| {
        // Looks for old messages only where a log says that its segment is nearly full.
        let server = setup.start();
        let client = connect(&server, setup.transport).await;
        let options = TopicCreateOptions {
            partitions_count: Some(1),
            segment_size: Some(IggyByteSize::from(MIB)),
            max_topic_size: Some(MaxTopicSize::Custom(IggyByteSize::from(3 * MIB))),
            ..TopicCreateOptions::default()
        };
        create_topic_with(&client, options).await;
        let mut sent = 0_u64;
        until("a recycled file", async || {
            for _ in 0..4 {
                let name = format!("{sent} ");
                let batch = send(&client, 0, kilobytes(50, &name)).await;
                batch.expect("there is room");
                sent += 50;
            }
            files_below(&setup.options.data, ".log")
                .iter()
                .any(|path| is_recycled(path))
        })
        .await;
        server.kill();

        let server = setup.start();
        let client = connect(&server, setup.transport).await;
        let first = poll(&client, 0, PollingStrategy::first(), 1, false).await;
        let mut next_offset = first.messages[0].header.offset;
        assert!(next_offset > 0, "the oldest are gone");
        while next_offset < sent {
            let polled = poll(&client, 0, PollingStrategy::offset(next_offset), 50, false).await;
            for (message, text) in polled.messages.iter().zip(texts(&polled)) {
                assert_eq!(message.header.offset, next_offset);
                let batch = next_offset / 50 * 50;
                assert!(text.starts_with(&format!("{batch} -")), "{text}");
                next_offset += 1;
            }
            assert!(!polled.messages.is_empty(), "{next_offset} of {sent}");
        }
    });
}

#[test]
fn a_full_topic_refuses_messages_where_none_may_be_deleted() {
    run(
        Transport::WebSocket,
        Driver::IoUring,
        async |mut setup: Setup| {
            let keep = ("WEIR_DELETE_OLDEST_SEGMENTS", "false".to_owned());
            setup.options.variables.push(keep);
            let server = eager(&mut setup);
            let client = connect(&server, setup.transport).await;
            let options = TopicCreateOptions {
                partitions_count: Some(2),
                max_topic_size: Some(MaxTopicSize::Custom(IggyByteSize::from(MIB))),
                segment_size: Some(IggyByteSize::from(MIB)),
                ..TopicCreateOptions::default()
            };
            create_topic_with(&client, options).await;
            let mut sent = 0;
            until("the refusal", async || {
                match send(&client, 0, kilobytes(100, "x")).await {
                    Ok(_) => sent += 100,
                    Err(error) => {
                        assert_eq!(error.as_code(), 3009, "{error}");
                        return true;
                    }
                }
                false
            })
            .await;
            until("the refusal of the other partition", async || {
                send(&client, 1, ["x".to_owned()]).await.is_err()
            })
            .await;
            let polled = poll(&client, 0, PollingStrategy::first(), 1_000_000, false).await;
            assert_eq!(polled.messages.len(), sent, "what was taken stays");
            client
                .purge_topic(&stream(), &topic())
                .await
                .expect("purged");
            until("room", async || {
                send(&client, 1, ["x".to_owned()]).await.is_ok()
            })
            .await;
        },
    );
}

/// What the process has open below its data directory.
fn open_files(server: &Server, data: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(format!("/proc/{}/fd", server.id())).expect("the process runs");
    listed
        .filter_map(|entry| std::fs::read_link(entry.expect("an entry").path()).ok())
        .filter(|path| path.starts_with(data.join("streams")))
        .collect()
}

#[test]
fn a_topic_deleted_while_it_is_used_leaves_nothing() {
    run(Transport::Tcp, Driver::IoUring, async |setup: Setup| {
        let server = setup.start();
        let client = connect(&server, setup.transport).await;
        let options = TopicCreateOptions {
            partitions_count: Some(4),
            segment_size: Some(IggyByteSize::from(MIB)),
            ..TopicCreateOptions::default()
        };
        create_topic_with(&client, options).await;
        for partition in 0..4 {
            for _ in 0..6 {
                let sent = send(&client, partition, kilobytes(400, "x")).await;
                sent.expect("sent");
            }
        }
        let mut using = Vec::new();
        for partition in 0..4 {
            let producer = connect(&server, setup.transport).await;
            using.push(tokio::spawn(async move {
                loop {
                    if let Err(error) = send(&producer, partition, kilobytes(10, "y")).await {
                        return error.as_code();
                    }
                }
            }));
            let reader = connect(&server, setup.transport).await;
            using.push(tokio::spawn(async move {
                let mut offset = 0;
                loop {
                    let polled = reader
                        .poll_messages(
                            &stream(),
                            &topic(),
                            Some(partition),
                            &consumer("reader"),
                            &PollingStrategy::offset(offset % 2_000),
                            100,
                            false,
                        )
                        .await;
                    match polled {
                        Ok(polled) => offset += polled.messages.len() as u64,
                        Err(error) => return error.as_code(),
                    }
                }
            }));
        }
        assert!(!open_files(&server, &setup.options.data).is_empty());
        client
            .delete_topic(&stream(), &topic())
            .await
            .expect("deleted");
        for task in using {
            let status = task.await.expect("no panic");
            assert!(GONE.contains(&status), "{status} is no clear answer");
        }
        let left = files_below(&setup.options.data.join("streams"), "");
        assert!(left.is_empty(), "{left:?}");
        until("the end of open files", async || {
            open_files(&server, &setup.options.data).is_empty()
        })
        .await;
        let ended = server.stop();
        assert!(ended.status.success(), "{}", ended.log);
        assert!(!ended.log.contains("ERROR"), "{}", ended.log);
    });
}

/// Segments below a directory out of which files and directories vanish meanwhile.
fn segments_left(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let counts = paths.map(|path| match path.extension() {
        Some(ending) => usize::from(ending == "log"),
        None => segments_left(&path),
    });
    counts.sum()
}

#[test]
fn a_process_killed_while_it_deletes_has_the_topic_or_has_not() {
    run(Transport::Tcp, Driver::IoUring, async |setup: Setup| {
        let mut random = random();
        let server = setup.start();
        connect(&server, setup.transport)
            .await
            .create_stream(STREAM)
            .await
            .expect("created");
        server.stop();
        for round in 0..6 {
            let server = setup.start();
            let client = connect(&server, setup.transport).await;
            let options = TopicCreateOptions {
                partitions_count: Some(40),
                ..TopicCreateOptions::default()
            };
            let created = client.create_topic(&stream(), TOPIC, &options).await;
            created.expect("created: nothing of the round before is in the way");
            for partition in 0..40 {
                send(&client, partition, [round.to_string()])
                    .await
                    .expect("sent");
            }
            let deleting = tokio::spawn(async move {
                // The answer may be lost with the process.
                let _ = client.delete_topic(&stream(), &topic()).await;
            });
            let files = segments_left(&setup.options.data.join("streams"));
            let wanted = random.usize(0..=files);
            // Somewhere between before the first file and behind the last one.
            until("the deletion", async || {
                segments_left(&setup.options.data.join("streams")) <= wanted
            })
            .await;
            server.kill();
            deleting.abort();

            let server = setup.start();
            let client = connect(&server, setup.transport).await;
            let found = client.get_topic(&stream(), &topic()).await.expect("asked");
            if found.is_some() {
                for partition in 0..40 {
                    let kept = read_all(&client, partition).await;
                    assert_eq!(kept, [round.to_string()]);
                }
                let deleted = client.delete_topic(&stream(), &topic()).await;
                deleted.expect("deleted");
            }
            let left = files_below(&setup.options.data.join("streams"), "");
            assert!(left.is_empty(), "{left:?}");
            server.kill();
        }
    });
}

/// More partitions than files that the process may have open, all with messages, all used.
#[test]
fn partitions_outnumber_the_files_that_may_be_open() {
    run(Transport::Tcp, Driver::IoUring, async |setup: Setup| {
        const PARTITIONS: u32 = 120;
        let start = || {
            let mut command = Command::new("sh");
            let limited = "ulimit -n 384 && exec \"$0\" \"$@\"";
            let inner = setup.options.command();
            command.args(["-c", limited]).arg(inner.get_program());
            command.args(inner.get_args());
            for (name, value) in inner.get_envs() {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
            Server::start_with(&setup.options, command)
        };
        let server = start();
        server.wait_for_log("open files");
        let client = connect(&server, setup.transport).await;
        create_topic(&client, PARTITIONS).await;
        for round in ["first", "second"] {
            for partition in 0..PARTITIONS {
                let sent = send(&client, partition, [format!("{round} {partition}")]).await;
                sent.expect("sent");
            }
        }
        let expected = |partition| ["first", "second"].map(|round| format!("{round} {partition}"));
        for partition in 0..PARTITIONS {
            assert_eq!(read_all(&client, partition).await, expected(partition));
        }
        server.kill();
        let server = start();
        let open = open_files(&server, &setup.options.data).len();
        assert_eq!(open, 0, "a partition that is not used has no file open");
        let client = connect(&server, setup.transport).await;
        for partition in 0..PARTITIONS {
            assert_eq!(read_all(&client, partition).await, expected(partition));
        }
    });
}

/// A small file system of its own, unmounted at the end.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// None where mounting is not allowed.
    fn mount() -> Option<SmallDisk> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (image, target) = (
            directory.path().join("image"),
            directory.path().join("mounted"),
        );
        std::fs::create_dir(&target).expect("created");
        std::fs::write(&image, []).expect("created");
        let file = std::fs::File::options().write(true).open(&image);
        file.expect("opened").set_len(24 * MIB).expect("resized");
        let succeeds = |command: &mut Command| {
            let output = command.output();
            output.is_ok_and(|output| output.status.success())
        };
        let formatted = succeeds(Command::new("mkfs.ext4").arg("-q").arg("-F").arg(&image));
        let loop_mount = ["-o", "loop"];
        let mounted = formatted
            && succeeds(
                Command::new("mount")
                    .args(loop_mount)
                    .arg(&image)
                    .arg(&target),
            );
        let memory = ["-t", "tmpfs", "-o", "size=16m", "tmpfs"];
        let mounted = mounted || succeeds(Command::new("mount").args(memory).arg(&target));
        println!("ext4 in a file: {formatted}, mounted: {mounted}");
        mounted.then_some(SmallDisk { directory })
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("mounted")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        let is_unmounted = unmounted.is_ok_and(|status| status.success());
        assert!(is_unmounted || std::thread::panicking(), "unmounted");
    }
}

/// Writes the file until not one block is left.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("created");
    let refused = loop {
        if let Err(error) = file.write_all(&[1; 1 << 10]) {
            break error;
        }
    };
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    file.sync_all().expect("durable");
}

#[test]
fn a_full_disk_is_survived() {
    let Some(disk) = SmallDisk::mount() else {
        println!("SKIPPED: mounting a small file system needs root and loop devices or tmpfs");
        return;
    };
    run(Transport::Tcp, Driver::IoUring, async |_: Setup| {
        let ballast = disk.path().join("ballast");
        std::fs::write(&ballast, vec![1; 4 * MIB as usize]).expect("written");
        let options = Options::new(Driver::IoUring, disk.path().join("data"));
        let server = Server::start(&options);
        let client = connect(&server, Transport::Tcp).await;
        create_topic(&client, 2).await;
        send(&client, 1, ["other".to_owned()]).await.expect("sent");
        let mut acknowledged = 0;
        let refused = loop {
            match send(&client, 0, kilobytes(100, "x")).await {
                Ok(base_offset) => {
                    assert_eq!(base_offset, acknowledged);
                    acknowledged += 100;
                }
                Err(error) => break error,
            }
            assert!(acknowledged < 100_000, "the disk never was full");
        };
        assert_eq!(refused.as_code(), 3009, "{refused}");
        let (_, health) = get(&server, "/health");
        assert!(health.contains("no space left"), "{health}");
        let strategy = PollingStrategy::offset(acknowledged - 1);
        let polled = poll(&client, 0, strategy, 10, false).await;
        assert_eq!(polled.messages.len(), 1, "consumers go on");
        server.kill();

        fill(&disk.path().join("rest"));
        let server = Server::start(&options);
        let client = connect(&server, Transport::Tcp).await;
        let polled = poll(&client, 0, strategy, 10, false).await;
        assert_eq!(
            polled.messages.len(),
            1,
            "also after a start on a full disk"
        );
        let refused = send(&client, 0, kilobytes(100, "x")).await;
        assert_eq!(refused.expect_err("the disk is full").as_code(), 3009);

        std::fs::remove_file(disk.path().join("rest")).expect("removed");
        std::fs::remove_file(&ballast).expect("removed");
        let base_offset = send(&client, 0, ["again".to_owned()]).await;
        assert_eq!(base_offset.expect("there is space"), acknowledged);
        let (_, health) = get(&server, "/health");
        assert!(health.contains("\"status\":\"ok\""), "{health}");
        server.kill();

        let server = Server::start(&options);
        let client = connect(&server, Transport::Tcp).await;
        let strategy = PollingStrategy::last();
        let polled = poll(&client, 0, strategy, 1, false).await;
        assert_eq!(texts(&polled), ["again"]);
        let mut found = 0;
        while found < acknowledged {
            let polled = poll(&client, 0, PollingStrategy::offset(found), 1_000, false).await;
            assert!(
                !polled.messages.is_empty(),
                "{found} of {acknowledged} found"
            );
            assert_eq!(polled.messages[0].header.offset, found);
            found += polled.messages.len() as u64;
        }
        assert_eq!(
            texts(&poll(&client, 1, PollingStrategy::first(), 9, false).await),
            ["other"]
        );
        server.stop();
    });
}

/// Damage in a sealed segment is found when that is read, the rest goes on.
#[test]
fn damage_in_a_sealed_segment_is_told_where_it_is_read() {
    run(Transport::Tcp, Driver::Poll, async |setup: Setup| {
        let server = setup.start();
        let client = connect(&server, setup.transport).await;
        let options = TopicCreateOptions {
            partitions_count: Some(2),
            segment_size: Some(IggyByteSize::from(MIB)),
            ..TopicCreateOptions::default()
        };
        create_topic_with(&client, options).await;
        for partition in 0..2 {
            for _ in 0..4 {
                let sent = send(&client, partition, kilobytes(500, "x")).await;
                sent.expect("sent");
            }
        }
        server.stop();
        let segments = files_below(&setup.options.data, ".log");
        let first = segments
            .iter()
            .find(|path| {
                path.to_string_lossy()
                    .contains("partitions/0/00000000000000000000")
            })
            .expect("the first segment of partition 0");
        let mut bytes = std::fs::read(first).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(first, bytes).expect("damaged");

        let server = setup.start();
        let client = connect(&server, setup.transport).await;
        let read = |partition, offset| {
            let client = &client;
            async move {
                let polled = client
                    .poll_messages(
                        &stream(),
                        &topic(),
                        Some(partition),
                        &consumer("reader"),
                        &PollingStrategy::offset(offset),
                        10_000,
                        false,
                    )
                    .await;
                polled.map(|polled| polled.messages.len())
            }
        };
        read(0, 0).await.expect_err("the record is damaged");
        let log = server.log();
        let name = first.to_string_lossy();
        assert!(log.contains("corrupted") && log.contains(&*name), "{log}");
        assert_eq!(read(0, 1_000).await.expect("what lies behind"), 1_000);
        assert_eq!(read(1, 0).await.expect("the other partition"), 2_000);
        let base_offset = send(&client, 0, ["new".to_owned()]).await;
        assert_eq!(base_offset.expect("appends go on"), 2_000);
    });
}
