//! RESP in a few lines, as tests read and write it: values are built, and what is not RESP is a panic.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Status(String),
    Error(String),
    Number(i64),
    Text(Vec<u8>),
    Null,
    /// An array, or the flat elements of a map.
    Array(Vec<Self>),
    Push(Vec<Self>),
}

impl Value {
    /// The elements of an array or a push.
    pub(crate) fn elements(&self) -> &[Self] {
        match self {
            Self::Array(elements) | Self::Push(elements) => elements,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(std::str::from_utf8(text).expect("these clients write text")),
            _ => None,
        }
    }
}

/// The value at the head of `bytes` and its length; none if it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Value, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[1..end]).expect("a line is text");
    let number = || line.parse::<i64>().expect("a number");
    let start = end + 2;
    match bytes[0] {
        b'+' => Some((Value::Status(line.to_owned()), start)),
        b'-' => Some((Value::Error(line.to_owned()), start)),
        b':' => Some((Value::Number(number()), start)),
        b'_' => Some((Value::Null, start)),
        b'$' | b'*' if line == "-1" => Some((Value::Null, start)),
        b'$' => {
            let length = usize::try_from(number()).expect("a length");
            let text = bytes.get(start..start + length + 2)?;
            assert!(text.ends_with(b"\r\n"), "a text ends where it should");
            Some((Value::Text(text[..length].to_vec()), start + length + 2))
        }
        b'*' | b'>' => {
            let (elements, len) = parse_many(&bytes[start..], number())?;
            let value =
                if bytes[0] == b'*' { Value::Array(elements) } else { Value::Push(elements) };
            Some((value, start + len))
        }
        b'%' => {
            let (elements, len) = parse_many(&bytes[start..], 2 * number())?;
            Some((Value::Array(elements), start + len))
        }
        _ => panic!("{:?} is not RESP", bytes[..end].escape_ascii().to_string()),
    }
}

fn parse_many(bytes: &[u8], count: i64) -> Option<(Vec<Value>, usize)> {
    let (mut elements, mut used) = (Vec::new(), 0);
    for _ in 0..count {
        let (value, len) = parse(bytes.get(used..).filter(|rest| !rest.is_empty())?)?;
        elements.push(value);
        used += len;
    }
    Some((elements, used))
}

pub(crate) fn bulk(text: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}

/// An array of texts: a request.
pub(crate) fn array<T: AsRef<[u8]>>(words: &[T]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    words.iter().for_each(|word| bytes.extend_from_slice(&bulk(word.as_ref())));
    bytes
}
