//! The server's certificate: which listeners speak TLS with it, and its renewal without a restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use ws::TlsError;
use ws::tls::rustls::ServerConfig;

use crate::config::{Config, TlsListeners};

/// Shared by all shards.
#[derive(Clone)]
pub(crate) struct Tls {
    listeners: TlsListeners,
    files: Arc<Files>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// Taken for a moment when a connection begins, never by one that goes on.
    loaded: RwLock<Loaded>,
}

#[derive(Clone)]
struct Loaded {
    config: Arc<ServerConfig>,
    stamps: [Stamp; 2],
}

/// What changes when a file is replaced or written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    number: u64,
}

/// What a look at the files found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    Same,
    Renewed,
}

impl Tls {
    /// Reads the files that `config` names; `None` if it names none.
    ///
    /// # Errors
    /// One line that says which file or setting is wrong.
    pub(crate) fn open(config: &Config) -> Result<Option<Self>, TlsError> {
        let (certificate, key) = match (&config.tls_cert_file, &config.tls_key_file) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (Some(_), None) => {
                let text = "tls_cert_file needs tls_key_file with the key of that certificate";
                return Err(TlsError::Setup(text.to_owned()));
            }
            (None, Some(_)) => {
                let text = "tls_key_file needs tls_cert_file with the certificate of that key";
                return Err(TlsError::Setup(text.to_owned()));
            }
        };
        let loaded = Loaded::read(&certificate, &key)?;
        Ok(Some(Tls {
            listeners: config.tls_listeners,
            files: Arc::new(Files {
                certificate,
                key,
                loaded: RwLock::new(loaded),
            }),
        }))
    }

    /// How the TCP port speaks TLS.
    pub(crate) fn for_tcp(&self) -> Option<Arc<ServerConfig>> {
        matches!(self.listeners, TlsListeners::All | TlsListeners::Tcp).then(|| self.current())
    }

    /// How the WebSocket port speaks TLS.
    pub(crate) fn for_websocket(&self) -> Option<Arc<ServerConfig>> {
        self.is_for_websocket().then(|| self.current())
    }

    pub(crate) fn is_for_websocket(&self) -> bool {
        matches!(self.listeners, TlsListeners::All | TlsListeners::WebSocket)
    }

    fn current(&self) -> Arc<ServerConfig> {
        self.loaded().config
    }

    fn loaded(&self) -> Loaded {
        let loaded = self.files.loaded.read();
        loaded.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again if they have changed; new connections get the new certificate.
    ///
    /// # Errors
    /// What is wrong with the new files; the old certificate stays.
    pub(crate) fn renew(&self) -> Result<Renewal, TlsError> {
        let Files {
            certificate, key, ..
        } = &*self.files;
        if self.loaded().stamps == stamps(certificate, key) {
            return Ok(Renewal::Same);
        }
        let loaded = Loaded::read(certificate, key)?;
        let mut current = self
            .files
            .loaded
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = loaded;
        Ok(Renewal::Renewed)
    }
}

impl Loaded {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        // Before the files, so that a change in between is seen next time.
        let stamps = stamps(certificate, key);
        Ok(Loaded {
            config: ws::tls::server_config_from_files(certificate, key)?,
            stamps,
        })
    }
}

fn stamps(certificate: &Path, key: &Path) -> [Stamp; 2] {
    [certificate, key].map(|file| {
        use std::os::unix::fs::MetadataExt;
        match std::fs::metadata(file) {
            Ok(metadata) => Stamp {
                modified: metadata.modified().ok(),
                bytes: metadata.len(),
                number: metadata.ino(),
            },
            Err(_) => Stamp {
                modified: None,
                bytes: 0,
                number: 0,
            },
        }
    })
}

/// Looks for renewed files for as long as the server runs.
pub(crate) async fn keep_renewed(tls: Tls, interval: std::time::Duration) {
    let mut said = None;
    loop {
        compio::time::sleep(interval).await;
        let looking = tls.clone();
        let looked = compio::runtime::spawn_blocking(move || looking.renew()).await;
        match looked {
            Ok(Ok(Renewal::Same)) => {}
            Ok(Ok(Renewal::Renewed)) => {
                said = None;
                tracing::info!("new connections get the renewed certificate");
            }
            Ok(Err(error)) => {
                // Both files are seldom replaced in one moment: once is enough for each reason.
                let text = error.to_string();
                if said.as_ref() != Some(&text) {
                    tracing::warn!(%error, "the certificate stays the old one");
                    said = Some(text);
                }
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_identity(directory: &Path) -> Config {
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let config = Config {
            tls_cert_file: Some(directory.join("certificate.pem")),
            tls_key_file: Some(directory.join("key.pem")),
            ..Config::default()
        };
        let write = |path: &Option<PathBuf>, text: String| {
            // As tools that renew certificates do it: a new file takes the name.
            let new = directory.join("new.pem");
            std::fs::write(&new, text).expect("written");
            std::fs::rename(new, path.as_ref().expect("set")).expect("renamed");
        };
        write(&config.tls_key_file, identity.signing_key.serialize_pem());
        write(&config.tls_cert_file, identity.cert.pem());
        config
    }

    #[test]
    fn renewed_files_are_noticed_and_broken_ones_change_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = write_identity(directory.path());
        let tls = Tls::open(&config).expect("good files").expect("set");
        let first = tls.for_tcp().expect("both listeners");
        assert_eq!(tls.renew(), Ok(Renewal::Same));

        write_identity(directory.path());
        assert_eq!(tls.renew(), Ok(Renewal::Renewed));
        let second = tls.for_websocket().expect("both listeners");
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(tls.renew(), Ok(Renewal::Same));

        std::fs::write(directory.path().join("key.pem"), "").expect("written");
        assert!(tls.renew().is_err());
        assert!(Arc::ptr_eq(&second, &tls.for_tcp().expect("kept")));
        std::fs::remove_file(directory.path().join("certificate.pem")).expect("removed");
        assert!(tls.renew().is_err());
        assert!(Arc::ptr_eq(&second, &tls.for_tcp().expect("kept")));
    }

    #[test]
    fn listeners_are_chosen_and_half_a_pair_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = write_identity(directory.path());
        for (listeners, tcp, websocket) in [
            (TlsListeners::All, true, true),
            (TlsListeners::Tcp, true, false),
            (TlsListeners::WebSocket, false, true),
        ] {
            config.tls_listeners = listeners;
            let tls = Tls::open(&config).expect("good files").expect("set");
            assert_eq!(tls.for_tcp().is_some(), tcp);
            assert_eq!(tls.for_websocket().is_some(), websocket);
        }
        let key = config.tls_key_file.take();
        assert!(Tls::open(&config).is_err());
        config.tls_cert_file = None;
        config.tls_key_file = key;
        assert!(Tls::open(&config).is_err());
        assert!(Tls::open(&Config::default()).expect("none").is_none());
    }
}
