//! What workers and the operator say of servers, and what the arbiter answers.

use super::Share;
use crate::error::ServerError;
use crate::time::Instant;

/// What a worker is to do about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Let clients end what they have begun there, and begin nothing more. To be confirmed when none has anything
    /// there.
    Drain,
    /// Send it no more requests, for this reason. To be confirmed by [`Report::Done`].
    Leave(ServerError),
    /// Nobody sends it requests: do what the pool wants for a server that is away.
    GoAway,
    /// It is away for another reason than before.
    StayAway(ServerError),
    /// Close the connections to it: nobody waits any longer for what it was asked before.
    Disconnect,
    /// Open a new connection to it, and report [`Report::Probed`].
    Probe,
    /// Remove there what it has missed. To be confirmed.
    Replay,
    /// Let requests for its keys wait, but for the share that it has, and remove there what it has missed since.
    /// To be confirmed. What follows is that it is used for this share of its keys.
    Close(Share),
    /// Use it for this share of its keys; others go on standing in for the rest.
    Warm(Share),
    /// Use it.
    Return,
    /// The operator wants it back: what it has refused to remove may stay there.
    Forgive,
    /// Go on using it: too many servers are away.
    Keep,
    /// Ask it no more about keys that move away from it, and let requests for them wait. To be confirmed.
    HoldMoves,
    /// No worker asks it about keys that move away from it: go on without its values.
    GiveUp,
}

/// Who gets an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Every worker.
    All,
    /// The worker with this number.
    One(usize),
}

/// What a worker says of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It should be ejected.
    Failing(ServerError),
    /// The order of this round is carried out.
    Done(u32),
    /// The order of this round can't be carried out, because the server failed.
    Failed(u32, ServerError),
    /// What the server has missed is not all known: what is removed there does not suffice.
    Overflowed,
    /// Keys move away from it, and their values can't be had there.
    GivingUp,
    /// What became of a probe.
    Probed(Result<(), ServerError>),
}

/// What an operator wants of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Eject it, until [`Command::Return`].
    Eject,
    /// Likewise, when the clients have ended what they have begun there: transactions, blocking commands and
    /// subscriptions.
    Drain,
    /// Use it again, once it answers.
    Return,
}

/// How a server stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How far it is from being used.
    pub stage: Stage,
    /// Why it is not used.
    pub error: Option<ServerError>,
    /// When it is tried next.
    pub next_try: Option<Instant>,
    /// Of which of its keys it is used.
    pub share: Share,
    /// Whether the operator has ejected it.
    pub by_operator: bool,
}

/// How far a server is from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is used.
    Live,
    /// It is used until clients have ended what they have begun there.
    Draining,
    /// Workers leave it.
    Leaving,
    /// It is probed now and then.
    Away,
    /// It stays away, or gets no more of its keys, until the operator lets it return.
    Held,
    /// It is used for a share of its keys, which grows.
    Warming,
    /// What it has missed is removed there.
    Returning,
}

/// An order, with whom and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The server's number.
    pub server: u64,
    /// Who is to carry it out.
    pub to: To,
    /// What is to be done.
    pub order: Order,
    /// The round that the worker names when it is done.
    pub round: u32,
}
