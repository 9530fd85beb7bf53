//! `iggy+tcp://user:password@host:port` and `iggy+ws://…`, both with `?tls=true` and more behind.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ws::tls::rustls::ClientConfig;

use crate::error::Error;
use crate::limits;

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// A byte stream; default port 8090.
    Tcp,
    /// A WebSocket; default port 8092.
    WebSocket,
    /// The same to the server; the client speaks through tungstenite. No scheme chooses it: it is
    /// there to be measured against.
    #[cfg(feature = "bridge")]
    WebSocketBridge,
}

impl TransportKind {
    const fn default_port(self) -> u16 {
        match self {
            Self::Tcp => 8090,
            Self::WebSocket => 8092,
            #[cfg(feature = "bridge")]
            Self::WebSocketBridge => 8092,
        }
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "TCP",
            Self::WebSocket => "WebSocket",
            #[cfg(feature = "bridge")]
            Self::WebSocketBridge => "WebSocket bridge",
        })
    }
}

/// Where a server is and who logs in.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// TCP or WebSocket.
    pub transport: TransportKind,
    /// Name or address of the host, an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User name and password.
    pub credentials: Option<(String, String)>,
    /// How the connection is encrypted; `None`: it is not.
    pub tls: Option<Tls>,
}

/// How a connection is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The name that the server's certificate has to prove; `None`: the host of the address.
    pub domain: Option<String>,
    /// A PEM file with the certificates that are trusted; `None`: those that the machine trusts.
    pub authorities_file: Option<PathBuf>,
}

impl Tls {
    /// Whom to trust, as a connection needs it.
    ///
    /// # Errors
    /// If there are no certificates to trust, or not in the file.
    pub fn config(&self) -> Result<Arc<ClientConfig>, ws::Error> {
        Ok(match &self.authorities_file {
            Some(file) => ws::tls::client_config_trusting(file)?,
            None => ws::tls::client_config_with_platform_roots()?,
        })
    }
}

impl Address {
    /// Parses an address. `iggy://` is TCP. User name and password may be percent-encoded, and
    /// must be where they contain `@`, `:`, `/` or `%`.
    ///
    /// Behind a `?` and divided by `&` may stand, as in the published clients' addresses,
    /// `tls=true`, `tls_domain` with the name that the certificate has to prove, and `tls_ca_file`
    /// with the path of a PEM file of certificates to trust instead of the machine's.
    ///
    /// # Errors
    /// [`Error::Address`] that says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > limits::ADDRESS_BYTES_MAX {
            return Err(Error::Address("the address is too long"));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or(Error::Address("the address has no scheme"))?;
        let transport = match scheme {
            "iggy" | "iggy+tcp" => TransportKind::Tcp,
            "iggy+ws" => TransportKind::WebSocket,
            _ => return Err(Error::Address("the scheme is neither iggy+tcp nor iggy+ws")),
        };
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(parse_credentials(credentials)?), place),
            None => (None, rest),
        };
        let (place, options) = place.split_once('?').unwrap_or((place, ""));
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = parse_place(place, transport)?;
        Ok(Self {
            transport,
            host,
            port,
            credentials,
            tls: parse_options(options)?,
        })
    }

    /// The name of the server, for its certificate and for `Host`.
    pub fn name(&self) -> &str {
        let domain = self.tls.as_ref().and_then(|tls| tls.domain.as_deref());
        domain.unwrap_or(&self.host)
    }
}

fn parse_options(text: &str) -> Result<Option<Tls>, Error> {
    let mut is_encrypted = false;
    let mut tls = Tls::default();
    for option in text.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option
            .split_once('=')
            .ok_or(Error::Address("an option has no value"))?;
        let value = percent_decoded(value)?;
        match (name, value.as_str()) {
            ("tls", "true") => is_encrypted = true,
            ("tls", "false") => is_encrypted = false,
            ("tls", _) => return Err(Error::Address("the option tls is true or false")),
            ("tls_domain", _) => tls.domain = Some(value),
            ("tls_ca_file", _) => tls.authorities_file = Some(value.into()),
            _ => {
                return Err(Error::Address(
                    "the options of an address are tls, tls_domain and tls_ca_file",
                ));
            }
        }
    }
    if !is_encrypted && tls != Tls::default() {
        return Err(Error::Address("tls_domain and tls_ca_file need tls=true"));
    }
    Ok(is_encrypted.then_some(tls))
}

fn parse_credentials(text: &str) -> Result<(String, String), Error> {
    let (user, password) = text
        .split_once(':')
        .ok_or(Error::Address("the user name has no password"))?;
    Ok((percent_decoded(user)?, percent_decoded(password)?))
}

fn parse_place(place: &str, transport: TransportKind) -> Result<(String, u16), Error> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest
                .split_once(']')
                .ok_or(Error::Address("the host's bracket is not closed"))?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(Error::Address("something follows the host's bracket")),
            }
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    if host.is_empty() || host.contains(['/', '?', '#']) {
        return Err(Error::Address(
            "the address has no host, or a path behind it",
        ));
    }
    let port = match port {
        None => transport.default_port(),
        Some(port) => port
            .parse()
            .map_err(|_| Error::Address("the port is no number"))?,
    };
    Ok((host.to_owned(), port))
}

fn percent_decoded(text: &str) -> Result<String, Error> {
    let error = Error::Address("a percent sign in an address needs two hex digits behind it");
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => decoded.push((high * 16 + low) as u8),
            _ => return Err(error),
        }
    }
    String::from_utf8(decoded).map_err(|_| Error::Address("a part of the address is not UTF-8"))
}

/// Without the password.
impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            TransportKind::Tcp => "iggy+tcp",
            TransportKind::WebSocket => "iggy+ws",
            #[cfg(feature = "bridge")]
            TransportKind::WebSocketBridge => "iggy+ws",
        };
        let host = &self.host;
        let options = match &self.tls {
            Some(_) => "?tls=true",
            None => "",
        };
        if host.contains(':') {
            write!(formatter, "{scheme}://[{host}]:{}{options}", self.port)
        } else {
            write!(formatter, "{scheme}://{host}:{}{options}", self.port)
        }
    }
}

/// Without the password.
impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        text: &str,
        transport: TransportKind,
        host: &str,
        port: u16,
        user: Option<(&str, &str)>,
    ) {
        let address = Address::parse(text).expect(text);
        let credentials = user.map(|(user, password)| (user.to_owned(), password.to_owned()));
        assert_eq!(
            address,
            Address {
                transport,
                host: host.to_owned(),
                port,
                credentials,
                tls: None,
            },
            "{text}"
        );
    }

    #[test]
    fn addresses_of_both_transports() {
        use TransportKind::{Tcp, WebSocket};
        let user = Some(("iggy", "secret"));
        check("iggy://localhost", Tcp, "localhost", 8090, None);
        check(
            "iggy+tcp://iggy:secret@127.0.0.1:9",
            Tcp,
            "127.0.0.1",
            9,
            user,
        );
        check("iggy+ws://iggy:secret@host/", WebSocket, "host", 8092, user);
        check("iggy+ws://[::1]:7", WebSocket, "::1", 7, None);
        check("iggy+tcp://[::1]", Tcp, "::1", 8090, None);
        check("iggy://a%40b:c%3a@h", Tcp, "h", 8090, Some(("a@b", "c:")));
        check("iggy://a:b@c@h", Tcp, "h", 8090, Some(("a", "b@c")));
    }

    #[test]
    fn encryption_is_an_option() {
        let tls = |text: &str| Address::parse(text).expect(text).tls;
        assert_eq!(tls("iggy+tcp://a:b@h?tls=false"), None);
        assert_eq!(tls("iggy+tcp://a:b@h?tls=true"), Some(Tls::default()));
        let full =
            "iggy+ws://a:b@[::1]:7/?tls=true&tls_domain=x.example&tls_ca_file=/a%20b%40c.pem";
        let address = Address::parse(full).expect(full);
        assert_eq!(address.name(), "x.example");
        assert_eq!((address.host.as_str(), address.port), ("::1", 7));
        assert_eq!(address.to_string(), "iggy+ws://[::1]:7?tls=true");
        let tls = address.tls.expect("encrypted");
        assert_eq!(tls.authorities_file, Some("/a b@c.pem".into()));
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "localhost:8090",
            "http://localhost",
            "iggy+tls://localhost",
            "iggy://",
            "iggy://user@host",
            "iggy://host:port",
            "iggy://host:65536",
            "iggy://[::1",
            "iggy://[::1]x",
            "iggy://host/path",
            "iggy://a%4:b@h",
            "iggy://a%ff:b@h",
            "iggy://h?tls",
            "iggy://h?tls=yes",
            "iggy://h?nodelay=true",
            "iggy://h?tls_domain=x",
        ] {
            assert!(
                matches!(Address::parse(text), Err(Error::Address(_))),
                "{text}"
            );
        }
        let mut long = format!("iggy://{}", "h".repeat(limits::ADDRESS_BYTES_MAX - 7));
        Address::parse(&long).expect("at the limit");
        long.push('h');
        assert!(matches!(Address::parse(&long), Err(Error::Address(_))));
    }

    #[test]
    fn passwords_are_not_shown() {
        let address = Address::parse("iggy+ws://iggy:secret@[::1]:7").unwrap();
        assert_eq!(format!("{address}"), "iggy+ws://[::1]:7");
        assert_eq!(format!("{address:?}"), "Address(iggy+ws://[::1]:7)");
    }
}
