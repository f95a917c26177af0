//! The arguments of a request, one after the other.
//!
//! The one rule: only complete requests in the plain form come here, so an argument is a header, its
//! bytes, and a line end; nothing can be missing.

/// The arguments of a request from some argument on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Arguments<'a> {
    /// Their bytes as they stand in the request.
    rest: &'a [u8],
    left: usize,
}

impl<'a> Arguments<'a> {
    /// The arguments of a complete request: an array of bulk strings in the plain form.
    pub fn of(request: &'a [u8]) -> Self {
        let (count, header) = header(request);
        Self { rest: &request[header..], left: count }
    }

    /// The bytes of all that are left.
    pub fn bytes(&self) -> &'a [u8] {
        self.rest
    }

    /// The next argument with its header, as it stands in the request, and its bytes alone.
    #[inline]
    pub fn next_with_header(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        self.left = self.left.checked_sub(1)?;
        let (part, argument, rest) = split_first(self.rest)?;
        self.rest = rest;
        Some((part, argument))
    }
}

impl<'a> Iterator for Arguments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        Some(self.next_with_header()?.1)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Arguments<'_> {}

/// The first argument of `bytes` with its header, the argument alone, and what follows.
#[inline]
pub fn split_first(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    if bytes.is_empty() {
        return None;
    }
    let (len, start) = header(bytes);
    let (part, rest) = bytes.split_at(start + len + 2);
    Some((part, &part[start..start + len], rest))
}

/// Takes the first of the complete requests in `bytes`.
pub fn take_request<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    if bytes.is_empty() {
        return None;
    }
    let mut arguments = Arguments::of(bytes);
    while arguments.next().is_some() {}
    let (request, rest) = bytes.split_at(bytes.len() - arguments.rest.len());
    *bytes = rest;
    Some(request)
}

/// The number in the header at the start of `bytes`, and the length of the header.
#[inline]
fn header(bytes: &[u8]) -> (usize, usize) {
    let (mut number, mut at) = (0, 1);
    while bytes[at] != b'\r' {
        number = number * 10 + usize::from(bytes[at] - b'0');
        at += 1;
    }
    (number, at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn arguments_are_the_bulk_strings_of_the_request() {
        let request = b"*3\r\n$3\r\nSET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n";
        let mut arguments = Arguments::of(request);
        let all: Vec<&[u8]> = arguments.collect();
        assert_eq!(all, [&b"SET"[..], b"a\r\nb", b""]);
        assert_eq!(arguments.len(), 3);
        assert_eq!(arguments.next_with_header(), Some((&b"$3\r\nSET\r\n"[..], &b"SET"[..])));
        assert_eq!(arguments.bytes(), b"$4\r\na\r\nb\r\n$0\r\n\r\n");
    }
}
