//! The request that follows each write at a gutter server, so that no value stays there longer than
//! `gutter_ttl`.
//!
//! The one rule: a shorter time of the client stays as it is. So the expiry of a `SET` is not rewritten, and no
//! plain `PEXPIRE` is sent: only a server that compares can tell, whatever the command was.

use super::response::Form;
use super::{write_bulk, write_bulk_number, write_header};
use crate::message::Expect;
use crate::version::Version;
use alloc::vec::Vec;
use core::time::Duration;

/// The first version whose `PEXPIRE` compares (`LT`).
const LT_SINCE: Version = Version::new(7, 0, 0);

/// What older ones are asked instead; from 2.6 on. A missing key is no trouble: `PEXPIRE` does nothing then.
const SCRIPT: &[u8] = b"local t=redis.call('PTTL',KEYS[1]) if t<0 or t>tonumber(ARGV[1]) then \
    return redis.call('PEXPIRE',KEYS[1],ARGV[1]) end return 0";

/// Appends a request that caps how long the value of a key stays. Returns the expected reply.
pub fn write_cap(key: &[u8], ttl: Duration, version: Version, out: &mut Vec<u8>) -> Expect {
    let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, TTL_MAX);
    if version >= LT_SINCE {
        write_header(b'*', 4, out);
        write_bulk(b"PEXPIRE", out);
        write_bulk(key, out);
        write_bulk_number(ms, out);
        write_bulk(b"LT", out);
    } else {
        write_header(b'*', 5, out);
        write_bulk(b"EVAL", out);
        write_bulk(SCRIPT, out);
        write_bulk(b"1", out);
        write_bulk(key, out);
        write_bulk_number(ms, out);
    }
    Form::Integer.expect()
}

/// Far more than anybody wants, and no overflow in a server.
const TTL_MAX: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_compare_by_itself_gets_a_script() {
        let mut out = Vec::new();
        write_cap(b"k", Duration::from_secs(60), LT_SINCE, &mut out);
        let plain = b"*4\r\n$7\r\nPEXPIRE\r\n$1\r\nk\r\n$5\r\n60000\r\n$2\r\nLT\r\n";
        assert_eq!(out, plain);
        for version in [Version::default(), Version::new(6, 2, 14)] {
            out.clear();
            write_cap(b"k", Duration::from_secs(60), version, &mut out);
            assert!(
                out.starts_with(b"*5\r\n$4\r\nEVAL\r\n$127\r\nlocal t="),
                "{}",
                out.escape_ascii()
            );
            assert!(out.ends_with(b"$1\r\n1\r\n$1\r\nk\r\n$5\r\n60000\r\n"));
        }
    }
}
