//! Who compresses with which window and memory (RFC 7692 §5, §7.1).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Options, Parameters};
use crate::handshake::extension::Extension;

/// The name of the extension (RFC 7692 §7).
const NAME: &[u8] = b"permessage-deflate";

/// An offer or a response, as it was written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// `Some(None)`: named without a value, which only an offer may (§7.1.2.2).
    client_max_window_bits: Option<Option<u8>>,
}

/// An offer that a server accepts, and what it answers.
pub(crate) struct Chosen {
    pub(crate) parameters: Parameters,
    /// The value of `Sec-WebSocket-Extensions` in the response.
    pub(crate) response: String,
}

/// The client's offer (§7.1).
pub(crate) fn offer(options: &Options) -> String {
    let mut offer = String::from("permessage-deflate");
    if options.server_no_context_takeover {
        offer.push_str("; server_no_context_takeover");
    }
    if options.client_no_context_takeover {
        offer.push_str("; client_no_context_takeover");
    }
    if options.server_max_window_bits < 15 {
        let bits = options.server_max_window_bits.max(8);
        offer.push_str(&format!("; server_max_window_bits={bits}"));
    }
    // Without a value it only says that the server may choose (§7.1.2.2).
    offer.push_str("; client_max_window_bits");
    if options.client_max_window_bits < 15 {
        let bits = options.client_max_window_bits.max(8);
        offer.push_str(&format!("={bits}"));
    }
    offer
}

/// The server's choice: the first offer of this extension that is valid and can be met. An
/// invalid one is declined, not answered with an error (§7.1).
pub(crate) fn choose(offers: &[Extension<'_>], options: &Options) -> Option<Chosen> {
    offers
        .iter()
        .filter(|offer| offer.name == NAME)
        .filter_map(|offer| read(&offer.parameters, Side::Offer))
        .map(|offer| answer(&offer, options))
        .next()
}

fn answer(offer: &Written, options: &Options) -> Chosen {
    let mut response = String::from("permessage-deflate");
    let server_no_context_takeover =
        offer.server_no_context_takeover || options.server_no_context_takeover;
    if server_no_context_takeover {
        response.push_str("; server_no_context_takeover");
    }
    let client_no_context_takeover =
        offer.client_no_context_takeover || options.client_no_context_takeover;
    if client_no_context_takeover {
        response.push_str("; client_no_context_takeover");
    }
    let server_limit = options.server_max_window_bits.clamp(8, 15);
    let server_max_window_bits = offer.server_max_window_bits.unwrap_or(15).min(server_limit);
    if offer.server_max_window_bits.is_some() || server_max_window_bits < 15 {
        response.push_str(&format!(
            "; server_max_window_bits={server_max_window_bits}"
        ));
    }
    // §7.1.2.2: a client that did not name the parameter cannot be limited.
    let client_max_window_bits = match offer.client_max_window_bits {
        None => 15,
        Some(offered) => {
            let client_limit = options.client_max_window_bits.clamp(8, 15);
            let bits = offered.unwrap_or(15).min(client_limit);
            if bits < 15 {
                response.push_str(&format!("; client_max_window_bits={bits}"));
            }
            bits
        }
    };
    Chosen {
        parameters: Parameters {
            server_no_context_takeover,
            client_no_context_takeover,
            server_max_window_bits,
            client_max_window_bits,
        },
        response,
    }
}

/// What the server's response means to a client with these options. `None`: it is not an
/// answer to our offer, and the connection fails (§5.1).
pub(crate) fn check_response(
    response: &[Extension<'_>],
    options: &Options,
) -> Option<Option<Parameters>> {
    let chosen = match response {
        [] => return Some(None),
        [chosen] if chosen.name == NAME => chosen,
        _ => return None,
    };
    let written = read(&chosen.parameters, Side::Response)?;
    // §7.1.1.1: accepting this wish means repeating it.
    if options.server_no_context_takeover && !written.server_no_context_takeover {
        return None;
    }
    let server_max_window_bits = match written.server_max_window_bits {
        Some(bits) if bits > options.server_max_window_bits.max(8) => return None,
        Some(bits) => bits,
        // §7.1.2.1: likewise.
        None if options.server_max_window_bits < 15 => return None,
        None => 15,
    };
    let offered = options.client_max_window_bits.clamp(8, 15);
    let client_max_window_bits = match written.client_max_window_bits.flatten() {
        Some(bits) if bits > offered => return None,
        Some(bits) => bits,
        None => offered,
    };
    Some(Some(Parameters {
        server_no_context_takeover: written.server_no_context_takeover,
        // Our own wish binds us even if the server does not repeat it (§7.1.1.2).
        client_no_context_takeover: written.client_no_context_takeover
            || options.client_no_context_takeover,
        server_max_window_bits,
        client_max_window_bits,
    }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Offer,
    Response,
}

/// Reads the four parameters; `None` if one is unknown, repeated or has a wrong value (§7.1).
fn read(parameters: &[(&[u8], Option<&[u8]>)], side: Side) -> Option<Written> {
    let mut written = Written::default();
    let mut seen: Vec<&[u8]> = Vec::new();
    for &(name, value) in parameters {
        if seen.contains(&name) {
            return None;
        }
        match (name, value) {
            (b"server_no_context_takeover", None) => written.server_no_context_takeover = true,
            (b"client_no_context_takeover", None) => written.client_no_context_takeover = true,
            (b"server_max_window_bits", Some(value)) => {
                written.server_max_window_bits = Some(read_window_bits(value)?);
            }
            (b"client_max_window_bits", None) if side == Side::Offer => {
                written.client_max_window_bits = Some(None);
            }
            (b"client_max_window_bits", Some(value)) => {
                written.client_max_window_bits = Some(Some(read_window_bits(value)?));
            }
            _ => return None,
        }
        // At most four names get here, so the search stays short.
        seen.push(name);
    }
    Some(written)
}

/// 8–15 in decimal without leading zeros (§7.1.2).
fn read_window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}
