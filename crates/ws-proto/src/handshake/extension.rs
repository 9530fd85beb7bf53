//! `Sec-WebSocket-Extensions` (RFC 6455 §9.1): the list, without knowing any extension.

use alloc::vec::Vec;

use super::head::is_token_byte;

/// One element of the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Extension<'a> {
    pub(crate) name: &'a [u8],
    /// Names and values in order; a quoted value without its quotes.
    pub(crate) parameters: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

/// The header does not follow the grammar.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// All extensions of all header lines, in order.
pub(crate) fn parse<'a>(
    values: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<Extension<'a>>, Malformed> {
    let mut extensions = Vec::new();
    for value in values {
        let mut rest = value.trim_ascii();
        while !rest.is_empty() {
            let extension;
            (extension, rest) = parse_extension(rest)?;
            extensions.push(extension);
            rest = match rest.split_first() {
                None => rest,
                Some((b',', rest)) => rest.trim_ascii_start(),
                Some(_) => return Err(Malformed),
            };
        }
    }
    Ok(extensions)
}

/// `token *( ";" parameter )`
fn parse_extension(text: &[u8]) -> Result<(Extension<'_>, &[u8]), Malformed> {
    let (name, mut rest) = parse_token(text)?;
    let mut parameters = Vec::new();
    while let Some((b';', after)) = rest.split_first() {
        let (parameter, after) = parse_token(after.trim_ascii_start())?;
        let value;
        (value, rest) = parse_value(after)?;
        parameters.push((parameter, value));
    }
    Ok((Extension { name, parameters }, rest))
}

/// `[ "=" ( token | quoted-string ) ]`; what is quoted must be a token, too.
fn parse_value(text: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Malformed> {
    let Some((b'=', after)) = text.split_first() else {
        return Ok((None, text));
    };
    let after = after.trim_ascii_start();
    let Some((b'"', quoted)) = after.split_first() else {
        let (value, rest) = parse_token(after)?;
        return Ok((Some(value), rest));
    };
    let (value, rest) = parse_token(quoted)?;
    match rest.split_first() {
        Some((b'"', rest)) => Ok((Some(value), rest.trim_ascii_start())),
        _ => Err(Malformed),
    }
}

/// A token, and what follows it and the blanks behind it.
fn parse_token(text: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let length = text.iter().take_while(|byte| is_token_byte(**byte)).count();
    match text.split_at_checked(length) {
        Some((token, rest)) if length > 0 => Ok((token, rest.trim_ascii_start())),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn show(value: &str) -> Result<String, Malformed> {
        let extensions = parse([value.as_bytes()].into_iter())?;
        let mut shown = String::new();
        for extension in extensions {
            shown += str::from_utf8(extension.name).unwrap();
            for (name, value) in extension.parameters {
                shown += ";";
                shown += str::from_utf8(name).unwrap();
                if let Some(value) = value {
                    shown += "=";
                    shown += str::from_utf8(value).unwrap();
                }
            }
            shown += ",";
        }
        Ok(shown)
    }

    #[test]
    fn lists_are_read() {
        for (value, expected) in [
            ("", ""),
            ("a", "a,"),
            ("a,b", "a,b,"),
            (" a , b ", "a,b,"),
            ("a;x;y=1,b;z=\"2\"", "a;x;y=1,b;z=2,"),
            ("a ; x = 1 ; y", "a;x=1;y,"),
            ("a,", "a,"),
        ] {
            assert_eq!(show(value).as_deref(), Ok(expected), "{value}");
        }
    }

    #[test]
    fn other_text_is_malformed() {
        for value in [
            ",",
            ";",
            "a;",
            "a;;b",
            "a b",
            "a;x=",
            "a;x=\"\"",
            "a;x=\"1",
            "a;x=\"1 2\"",
            "=1",
            "a;x==1",
            "a;x=\"1\\0\"",
            "a;=1",
            "a\"",
            ",,a",
        ] {
            assert_eq!(show(value), Err(Malformed), "{value}");
        }
    }
}
