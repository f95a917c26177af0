//! What a client has said about its connection, and the answers to that.
//!
//! The one rule: what a client says at connect never reaches a server. Servers' connections are shared,
//! so a name, a database or a protocol version set there would be everybody's.

use super::arguments::Arguments;
use super::binding::{Binding, Transaction};
use super::command::Local;
use super::frame::integer;
use super::response::Form;
use super::settings::Settings;
use super::{write_bulk, write_header, write_integer, write_number};
use crate::message::{Expect, Step};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a client has said about its connection.
#[derive(Debug)]
pub struct Session {
    pub(super) settings: Arc<Settings>,
    id: u64,
    /// Whether it gets RESP3 (after `HELLO 3`).
    is_resp3: bool,
    pub(super) is_authenticated: bool,
    /// What few clients have, so that the many that are idle take little memory.
    details: Option<Box<Details>>,
}

/// What a client has when it has named itself or has had a server connection of its own.
#[derive(Debug)]
struct Details {
    binding: Binding,
    name: Vec<u8>,
    library: Vec<u8>,
    library_version: Vec<u8>,
}

impl Details {
    const NONE: Self = Self {
        binding: Binding::NONE,
        name: Vec::new(),
        library: Vec::new(),
        library_version: Vec::new(),
    };
}

/// What a client has said about its connection, for the process that serves it next. The client's
/// number is not part of it: another process numbers its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Whether it gets RESP3.
    pub is_resp3: bool,
    /// Whether it has given the password, or there is none.
    pub is_authenticated: bool,
    /// Its name, at most 512 bytes, as the next two.
    pub name: Vec<u8>,
    /// Its library.
    pub library: Vec<u8>,
    /// The version of that.
    pub library_version: Vec<u8>,
}

/// What kind of answer was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// A reply.
    Reply,
    /// An error.
    Error,
    /// A reply, which all earlier requests must be answered before: the client's replies have another
    /// form from here on.
    Barrier,
    /// A reply, after which the connection is closed.
    Close,
}

/// The version of Redis that the proxy names to clients: its commands and errors are of this one.
pub const VERSION: &[u8] = b"7.2.0";

/// The user of clients and of the proxy if the pool names none.
const DEFAULT_USER: &[u8] = b"default";

/// A name or the like is not longer, as clients may make the proxy keep it.
const NAME_MAX: usize = 512;

impl Session {
    /// The session of a new client.
    pub fn new(settings: &Arc<Settings>, id: u64) -> Self {
        Self {
            settings: Arc::clone(settings),
            id,
            is_resp3: false,
            is_authenticated: settings.password.is_none(),
            details: None,
        }
    }

    #[inline]
    fn details(&self) -> &Details {
        static NONE: Details = Details::NONE;
        self.details.as_deref().unwrap_or(&NONE)
    }

    fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_with(|| Box::new(Details::NONE))
    }

    /// What binds the client to a server connection of its own.
    #[inline]
    pub(super) fn binding(&self) -> &Binding {
        &self.details().binding
    }

    /// The same, to be changed.
    pub(super) fn binding_mut(&mut self) -> &mut Binding {
        &mut self.details_mut().binding
    }

    /// Changes what the pool is told. Whoever is authenticated stays so.
    pub fn set_settings(&mut self, settings: &Arc<Settings>) {
        self.settings = Arc::clone(settings);
        self.is_authenticated |= settings.password.is_none();
    }

    /// The number that no other client of this worker has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What the client calls itself (`CLIENT SETNAME`); empty if it has not said.
    pub fn name(&self) -> &[u8] {
        &self.details().name
    }

    /// The client library and its version (`CLIENT SETINFO`); each empty if the client has not said.
    pub fn library(&self) -> (&[u8], &[u8]) {
        (&self.details().library, &self.details().library_version)
    }

    /// The user that all clients of the pool are.
    pub fn user(&self) -> &[u8] {
        self.settings.user.as_deref().unwrap_or(DEFAULT_USER)
    }

    /// The database of the pool.
    pub fn db(&self) -> u32 {
        self.settings.db
    }

    /// Whether the client gets RESP3.
    pub fn is_resp3(&self) -> bool {
        self.is_resp3
    }

    /// Whether the client has something on a server connection of its own.
    pub fn is_bound(&self) -> bool {
        self.binding().is_bound()
    }

    /// Whether it is not known yet which subscriptions the client has.
    pub fn is_changing(&self) -> bool {
        self.binding().is_changing()
    }

    /// Whether what the client began decides what becomes of a request.
    pub(super) fn is_in_state(&self) -> bool {
        self.binding().transaction != Transaction::None || self.binding().is_bound()
    }

    /// Whether the client is in a transaction of which no server knows.
    pub fn begins(&self) -> bool {
        self.binding().transaction == Transaction::Begun
    }

    /// The commands of that transaction, one after the other.
    pub fn kept(&self) -> &[u8] {
        self.binding().kept()
    }

    /// Keeps a command of a transaction of which no server knows. False if there are too many.
    pub fn keep(&mut self, request: &[u8]) -> bool {
        self.begins() && self.binding_mut().keep(request)
    }

    /// Notes that a command was refused: a transaction that it is part of is not carried out.
    pub fn note_refused(&mut self) {
        if self.binding().transaction != Transaction::None {
            self.binding_mut().is_aborted = true;
        }
    }

    /// Notes that a request was sent over a connection of the client's own.
    pub fn note_step(&mut self, step: Step, replies: u16) {
        self.binding_mut().note_step(step, replies);
    }

    /// Sees a reply on that connection.
    pub fn observe(&mut self, expect: Expect, reply: &[u8]) {
        if Form::from(expect) == Form::Confirmations {
            self.binding_mut().note_confirmation(reply);
        }
    }

    /// What the client has said, for another process.
    pub fn said(&self) -> Said {
        let Details { name, library, library_version, .. } = self.details();
        Said {
            is_resp3: self.is_resp3,
            is_authenticated: self.is_authenticated,
            name: name.clone(),
            library: library.clone(),
            library_version: library_version.clone(),
        }
    }

    /// Continues the session of another process.
    pub fn continue_with(&mut self, said: Said) {
        self.is_resp3 = said.is_resp3;
        self.is_authenticated |= said.is_authenticated;
        if [&said.name, &said.library, &said.library_version].iter().any(|text| !text.is_empty()) {
            let details = self.details_mut();
            details.name = said.name;
            details.library = said.library;
            details.library_version = said.library_version;
        }
    }

    /// Makes the session that of a new client.
    pub fn reset(&mut self) {
        *self = Self::new(&self.settings, self.id);
    }

    /// Answers a command about the connection: `arguments` are all but the name (and the container's).
    pub(super) fn answer(
        &mut self,
        local: Local,
        mut arguments: Arguments<'_>,
        out: &mut Vec<u8>,
    ) -> Answered {
        match local {
            Local::Ping => match arguments.next() {
                None => out.extend_from_slice(b"+PONG\r\n"),
                Some(message) if arguments.len() == 0 => write_bulk(message, out),
                Some(_) => return wrong_arity("", "ping", out),
            },
            Local::Echo => write_bulk(arguments.next().unwrap_or_default(), out),
            Local::Quit => {
                out.extend_from_slice(b"+OK\r\n");
                return Answered::Close;
            }
            Local::Id => write_integer(self.id.cast_signed(), out),
            Local::Ok => out.extend_from_slice(b"+OK\r\n"),
            Local::GetName if self.name().is_empty() => self.write_null(out),
            Local::GetName => write_bulk(self.name(), out),
            Local::SetName => return self.set_name(arguments.next().unwrap_or_default(), out),
            Local::SetInfo => return self.set_info(arguments, out),
            Local::Select => return self.select(arguments.next().unwrap_or_default(), out),
            Local::Auth => return self.authenticate(arguments, out),
            Local::Hello => return self.hello(arguments, out),
            Local::Reset => return self.answer_reset(out),
            Local::Question | Local::Setting => unreachable!("the embedder answers questions"),
        }
        Answered::Reply
    }

    fn write_null(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.is_resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    fn set_name(&mut self, name: &[u8], out: &mut Vec<u8>) -> Answered {
        if !is_plain(name) {
            return error(
                b"ERR Client names cannot contain spaces, newlines or special characters.",
                out,
            );
        }
        self.details_mut().name = name.to_vec();
        ok(out)
    }

    fn set_info(&mut self, mut arguments: Arguments<'_>, out: &mut Vec<u8>) -> Answered {
        let attribute = arguments.next().unwrap_or_default();
        let value = arguments.next().unwrap_or_default();
        let is_name = attribute.eq_ignore_ascii_case(b"lib-name");
        if !is_name && !attribute.eq_ignore_ascii_case(b"lib-ver") {
            return error(b"ERR Unrecognized option: the options are lib-name and lib-ver", out);
        };
        if !is_plain(value) {
            let text = b"ERR lib-name and lib-ver cannot contain spaces, newlines or special \
                characters.";
            return error(text, out);
        }
        let details = self.details_mut();
        let kept = if is_name { &mut details.library } else { &mut details.library_version };
        *kept = value.to_vec();
        ok(out)
    }

    fn select(&self, db: &[u8], out: &mut Vec<u8>) -> Answered {
        let Some(db) = integer(db) else {
            return error(b"ERR value is not an integer or out of range", out);
        };
        if db == i64::from(self.settings.db) {
            return ok(out);
        }
        out.extend_from_slice(b"-ERR DB index is out of range: this pool has only database ");
        write_number(self.settings.db.into(), out);
        out.extend_from_slice(b"\r\n");
        Answered::Error
    }

    fn authenticate(&mut self, mut arguments: Arguments<'_>, out: &mut Vec<u8>) -> Answered {
        let (first, second) = (arguments.next().unwrap_or_default(), arguments.next());
        if arguments.next().is_some() {
            return error(b"ERR syntax error", out);
        }
        if second.is_none() && self.settings.password.is_none() {
            let text = b"ERR AUTH <password> called without any password configured for the \
                default user. Are you sure your configuration is correct?";
            return error(text, out);
        }
        let (user, password) = match second {
            Some(password) => (Some(first), password),
            None => (None, first),
        };
        if !self.is_known(user, password) {
            return error(b"WRONGPASS invalid username-password pair or user is disabled.", out);
        }
        self.is_authenticated = true;
        ok(out)
    }

    /// Whether a client may come in with these words. A pool has one user.
    fn is_known(&self, user: Option<&[u8]>, password: &[u8]) -> bool {
        let is_user = user.is_none_or(|user| user == self.user());
        match &self.settings.password {
            Some(secret) => is_user && is_same_secret(secret, password),
            None => is_user,
        }
    }

    fn hello(&mut self, mut arguments: Arguments<'_>, out: &mut Vec<u8>) -> Answered {
        let mut is_resp3 = self.is_resp3;
        if let Some(version) = arguments.next() {
            is_resp3 = match integer(version) {
                Some(2) => false,
                Some(3) => true,
                Some(_) => return error(b"NOPROTO unsupported protocol version", out),
                None => {
                    let text = b"ERR Protocol version is not an integer or out of range";
                    return error(text, out);
                }
            };
        }
        let mut name = None;
        while let Some(option) = arguments.next() {
            if option.eq_ignore_ascii_case(b"auth") && arguments.len() >= 2 {
                let user = arguments.next();
                if !self.is_known(user, arguments.next().unwrap_or_default()) {
                    let text = b"WRONGPASS invalid username-password pair or user is disabled.";
                    return error(text, out);
                }
                self.is_authenticated = true;
            } else if option.eq_ignore_ascii_case(b"setname") && arguments.len() >= 1 {
                name = arguments.next();
            } else {
                out.extend_from_slice(b"-ERR Syntax error in HELLO option '");
                push_text(option, NAME_MAX, out);
                out.extend_from_slice(b"'\r\n");
                return Answered::Error;
            }
        }
        if !self.is_authenticated {
            let text = b"NOAUTH HELLO must be called with the client already authenticated, \
                otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate \
                the client and select the RESP protocol version at the same time";
            return error(text, out);
        }
        if let Some(name) = name {
            if self.set_name(name, out) == Answered::Error {
                return Answered::Error;
            }
            out.clear();
        }
        let changes = is_resp3 != self.is_resp3;
        self.is_resp3 = is_resp3;
        self.write_hello(out);
        if changes { Answered::Barrier } else { Answered::Reply }
    }

    fn write_hello(&self, out: &mut Vec<u8>) {
        let (kind, count) = if self.is_resp3 { (b'%', 7) } else { (b'*', 14) };
        write_header(kind, count, out);
        for (name, text) in [(&b"server"[..], &b"redis"[..]), (b"version", VERSION)] {
            write_bulk(name, out);
            write_bulk(text, out);
        }
        write_bulk(b"proto", out);
        write_integer(if self.is_resp3 { 3 } else { 2 }, out);
        write_bulk(b"id", out);
        write_integer(self.id.cast_signed(), out);
        for (name, text) in [(&b"mode"[..], &b"standalone"[..]), (b"role", b"master")] {
            write_bulk(name, out);
            write_bulk(text, out);
        }
        write_bulk(b"modules", out);
        write_header(b'*', 0, out);
    }

    fn answer_reset(&mut self, out: &mut Vec<u8>) -> Answered {
        let was_resp3 = self.is_resp3;
        Self::reset(self);
        out.extend_from_slice(b"+RESET\r\n");
        if was_resp3 { Answered::Barrier } else { Answered::Reply }
    }
}

/// Whether a text may be a client's name.
fn is_plain(text: &[u8]) -> bool {
    text.len() <= NAME_MAX && text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// Compares two secrets in a time that does not tell where they differ.
fn is_same_secret(secret: &[u8], given: &[u8]) -> bool {
    let differences =
        secret.iter().zip(given).fold(0, |differences, (left, right)| differences | left ^ right);
    secret.len() == given.len() && core::hint::black_box(differences) == 0
}

fn ok(out: &mut Vec<u8>) -> Answered {
    out.extend_from_slice(b"+OK\r\n");
    Answered::Reply
}

fn error(text: &[u8], out: &mut Vec<u8>) -> Answered {
    out.push(b'-');
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
    Answered::Error
}

/// Writes that a command, or a subcommand of a container, got too few or too many arguments.
pub(super) fn wrong_arity(container: &str, name: &str, out: &mut Vec<u8>) -> Answered {
    out.extend_from_slice(b"-ERR wrong number of arguments for '");
    out.extend_from_slice(container.as_bytes());
    if !container.is_empty() {
        out.push(b'|');
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"' command\r\n");
    Answered::Error
}

/// Appends a client's text to an error line as Redis does: at most `max` bytes, up to a zero byte, and no
/// line end.
pub(super) fn push_text(text: &[u8], max: usize, out: &mut Vec<u8>) {
    let text = text.iter().take(max).take_while(|byte| **byte != 0);
    out.extend(text.map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
}
