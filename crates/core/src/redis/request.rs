//! Parses a request: an array or a line becomes a request for the multiplexer.
//!
//! The one rule: the table of commands decides. What it refuses, and what is about the connection, is
//! answered here; everything else goes to servers as the client wrote it, in the plain form.

use super::arguments::Arguments;
use super::array::{self, Bounds, Broken, Framed};
use super::command::{self, Action, Command, Dedicated, Keys, Local};
use super::inline;
use super::keys::KeyList;
use super::resp3::Shape;
use super::response::Form;
use super::session::{Answered, Session, push_text, wrong_arity};
use super::{PLACEHOLDER, write_bulk, write_header};
use crate::limits::Limits;
use crate::memcache::{Head, Needs, Numbers};
use crate::message::{
    All, Class, Cursor, Group, KeyEncoding, Limit, Many, Merge, One, Parsed, Request, Scan, Wire,
};
use alloc::vec::Vec;

/// Memory for a request that is rewritten, and for an answer.
#[derive(Debug, Default)]
pub struct Room {
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// The most arguments of a request (Redis before 7.0: `1024*1024`).
const ARGUMENTS_MAX: usize = 1 << 20;

/// The longest request whatever the limits are: its length is counted in 32 bits.
const LEN_MAX: usize = 1 << 31;

/// A client that has not authenticated may send so much (`processMultibulkBuffer`).
const STRANGER: Bounds = Bounds { arguments: 10, argument_len: 16_384, len: 64 * 1024 };

/// The longest line of an inline request (`PROTO_INLINE_MAX_SIZE`).
const INLINE_MAX: usize = 64 * 1024;

/// So much of a client's text an error repeats (`processCommand`).
const TEXT_MAX: usize = 128;

/// Parses the request at the start of a client's bytes; there is at least one byte.
pub fn parse_request<'a>(
    input: &'a [u8],
    scan: &mut Scan,
    session: &mut Session,
    limits: &Limits,
    room: &'a mut Room,
) -> Parsed<'a> {
    if input[0] != b'*' {
        return parse_inline(input, scan, session, room);
    }
    let bounds = if session.is_authenticated { bounds_of(limits) } else { STRANGER };
    match array::scan(input, scan, bounds) {
        Framed::Whole { len, is_plain: true } => {
            let request = &input[..len];
            Parsed::Request(interpret(request, Wire::Verbatim(request), session, room), len)
        }
        Framed::Whole { len, is_plain: false } => {
            write_plain(&input[..len], &mut room.request);
            Parsed::Request(interpret_rewritten(session, room), len)
        }
        Framed::Empty(len) => Parsed::Request(Request::Answer(b""), len),
        Framed::Partial(need) => Parsed::Partial(need),
        Framed::Broken(broken) => {
            let answer = &mut room.answer;
            answer.clear();
            write_broken(broken, session.is_authenticated, answer);
            let limit = if broken == Broken::TooLong { Limit::Memory } else { Limit::Grammar };
            Parsed::Request(Request::Lost { error: answer, limit }, input.len())
        }
    }
}

fn bounds_of(limits: &Limits) -> Bounds {
    Bounds {
        arguments: ARGUMENTS_MAX,
        argument_len: limits.item_size_max,
        len: limits.memory_max.min(LEN_MAX),
    }
}

fn write_broken(broken: Broken, is_known: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"-ERR Protocol error: ");
    out.extend_from_slice(match broken {
        Broken::Count if is_known => b"invalid multibulk length",
        Broken::Count => b"unauthenticated multibulk length",
        Broken::CountLine => b"too big mbulk count string",
        Broken::Length if is_known => b"invalid bulk length",
        Broken::Length => b"unauthenticated bulk length",
        Broken::LengthLine => b"too big bulk count string",
        Broken::Kind(_) => b"expected '$', got '",
        Broken::TooLong => b"the request is longer than memory_max of this pool",
    });
    if let Broken::Kind(kind) = broken {
        push_text(&[kind], 1, out);
        out.push(b'\'');
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a complete request with odd line ends in the plain form.
fn write_plain(request: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let arguments = Arguments::of(request);
    write_header(b'*', arguments.len(), out);
    arguments.for_each(|argument| write_bulk(argument, out));
}

/// A line, as a person types it.
fn parse_inline<'a>(
    input: &'a [u8],
    scan: &mut Scan,
    session: &mut Session,
    room: &'a mut Room,
) -> Parsed<'a> {
    // Redis does not look for the end of a line behind a zero byte: such a line has none.
    let found = memchr::memchr2(b'\n', 0, &input[scan.at..]).map(|found| scan.at + found);
    let end = found.filter(|found| input[*found] == b'\n');
    if end.unwrap_or(input.len()) > INLINE_MAX {
        let error = b"-ERR Protocol error: too big inline request\r\n";
        return Parsed::Request(Request::Lost { error, limit: Limit::Line }, input.len());
    }
    let Some(end) = end else {
        scan.at = found.unwrap_or(input.len());
        return Parsed::Partial(input.len() + 1);
    };
    *scan = Scan::default();
    let line = &input[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    room.request.clear();
    match inline::write_array(line, &mut room.request).ok() {
        Some(0) => Parsed::Request(Request::Answer(b""), end + 1),
        Some(_) => Parsed::Request(interpret_rewritten(session, room), end + 1),
        None => {
            let error = b"-ERR Protocol error: unbalanced quotes in request\r\n";
            Parsed::Request(Request::Lost { error, limit: Limit::Grammar }, input.len())
        }
    }
}

fn interpret_rewritten<'a>(session: &mut Session, room: &'a mut Room) -> Request<'a> {
    let Room { request, answer } = room;
    answer.clear();
    Interpreter { request, wire: Wire::Rewritten(request), session }.request(answer)
}

fn interpret<'a>(
    request: &'a [u8],
    wire: Wire<'a>,
    session: &mut Session,
    room: &'a mut Room,
) -> Request<'a> {
    room.answer.clear();
    Interpreter { request, wire, session }.request(&mut room.answer)
}

/// A complete request in the plain form, and who sent it.
pub(super) struct Interpreter<'a, 's> {
    request: &'a [u8],
    wire: Wire<'a>,
    pub(super) session: &'s mut Session,
}

impl<'a> Interpreter<'a, '_> {
    fn request(self, answer: &'a mut Vec<u8>) -> Request<'a> {
        let mut arguments = Arguments::of(self.request);
        let all = arguments.len();
        let Some((head, name)) = arguments.next_with_header() else { return Request::Answer(b"") };
        let words = Words { container: "", head, arguments, after: arguments };
        let Some(command) = command::find(name) else {
            return self.unknown(name, words, answer);
        };
        if command.subcommands.is_empty() {
            return self.command(command, words, answer);
        }
        let Some(sub) = arguments.next() else { return self.command(command, words, answer) };
        match command.find_subcommand(sub) {
            // Something of it may be refused with this reason; a word that nobody knows is a mistake.
            None if command.action == Action::Refused(command::UNKNOWN_SUBCOMMAND) => {
                unknown_subcommand(command, sub, answer);
                self.refuse(answer)
            }
            None => self.command(command, words, answer),
            Some(subcommand) if !has_arity(subcommand, all) => {
                wrong_arity(command.name, subcommand.name, answer);
                self.refuse(answer)
            }
            Some(subcommand) => {
                let words = Words { container: command.name, after: arguments, ..words };
                self.command(subcommand, words, answer)
            }
        }
    }

    /// Refuses a request. A transaction that it is part of is not carried out.
    fn refuse(self, error: &'a [u8]) -> Request<'a> {
        self.session.note_refused();
        refused(error)
    }

    /// A command that is not in the table: one of a module, or none.
    fn unknown(self, name: &[u8], words: Words<'a>, answer: &'a mut Vec<u8>) -> Request<'a> {
        let modules = &self.session.settings.modules;
        if let Some(module) = modules.iter().find(|one| one.name.eq_ignore_ascii_case(name)) {
            let (first, last, step) = (module.first, module.last, module.step);
            let command = Command {
                name: "",
                arity: -1,
                class: Class::Other,
                keys: Keys::Range { first, last, step },
                action: Action::Keyed,
                subcommands: &[],
            };
            return self.command(&command, words, answer);
        }
        // A web page made a browser speak to the proxy: Redis closes such a client likewise.
        if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
            return Request::Lost { error: b"", limit: Limit::Http };
        }
        answer.extend_from_slice(b"-ERR unknown command '");
        push_text(name, TEXT_MAX, answer);
        answer.extend_from_slice(b"', with args beginning with: ");
        let start = answer.len();
        for argument in words.arguments {
            let room = TEXT_MAX.saturating_sub(answer.len() - start);
            if room == 0 {
                break;
            }
            answer.push(b'\'');
            push_text(argument, room, answer);
            answer.extend_from_slice(b"' ");
        }
        answer.extend_from_slice(b"\r\n");
        self.refuse(answer)
    }

    /// A command of the table.
    fn command(
        mut self,
        command: &Command,
        words: Words<'a>,
        answer: &'a mut Vec<u8>,
    ) -> Request<'a> {
        if !has_arity(command, words.arguments.len() + 1) {
            wrong_arity("", command.name, answer);
            return self.refuse(answer);
        }
        let is_for_strangers = matches!(
            command.action,
            Action::Local(Local::Auth | Local::Hello | Local::Quit | Local::Reset)
        );
        if !self.session.is_authenticated && !is_for_strangers {
            return Request::Refused {
                error: b"-NOAUTH Authentication required.\r\n",
                skip: 0,
                limit: Limit::Grammar,
            };
        }
        if self.session.is_in_state() {
            if let Some(request) = self.in_state(command, words, answer) {
                return request;
            }
            if !answer.is_empty() {
                let is_error = answer.starts_with(b"-");
                return if is_error { refused(answer) } else { Request::Answer(answer) };
            }
        }
        match command.action {
            Action::Keyed => self.keyed(command, words),
            Action::Split(merge) => self.split(command, words, merge, answer),
            Action::All(merge, permission) => Request::All(All {
                wire: self.wire,
                expect: Form::of(merge).expect(),
                merge,
                permission,
            }),
            Action::Any => self.any(command),
            Action::Scan => self.cursor(command, words, answer),
            Action::Local(Local::Question) => Request::Question(self.request),
            Action::Local(Local::Setting) => Request::Setting(self.one(command, PLACEHOLDER)),
            Action::Local(local) => self.local(local, words.after, answer),
            Action::Dedicated(dedicated) => self.dedicated(command, words, dedicated, answer),
            Action::MayBlock if words.has_block() => {
                self.dedicated(command, words, Dedicated::Blocking, answer)
            }
            Action::MayBlock => self.keyed(command, words),
            Action::OneServer(reason) => {
                why((words.container, command.name), reason, answer);
                self.group(command, words, Some(answer))
            }
            Action::Refused(reason) => {
                why((words.container, command.name), reason, answer);
                self.refuse(answer)
            }
        }
    }

    fn local(self, local: Local, arguments: Arguments<'_>, answer: &'a mut Vec<u8>) -> Request<'a> {
        match self.session.answer(local, arguments, answer) {
            Answered::Reply => Request::Answer(answer),
            Answered::Error => refused(answer),
            Answered::Barrier => Request::Barrier(answer),
            Answered::Close => Request::Quit(answer),
        }
    }

    pub(super) fn one(&self, command: &Command, key: &'a [u8]) -> One<'a> {
        let form = Form::of_class(command.class);
        let shape = if self.session.is_resp3() { self.shape(command) } else { Shape::Same };
        One {
            key,
            encoding: KeyEncoding::Plain,
            opaque: b"",
            echoes: false,
            wire: self.wire,
            expect: form.expect_in(shape),
            needs: Needs::NOTHING,
            class: command.class,
        }
    }

    /// The shape of the reply in RESP3.
    fn shape(&self, command: &Command) -> Shape {
        let mut arguments = Arguments::of(self.request);
        arguments.next();
        Shape::of(command.name, arguments)
    }

    /// To some server: that of one key, always the same.
    fn any(self, command: &Command) -> Request<'a> {
        Request::One(self.one(command, PLACEHOLDER))
    }

    fn keyed(self, command: &Command, words: Words<'a>) -> Request<'a> {
        if command.keys == ONE_KEY {
            let key = words.arguments.clone().next().unwrap_or_default();
            return Request::One(self.one(command, key));
        }
        self.group(command, words, None)
    }

    /// A request of several keys that one server answers, or of none.
    fn group(self, command: &Command, words: Words<'a>, alone: Option<&'a [u8]>) -> Request<'a> {
        let Some(mut keys) = KeyList::find(command.keys, words.arguments) else {
            return self.any(command);
        };
        let first = keys.next();
        let one = self.one(command, first.unwrap_or(PLACEHOLDER));
        let alone = match first {
            None if command.keys != Keys::None => alone.or(Some(NO_KEYS)),
            Some(_) if command.keys == Keys::Store && words.has_pattern() => Some(PATTERN),
            _ => alone,
        };
        Request::Group(Group { one, others: keys, alone })
    }

    fn split(
        self,
        command: &Command,
        words: Words<'a>,
        merge: Merge,
        answer: &'a mut Vec<u8>,
    ) -> Request<'a> {
        let Keys::Range { step, .. } = command.keys else { return self.keyed(command, words) };
        let (count, step) = (words.arguments.len(), usize::from(step));
        if count % step != 0 {
            wrong_arity("", command.name, answer);
            return self.refuse(answer);
        }
        if count == step {
            let key = words.arguments.clone().next().unwrap_or_default();
            let mut one = self.one(command, key);
            if merge == Merge::Sum {
                one.expect = Form::of(merge).expect();
            }
            return Request::One(one);
        }
        Request::Many(Many {
            head: Head { text: words.head, numbers: Numbers::NONE },
            line_max: usize::MAX,
            keys: words.arguments.bytes(),
            step,
            expect: Form::of(merge).expect(),
            merge,
            class: command.class,
        })
    }

    fn cursor(self, command: &Command, words: Words<'a>, answer: &'a mut Vec<u8>) -> Request<'a> {
        let mut rest = words.arguments;
        let text = rest.next().unwrap_or_default();
        let number = core::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let Some(cursor) = number else {
            answer.extend_from_slice(b"-ERR invalid cursor\r\n");
            return refused(answer);
        };
        let head = &self.request[..self.request.len() - words.arguments.bytes().len()];
        Request::Cursor(Cursor {
            cursor,
            before: head,
            after: rest.bytes(),
            expect: Form::Array.expect(),
            class: command.class,
        })
    }
}

/// The arguments of a request.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    /// The name of the command that this is a subcommand of; empty if it is none.
    pub(super) container: &'static str,
    /// The name, with its header.
    head: &'a [u8],
    /// All behind the name.
    pub(super) arguments: Arguments<'a>,
    /// All behind the subcommand, if there is one.
    pub(super) after: Arguments<'a>,
}

impl Words<'_> {
    /// Whether a word before the keys says that the server may wait (`XREAD`).
    fn has_block(&self) -> bool {
        self.arguments
            .take_while(|word| !word.eq_ignore_ascii_case(b"streams"))
            .any(|word| word.eq_ignore_ascii_case(b"block"))
    }

    /// Whether `SORT` reads keys that only the server can name.
    fn has_pattern(&self) -> bool {
        let mut rest = self.arguments;
        rest.next();
        while let Some(word) = rest.next() {
            if word.eq_ignore_ascii_case(b"by") || word.eq_ignore_ascii_case(b"get") {
                let pattern = rest.next().unwrap_or_default();
                if pattern.contains(&b'*') {
                    return true;
                }
            }
        }
        false
    }
}

const ONE_KEY: Keys = Keys::Range { first: 1, last: 1, step: 1 };

const NO_KEYS: &[u8] =
    b"-ERR a command without keys has no server in a pool of several servers: name its keys\r\n";

const PATTERN: &[u8] =
    b"-ERR BY and GET patterns name keys of other servers: only a pool of one server can sort by them\r\n";

fn has_arity(command: &Command, all: usize) -> bool {
    let arity = usize::from(command.arity.unsigned_abs());
    if command.arity < 0 { all >= arity } else { all == arity }
}

pub(super) fn refused(error: &[u8]) -> Request<'_> {
    Request::Refused { error, skip: 0, limit: Limit::Grammar }
}

fn unknown_subcommand(command: &Command, sub: &[u8], answer: &mut Vec<u8>) {
    answer.extend_from_slice(b"-ERR unknown subcommand '");
    push_text(sub, TEXT_MAX, answer);
    answer.extend_from_slice(b"'. Try ");
    answer.extend(command.name.bytes().map(|byte| byte.to_ascii_uppercase()));
    answer.extend_from_slice(b" HELP.\r\n");
}

/// Writes why a command is refused.
pub(super) fn why((container, name): (&str, &str), reason: &str, answer: &mut Vec<u8>) {
    answer.extend_from_slice(b"-ERR ");
    // Clients know these words of Redis.
    if reason != command::CLUSTER_DISABLED {
        answer.push(b'\'');
        answer.extend_from_slice(container.as_bytes());
        if !container.is_empty() {
            answer.push(b'|');
        }
        answer.extend_from_slice(name.as_bytes());
        answer.extend_from_slice(b"' ");
    }
    answer.extend_from_slice(reason.as_bytes());
    answer.extend_from_slice(b"\r\n");
}
