//! As much HTTP as a test needs: one request, one answer, the end.

use std::net::Ipv4Addr;

use crate::conn::Conn;

/// The status and body of an HTTP answer.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends a request and reads to the end.
pub(crate) fn ask(port: u16, request: &str) -> Page {
    let mut conn = Conn::tcp((Ipv4Addr::LOCALHOST, port));
    conn.send(request);
    let head = String::from_utf8(conn.read_until(b"\r\n\r\n").unwrap()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = String::from_utf8(conn.read_to_end()).unwrap();
    Page { status, head, body }
}
