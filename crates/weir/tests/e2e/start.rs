//! A server that cannot start says why in one line and exits with code 1.

use std::net::TcpListener;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Driver, Options, Server, clean, field, run_to_end, weir};
use crate::python;

struct Attempt {
    directory: TempDir,
    command: Command,
}

impl Attempt {
    /// `weir serve` with free ports and a fresh data directory; flags that a test adds come later
    /// and so must be other ones.
    fn new(flags: &[&str]) -> Attempt {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = weir();
        command.arg("serve").args(flags);
        for (flag, value) in [("--tcp", "127.0.0.1:0"), ("--websocket", "127.0.0.1:0")] {
            if !flags.contains(&flag) {
                command.args([flag, value]);
            }
        }
        if !flags.contains(&"--data-dir") {
            command.arg("--data-dir").arg(directory.path().join("data"));
        }
        Attempt { directory, command }
    }

    fn variable(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Attempt {
        self.command.env(name, value);
        self
    }

    /// One line on standard error that holds every one of `words`.
    fn fails_with(self, words: &[&str]) {
        let output = run_to_end(self.command);
        let line = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert_eq!(line.lines().count(), 1, "one line:\n{line}");
        for word in words {
            assert!(line.contains(word), "{word:?} is not in {line:?}");
        }
        assert!(!line.contains("panicked"), "{line}");
        assert!(output.stdout.is_empty(), "no ready line");
        drop(self.directory);
    }
}

fn occupied() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, address)
}

#[test]
fn busy_tcp_port() {
    let (_listener, address) = occupied();
    Attempt::new(&["--tcp", &address]).fails_with(&[&address, "in use"]);
}

#[test]
fn busy_websocket_port() {
    let (_listener, address) = occupied();
    Attempt::new(&["--websocket", &address]).fails_with(&[&address, "in use"]);
}

#[test]
fn address_of_another_machine() {
    Attempt::new(&["--tcp", "192.0.2.1:8090"]).fails_with(&["192.0.2.1:8090"]);
}

#[test]
fn data_directory_of_a_running_server() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = Options::new(Driver::Poll, directory.path().join("data"));
    let mut server = Server::start(&options);
    let path = options.data.to_str().expect("UTF-8");
    Attempt::new(&["--data-dir", path]).fails_with(&[path, "in use"]);
    server.assert_alive();
}

#[test]
fn data_directory_that_is_a_file() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    Attempt::new(&["--data-dir", path]).fails_with(&[path]);
}

/// Not even root can write below /proc, so this holds for every user.
#[test]
fn data_directory_that_cannot_be_written() {
    Attempt::new(&["--data-dir", "/proc/weir-data"]).fails_with(&["/proc/weir-data"]);
    Attempt::new(&["--data-dir", "/proc/self"]).fails_with(&["/proc/self"]);
}

#[test]
fn data_directory_of_something_else() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("letters.txt"), "private").expect("written");
    let path = directory.path().to_str().expect("UTF-8");
    Attempt::new(&["--data-dir", path]).fails_with(&[path]);
    let left: Vec<_> = std::fs::read_dir(path).expect("listed").collect();
    assert_eq!(left.len(), 1, "nothing was added to it");
}

#[test]
fn io_uring_forced_where_it_is_denied() {
    let mut attempt = Attempt::new(&["--driver", "io-uring"]);
    attempt.command = without_io_uring(&attempt.command);
    attempt.fails_with(&["io_uring"]);
}

#[test]
fn auto_falls_back_where_io_uring_is_denied() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = Options::new(Driver::Poll, directory.path().join("data"));
    let mut command = weir();
    command.args([
        "serve",
        "--tcp",
        "127.0.0.1:0",
        "--websocket",
        "127.0.0.1:0",
        "--data-dir",
    ]);
    command.arg(&options.data);
    let server = Server::start_with(&options, without_io_uring(&command));
    assert_eq!(field(&server.ready_line, "driver"), "poll");
    assert!(
        server.log().contains("io_uring"),
        "the log says why:\n{}",
        server.log()
    );
}

/// The same command in a process in which the kernel refuses to set up io_uring, as the default
/// profile of many container runtimes does.
fn without_io_uring(command: &Command) -> Command {
    let mut wrapped = clean(Command::new(python::interpreter()));
    wrapped
        .arg(python::script_path("without_io_uring.py"))
        .arg(command.get_program())
        .args(command.get_args());
    wrapped
}

#[test]
fn unknown_key_in_the_file() {
    let attempt = Attempt::new(&[]);
    let path = attempt.directory.path().join("weir.toml");
    std::fs::write(&path, "websockt = '127.0.0.1:1'\n").expect("written");
    attempt
        .variable("WEIR_CONFIG", &path)
        .fails_with(&["websockt", "did you mean websocket?"]);
}

#[test]
fn unknown_variable() {
    Attempt::new(&[])
        .variable("WEIR_DATADIR", "/tmp")
        .fails_with(&["WEIR_DATADIR", "did you mean WEIR_DATA_DIR?"]);
}

#[test]
fn unknown_flag() {
    Attempt::new(&["--data-directory", "x"]).fails_with(&["--data-directory", "--data-dir"]);
}

#[test]
fn bad_values() {
    Attempt::new(&["--tcp", "everywhere"]).fails_with(&["--tcp", "everywhere", "127.0.0.1:8090"]);
    Attempt::new(&["--shards", "0"]).fails_with(&["--shards", "1 to"]);
    Attempt::new(&["--driver", "epoll"]).fails_with(&["--driver", "epoll", "poll"]);
    Attempt::new(&["--log", "loud=very"]).fails_with(&["log", "loud=very"]);
    Attempt::new(&["--config", "/nowhere.toml"]).fails_with(&["/nowhere.toml"]);
    Attempt::new(&[])
        .variable("WEIR_ROOT_PASSWORD", "no")
        .fails_with(&["WEIR_ROOT_PASSWORD"]);
}

/// Without a password in the environment one is made up, shown once, and works.
#[test]
fn generated_password_is_shown_once_and_works() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = Options::new(Driver::Poll, directory.path().join("data"));
    options.variables.clear();
    let server = Server::start(&options);
    server.wait_for_log("password");
    let log = server.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("password"))
        .collect();
    let [line] = lines[..] else {
        panic!("one line about the password:\n{log}")
    };
    let password = line.rsplit(' ').next().expect("the last word");

    let text = format!("iggy+tcp://iggy:{password}@{}", server.tcp);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        use iggy::prelude::{Client, IggyClient, StreamClient};
        let client = IggyClient::from_connection_string(&text).expect("a connection string");
        client.connect().await.expect("the password works");
        assert!(client.get_streams().await.expect("listed").is_empty());
    });
    let server = server.restart();
    assert!(
        !server.log().contains("password"),
        "only once:\n{}",
        server.log()
    );
    let stored = crate::harness::files_below(&options.data, "");
    let stored = stored
        .iter()
        .map(|path| std::fs::read(path).expect("readable"));
    let holds_it = |bytes: Vec<u8>| {
        bytes
            .windows(password.len())
            .any(|window| window == password.as_bytes())
    };
    assert!(!stored.into_iter().any(holds_it), "only its hash is stored");
}

/// The files themselves are judged by the tests of `ws::tls`; here: one line, before anything else.
#[test]
fn certificates_that_cannot_be_used() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let missing = directory.path().join("missing.pem").display().to_string();
    let empty = directory.path().join("empty.pem").display().to_string();
    std::fs::write(&empty, "").expect("written");
    let files = ["--tls-cert-file", &missing, "--tls-key-file", &missing];
    Attempt::new(&files).fails_with(&["cannot read the certificate file", &missing]);
    let files = ["--tls-cert-file", &empty, "--tls-key-file", &missing];
    Attempt::new(&files).fails_with(&["holds no certificate", &empty]);
    Attempt::new(&["--tls-cert-file", &empty]).fails_with(&["tls_cert_file needs tls_key_file"]);
    Attempt::new(&["--tls-key-file", &empty]).fails_with(&["tls_key_file needs tls_cert_file"]);
    Attempt::new(&["--tls-listeners", "both"]).fails_with(&["all, tcp or websocket"]);
}
