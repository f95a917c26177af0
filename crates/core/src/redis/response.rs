//! Parses a reply: how long it is, and what it says.
//!
//! The one rule: a reply is used when it is complete, and only if a server may answer such a request so.

use super::frame::{self, Scanned, is_null};
use super::resp3::{self, Shape};
use crate::message::{Class, Expect, Merge, Outcome, Outcomes, Response, Scan};
use alloc::vec::Vec;

/// Of the number that the multiplexer keeps, the lower half is the form, the upper one the shape.
const FORM_MASK: u8 = 15;
const SHAPE_SHIFT: u8 = 4;

/// The shape of the expected reply in RESP3.
pub(super) fn shape(expect: Expect) -> Shape {
    Shape::from(expect.kind >> SHAPE_SHIFT)
}

/// Appends a reply that is not in RESP3 as one in RESP3.
pub fn translate(expect: Expect, reply: &[u8], out: &mut Vec<u8>) {
    match Form::from(expect) {
        Form::Confirmations => resp3::translate_message(reply, out),
        _ => resp3::translate(shape(expect), reply, out),
    }
}

/// The form of the reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Form {
    /// Any: a value was read, unless it is null.
    Read,
    /// Any: something was changed, unless it is null.
    Write,
    /// Any: a key was found and changed, unless it is zero or null.
    Delete,
    /// An integer: how many of the keys were found.
    Integer,
    /// An array.
    Array,
    /// Any value; several servers give the same.
    Same,
    /// A status.
    Status,
    /// As [`Form::Write`], but the server may wait before it answers.
    Blocking,
    /// An array, or a push, for each channel of a request.
    Confirmations,
}

impl Form {
    const ALL: [Self; 9] = [
        Self::Read,
        Self::Write,
        Self::Delete,
        Self::Integer,
        Self::Array,
        Self::Same,
        Self::Status,
        Self::Blocking,
        Self::Confirmations,
    ];

    /// The form of the reply to a request of one server.
    pub(super) fn of_class(class: Class) -> Self {
        match class {
            Class::Get | Class::GetAndTouch => Self::Read,
            Class::Delete | Class::Touch => Self::Delete,
            _ => Self::Write,
        }
    }

    /// The form of the reply to a part of a request whose replies are merged.
    pub(super) fn of(merge: Merge) -> Self {
        match merge {
            Merge::Sum => Self::Integer,
            Merge::InOrder | Merge::ByKey | Merge::Concat | Merge::Least | Merge::Cursor { .. } => {
                Self::Array
            }
            Merge::AllOk => Self::Status,
            Merge::Same | Merge::First => Self::Same,
        }
    }

    /// As the multiplexer keeps it.
    pub(super) const fn expect(self) -> Expect {
        Expect { kind: self as u8, hidden: Outcomes::NONE }
    }

    pub(super) fn from(expect: Expect) -> Self {
        Self::ALL[usize::from(expect.kind & FORM_MASK)]
    }

    /// As [`Form::expect`], with the shape of the reply in RESP3.
    pub(super) const fn expect_in(self, shape: Shape) -> Expect {
        Expect { kind: self as u8 | (shape as u8) << SHAPE_SHIFT, hidden: Outcomes::NONE }
    }

    /// Whether a reply that begins with this byte may be of this form.
    fn fits(self, kind: u8) -> bool {
        match self {
            Self::Integer => matches!(kind, b':' | b'-' | b'!'),
            Self::Array => matches!(kind, b'*' | b'~' | b'-' | b'!'),
            Self::Status => matches!(kind, b'+' | b'-' | b'!'),
            Self::Confirmations => matches!(kind, b'*' | b'>' | b'-' | b'!'),
            Self::Read | Self::Write | Self::Delete | Self::Same | Self::Blocking => true,
        }
    }
}

/// Whether the server may wait before it replies, so that there is no timeout.
pub fn waits(expect: Expect) -> bool {
    Form::from(expect) == Form::Blocking
}

/// Parses the reply at the start of a server's bytes.
#[inline(never)]
pub fn parse_reply(input: &[u8], expect: Expect, scan: &mut Scan, reply_max: usize) -> Response {
    let form = Form::from(expect);
    let (is_new, is_cut) = (*scan == Scan::default(), scan.is_cut);
    if form == Form::Confirmations && input.len() < MESSAGE_MIN && !input.starts_with(b"-") {
        return Response::Partial(input.len() + 1);
    }
    let is_unasked = !is_cut && is_unasked(form, input);
    if is_new && !is_unasked && !form.fits(input[0]) {
        return Response::Mismatch;
    }
    if is_new {
        scan.left = 1;
    }
    // Confirmations and messages repeat what clients have sent, so their limit is a multiple of it: a
    // client could close the connections of others otherwise.
    let reply_max = match form {
        _ if is_unasked => reply_max.saturating_mul(MESSAGE_PARTS).saturating_add(MESSAGE_SPARE),
        Form::Confirmations => usize::MAX,
        _ => reply_max,
    };
    match frame::scan(input, scan) {
        Scanned::Whole(len) if is_unasked && len > reply_max => Response::Mismatch,
        Scanned::Whole(len) if is_unasked => Response::Unasked(len),
        Scanned::Whole(len) if is_cut || len > reply_max => Response::Excess { len, is_last: true },
        Scanned::Whole(len) => Response::Whole { len, outcome: outcome(form, &input[..len]) },
        Scanned::Partial(need) if need > reply_max && is_unasked => Response::Mismatch,
        Scanned::Partial(need) if need > reply_max => {
            let len = frame::drop_scanned(input, scan);
            scan.is_cut = true;
            Response::Excess { len, is_last: false }
        }
        Scanned::Partial(need) => Response::Partial(need),
        Scanned::Malformed => Response::Mismatch,
    }
}

/// Parses what a server sends although nothing was asked: a push, or a message of a channel on the
/// connection of a client that has subscribed to it; else it is a mismatch.
pub fn parse_unasked(
    input: &[u8],
    scan: &mut Scan,
    reply_max: usize,
    has_channels: bool,
) -> Response {
    match input[0] {
        b'>' => parse_reply(input, Form::Write.expect(), scan, reply_max),
        b'*' if has_channels => match parse_reply(input, CONFIRMATION, scan, reply_max) {
            Response::Whole { .. } => Response::Mismatch,
            response => response,
        },
        _ => Response::Mismatch,
    }
}

const CONFIRMATION: Expect = Form::Confirmations.expect();

/// The shortest message or confirmation is longer.
const MESSAGE_MIN: usize = 21;

/// A message has a pattern, a channel and a text, each within `item_size_max`.
const MESSAGE_PARTS: usize = 3;

/// The bytes of a message besides these parts are fewer.
const MESSAGE_SPARE: usize = 256;

/// Whether a value is no reply to the request that is due.
fn is_unasked(form: Form, input: &[u8]) -> bool {
    match form {
        Form::Confirmations => match input {
            [b'>' | b'*', rest @ ..] => MESSAGES.iter().any(|kind| rest.starts_with(kind)),
            _ => false,
        },
        _ => input[0] == b'>',
    }
}

/// How the message of a channel begins, behind its type.
const MESSAGES: [&[u8]; 3] =
    [b"3\r\n$7\r\nmessage\r\n", b"4\r\n$8\r\npmessage\r\n", b"3\r\n$8\r\nsmessage\r\n"];

/// What a complete reply says.
#[inline]
fn outcome(form: Form, reply: &[u8]) -> Outcome {
    match (reply[0], form) {
        (b'-', _) if reply.starts_with(b"-LOADING ") => Outcome::Loading,
        (b'-' | b'!', _) => Outcome::Error,
        (_, Form::Read) if is_null(reply) => Outcome::Miss,
        (_, Form::Read) => Outcome::Hit,
        (_, Form::Delete) if reply == b":0\r\n" || is_null(reply) => Outcome::NotFound,
        (_, Form::Integer) if reply == b":0\r\n" => Outcome::Miss,
        (_, Form::Integer) => Outcome::Hit,
        _ if is_null(reply) => Outcome::NotStored,
        _ => Outcome::Success,
    }
}
