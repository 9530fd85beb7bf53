//! A certificate for one run: made, used by both sides, thrown away.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use client::Tls;

/// A key and a certificate for the loopback address that is its own authority, in files that go
/// when this is dropped.
pub(crate) struct Certificate {
    pub(crate) directory: PathBuf,
}

impl Certificate {
    pub(crate) fn new() -> anyhow::Result<Certificate> {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names)
            .context("cannot make a certificate for the run")?;
        let directory = std::env::temp_dir().join(format!("weir-bench-{}-tls", std::process::id()));
        let mut builder = std::fs::DirBuilder::new();
        builder
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let certificate = Certificate { directory };
        write_private(&certificate.file(), &made.cert.pem())?;
        write_private(&certificate.key_file(), &made.signing_key.serialize_pem())?;
        Ok(certificate)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// What trusts it and nothing else.
    pub(crate) fn trusted(&self) -> Tls {
        Tls {
            domain: None,
            authorities_file: Some(self.file()),
        }
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.directory.join("key.pem")
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // What is left over is in a temporary directory, and proves nothing to anybody.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
