//! Where one reply of a server ends and the next begins.

/// What the servers of a pool speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Memcached,
    Redis,
}

/// The length of the first whole reply; none while it is not all there.
pub(super) fn reply_len(protocol: Protocol, bytes: &[u8]) -> Option<usize> {
    match protocol {
        Protocol::Memcached => memcached_len(bytes),
        Protocol::Redis => redis_len(bytes),
    }
}

fn memcached_len(bytes: &[u8]) -> Option<usize> {
    let mut end = 0;
    loop {
        let line = line(&bytes[end..])?;
        end += line.len();
        let words: Vec<_> = line.trim_ascii_end().split(|&byte| byte == b' ').collect();
        let (len, has_more) = match words[..] {
            [b"VALUE", _, _, len, ..] => (number(len), true),
            [b"VA", len, ..] => (number(len), false),
            _ => (None, false),
        };
        end += len.map_or(0, |len| len + 2);
        if !has_more {
            return (end <= bytes.len()).then_some(end);
        }
        if end > bytes.len() {
            return None;
        }
    }
}

fn redis_len(bytes: &[u8]) -> Option<usize> {
    let (mut end, mut open) = (0, 1_usize);
    while open > 0 {
        let line = line(bytes.get(end..)?)?;
        end += line.len();
        open -= 1;
        // A null has a negative length: nothing follows.
        let len = number(line[1..].trim_ascii_end());
        match line[0] {
            b'$' => end += len.map_or(0, |len| len + 2),
            b'*' => open += len.unwrap_or(0),
            _ => {}
        }
    }
    (end <= bytes.len()).then_some(end)
}

/// The first line with its end.
pub(super) fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some(&bytes[..end + 2])
}

pub(super) fn number(digits: &[u8]) -> Option<usize> {
    str::from_utf8(digits).ok()?.parse().ok()
}

#[test]
fn a_reply_ends_where_the_next_begins_and_half_of_one_has_no_end() {
    let memcached = [
        "STORED\r\n",
        "END\r\n",
        "VALUE k 0 7\r\nEND\r\nab\r\nVALUE l 0 0 5\r\n\r\nEND\r\n",
        "VA 4 kk O1\r\n\r\n\r\n\r\n",
        "EN\r\n",
        "7\r\n",
    ];
    let redis = [
        "+OK\r\n",
        ":1\r\n",
        "$-1\r\n",
        "$4\r\n\r\n\r\n\r\n",
        "*2\r\n$1\r\na\r\n$-1\r\n",
        "-E\r\n",
    ];
    for (protocol, replies) in [(Protocol::Memcached, memcached), (Protocol::Redis, redis)] {
        for reply in replies.map(str::as_bytes) {
            let next = [reply, b"NEXT"].concat();
            assert_eq!(reply_len(protocol, &next), Some(reply.len()), "{}", reply.escape_ascii());
            for half in 0..reply.len() {
                assert_eq!(reply_len(protocol, &reply[..half]), None, "{}", reply.escape_ascii());
            }
        }
    }
}
