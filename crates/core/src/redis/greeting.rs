//! What is said on a new server connection: the password, the protocol version, the database.
//!
//! The one rule: a connection that the server did not let in, or whose database it did not change to, is
//! not used: requests would be carried out in another database, or not at all.

use super::frame::{self, Scanned};
use super::settings::Settings;
use super::write_bulk;
use super::write_header;
use crate::error::ServerError;
use crate::message::{Greeting, Scan};
use crate::version::Version;
use alloc::vec::Vec;

/// Appends the greeting: the first requests on each server connection.
pub fn write_greeting(settings: &Settings, is_resp3: bool, out: &mut Vec<u8>) {
    if let Some(password) = &settings.password {
        let user = settings.user.as_deref();
        write_header(b'*', 2 + usize::from(user.is_some()), out);
        write_bulk(b"AUTH", out);
        if let Some(user) = user {
            write_bulk(user, out);
        }
        write_bulk(password, out);
    }
    write_header(b'*', 2, out);
    write_bulk(b"HELLO", out);
    write_bulk(if is_resp3 { b"3" } else { b"2" }, out);
    if settings.db > 0 {
        write_header(b'*', 2, out);
        write_bulk(b"SELECT", out);
        super::write_bulk_number(settings.db.into(), out);
    }
}

/// The longest answer to the greeting.
const ANSWER_MAX: usize = 64 * 1024;

/// Parses the replies to the greeting at the start of `input`.
pub fn parse_greeting(input: &[u8], settings: &Settings) -> Greeting {
    let mut rest = input;
    if settings.password.is_some() {
        match take_status(&mut rest) {
            Ok(true) => {}
            Ok(false) => return Greeting::Refused(ServerError::Login),
            Err(greeting) => return greeting,
        }
    }
    let hello = match take_value(&mut rest) {
        Ok(hello) => hello,
        Err(greeting) => return greeting,
    };
    if hello.starts_with(b"-NOAUTH") || hello.starts_with(b"-DENIED") {
        return Greeting::Refused(ServerError::Login);
    }
    if settings.db > 0 {
        match take_status(&mut rest) {
            Ok(true) => {}
            Ok(false) => return Greeting::Refused(ServerError::Database),
            Err(greeting) => return greeting,
        }
    }
    Greeting::Answer { len: input.len() - rest.len(), version: version_in(hello) }
}

/// Takes a reply off `rest`. Says whether it is a status, not an error.
fn take_status(rest: &mut &[u8]) -> Result<bool, Greeting> {
    Ok(take_value(rest)?.starts_with(b"+"))
}

/// Takes a reply off `rest`.
fn take_value<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Greeting> {
    match frame::scan(rest, &mut Scan::one()) {
        Scanned::Whole(len) => {
            let (value, others) = rest.split_at(len);
            *rest = others;
            if value.starts_with(b"-ERR max number of clients reached") {
                return Err(Greeting::Full);
            }
            Ok(value)
        }
        Scanned::Partial(_) if rest.len() <= ANSWER_MAX => Err(Greeting::Partial),
        Scanned::Partial(_) | Scanned::Malformed => Err(Greeting::Mismatch),
    }
}

/// The version in the answer to `HELLO`; zero if the server is too old for that.
fn version_in(hello: &[u8]) -> Version {
    const NAME: &[u8] = b"$7\r\nversion\r\n";
    let found = memchr::memmem::find(hello, NAME);
    let rest = found.map_or(&b""[..], |at| &hello[at + NAME.len()..]);
    match frame::scan(rest, &mut Scan::one()) {
        Scanned::Whole(len) => frame::text(&rest[..len]).and_then(Version::parse),
        Scanned::Partial(_) | Scanned::Malformed => None,
    }
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = b"*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n";

    const NAMED: &[u8] = b"%1\r\n$7\r\nversion\r\n";

    fn settings(password: bool, db: u32) -> Settings {
        let password = password.then(|| b"acorn"[..].into());
        Settings { password, db, ..Settings::default() }
    }

    #[test]
    fn a_server_gets_the_password_the_version_and_the_database_in_this_order() {
        let mut out = Vec::new();
        let settings = Settings { user: Some(b"oak"[..].into()), ..settings(true, 3) };
        write_greeting(&settings, true, &mut out);
        let expected = b"*3\r\n$4\r\nAUTH\r\n$3\r\noak\r\n$5\r\nacorn\r\n\
            *2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n";
        assert_eq!(out, expected);
        out.clear();
        write_greeting(&Settings::default(), false, &mut out);
        assert_eq!(out, b"*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n");
    }

    #[test]
    fn each_answer_says_whether_the_connection_can_be_used() {
        let version = Version::parse(b"7.0.15").unwrap();
        let answer = |len, version| Greeting::Answer { len, version };
        let ok = b"+OK\r\n".len();
        let cat = |parts: &[&[u8]]| parts.concat();
        for (with_password, db, input, expected) in [
            (false, 0, HELLO.to_vec(), answer(HELLO.len(), version)),
            (true, 3, cat(&[b"+OK\r\n", HELLO, b"+OK\r\n"]), answer(HELLO.len() + 2 * ok, version)),
            (false, 0, b"-ERR unknown command\r\n".to_vec(), answer(22, Version::default())),
            (false, 0, cat(&[NAMED, b"+7.0.15\r\n"]), answer(26, version)),
            (false, 0, cat(&[NAMED, b":7\r\n"]), answer(21, Version::default())),
            (false, 0, cat(&[NAMED, b"$-1\r\n"]), answer(22, Version::default())),
            (false, 0, HELLO[..20].to_vec(), Greeting::Partial),
            (true, 0, b"+OK\r\n".to_vec(), Greeting::Partial),
            (true, 0, b"-WRONGPASS no\r\n".to_vec(), Greeting::Refused(ServerError::Login)),
            (false, 0, b"-NOAUTH no\r\n".to_vec(), Greeting::Refused(ServerError::Login)),
            (
                false,
                99,
                cat(&[HELLO, b"-ERR DB index is out of range\r\n"]),
                Greeting::Refused(ServerError::Database),
            ),
            (false, 0, b"-ERR max number of clients reached\r\n".to_vec(), Greeting::Full),
            (false, 0, b"VERSION 1.6.18\r\n".to_vec(), Greeting::Mismatch),
        ] {
            let settings = settings(with_password, db);
            assert_eq!(parse_greeting(&input, &settings), expected, "{}", input.escape_ascii());
        }
    }
}
