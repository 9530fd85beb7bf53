//! Measures how long a restart takes and how much memory it leaves the server with.
//!
//! ```sh
//! cargo build --release -p weir --bin weir
//! cargo build --release -p client --example restart
//! target/release/examples/restart --partitions 10000
//! target/release/examples/restart --gigabytes 10
//! ```
//!
//! It fills a new data directory through a server, then starts the server again twice: after
//! SIGTERM, and after SIGKILL. Seconds are from the start of the process to its ready line; memory
//! is resident, read from `/proc` right behind it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use bytes::BytesMut;
use client::{BatchBuilder, Client, Message, Target};

const PASSWORD: &str = "restart";
const TOPICS_PARTITIONS_MAX: u32 = 1_000;

type Failure = Box<dyn std::error::Error>;

struct Arguments {
    partitions: u32,
    gigabytes: u64,
    /// Messages of 1,000 bytes that each partition gets.
    messages: u32,
    directory: PathBuf,
}

fn arguments() -> Result<Arguments, Failure> {
    let mut found = Arguments {
        partitions: 1,
        gigabytes: 0,
        messages: 1,
        directory: PathBuf::from("restart-data"),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or("each flag needs a value")?;
        match name.as_str() {
            "--partitions" => found.partitions = value.parse()?,
            "--gigabytes" => found.gigabytes = value.parse()?,
            "--messages" => found.messages = value.parse()?,
            "--directory" => found.directory = value.into(),
            _ => {
                return Err("flags: --partitions, --gigabytes, --messages, --directory".into());
            }
        }
    }
    Ok(found)
}

struct Server {
    child: Child,
    tcp: String,
    ready_seconds: f64,
    resident_bytes: u64,
    files: usize,
}

fn start(directory: &Path) -> Result<Server, Failure> {
    let binary = std::env::current_exe()?;
    let binary = binary.ancestors().nth(2).ok_or("no target directory")?;
    let started = Instant::now();
    let mut child = Command::new(binary.join("weir"))
        .args([
            "serve",
            "--tcp",
            "127.0.0.1:0",
            "--websocket",
            "127.0.0.1:0",
        ])
        .args(["--log", "warn"])
        .arg("--data-dir")
        .arg(directory)
        .env("WEIR_ROOT_PASSWORD", PASSWORD)
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("no standard output")?;
    let mut ready = String::new();
    BufReader::new(output).read_line(&mut ready)?;
    let ready_seconds = started.elapsed().as_secs_f64();
    let tcp = ready
        .split(' ')
        .find_map(|word| word.strip_prefix("tcp="))
        .ok_or("the server did not become ready")?
        .to_owned();
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let status = std::fs::read_to_string(process.join("status"))?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|text| text.split_whitespace().next())
        .ok_or("no VmRSS")?;
    Ok(Server {
        tcp,
        ready_seconds,
        resident_bytes: resident.parse::<u64>()? * 1_024,
        files: std::fs::read_dir(process.join("fd"))?.count(),
        child,
    })
}

impl Server {
    /// Asks it to end.
    fn terminate(mut self) -> Result<(), Failure> {
        let id = self.child.id().to_string();
        Command::new("kill").arg(id).status()?;
        self.child.wait()?;
        Ok(())
    }

    /// Cuts it off.
    fn kill(mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn print(&self, what: &str) {
        println!(
            "{what}: ready after {:.2} s, {:.1} MiB resident, {} files open",
            self.ready_seconds,
            self.resident_bytes as f64 / f64::from(1 << 20),
            self.files
        );
    }
}

fn batch(messages: u32) -> Result<bytes::Bytes, Failure> {
    let mut buffer = BytesMut::new();
    let mut builder = BatchBuilder::new(&mut buffer);
    let payload = [7; 1_000];
    for number in 0..messages {
        builder.push(Message {
            id: u128::from(number) + 1,
            payload: &payload,
            ..Message::default()
        })?;
    }
    builder.finish()?;
    Ok(buffer.freeze())
}

async fn fill(server: &Server, arguments: &Arguments) -> Result<(), Failure> {
    let address = format!("iggy+tcp://iggy:{PASSWORD}@{}", server.tcp);
    let mut client = Client::connect(&address).await?;
    client.create_stream("restart").await?;
    let started = Instant::now();
    let mut left = arguments.partitions;
    let mut topics = Vec::new();
    while left > 0 {
        let partitions = left.min(TOPICS_PARTITIONS_MAX);
        let name = format!("topic-{}", topics.len());
        client
            .create_topic("restart", name.as_str(), partitions, &[])
            .await?;
        topics.push((name, partitions));
        left -= partitions;
    }
    println!(
        "{} partitions created in {:.2} s",
        arguments.partitions,
        started.elapsed().as_secs_f64()
    );
    let started = Instant::now();
    let small = batch(arguments.messages)?;
    let large = batch(1_000)?;
    let batches = (arguments.gigabytes * 1_000_000_000).div_ceil(large.len() as u64);
    let per_partition = batches.div_ceil(u64::from(arguments.partitions.max(1)));
    for (name, partitions) in &topics {
        for partition in 0..*partitions {
            let target = Target::new("restart", name.as_str(), partition);
            for _ in 0..per_partition {
                client.send_batch(&target, 1_000, large.clone()).await?;
            }
            if per_partition == 0 {
                let count = arguments.messages;
                client.send_batch(&target, count, small.clone()).await?;
            }
        }
    }
    println!("filled in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    if arguments.directory.exists() {
        return Err("the directory exists already: remove it or choose another".into());
    }
    let server = start(&arguments.directory)?;
    server.print("empty");
    compio_runtime::Runtime::new()?.block_on(fill(&server, &arguments))?;
    server.terminate()?;
    let server = start(&arguments.directory)?;
    server.print("after SIGTERM");
    server.kill()?;
    let server = start(&arguments.directory)?;
    server.print("after SIGKILL");
    server.terminate()?;
    std::fs::remove_dir_all(&arguments.directory)?;
    Ok(())
}
