//! Where the requests for the keys of a server go while it is away.
//!
//! The one rule: a key that is used elsewhere, or whose change is dropped, is in the journal of its server first.

use super::id::{ClientId, ConnId, ServerId};
use super::join::SplitError;
use super::journal::{First, Note, Removal, Why};
use super::request::Intake;
use super::{Event, Mux};
use crate::error::ServerError;
use crate::health::{Ejection, OnFailure, OnOverflow, Report, Standing};
use crate::message::{All, Class, Group, One};
use crate::time::Instant;
use alloc::vec::Vec;
use core::iter;

/// Where a request goes whose server is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Around {
    /// Over the connection of a server that stands in.
    To(ConnId),
    /// It waits for room in the queue of this connection.
    Wait(ConnId),
    /// It waits for the decision who serves the keys of this server, which comes soon.
    Undecided(ServerId),
    /// Nowhere: its client gets this error.
    Refuse(ServerError),
    /// Nowhere: it is answered as if there were no value.
    Nowhere,
}

/// What a request does to the value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// No value becomes another one by it.
    Reads,
    Changes,
    /// There is no value: it is a channel, of which the subscribers are at its server.
    Channel,
}

impl Use {
    fn of_class(class: Class) -> Self {
        if class == Class::Get { Self::Reads } else { Self::Changes }
    }
}

impl Mux {
    /// Where a request of one key goes, whose server is not used. There is room for the request where it goes; of
    /// several keys, only the first needs some.
    #[cold]
    fn around(
        &mut self,
        (lane, request, owner): (usize, Option<u64>, ServerId),
        key: &[u8],
        key_use: Use,
        now: Instant,
    ) -> Around {
        let error = self.servers.error_of(owner);
        // The other server of a key that moves would not learn of the request.
        let is_moving = self.migration.is_some();
        let Some(ejection) = self.shared.options.ejection.filter(|_| !is_moving) else {
            return Around::Refuse(error);
        };
        match self.servers.all[owner.index()].health.standing {
            Standing::Live => return self.over(self.servers.lane(lane, owner), request),
            Standing::Left | Standing::Closing => return Around::Undecided(owner),
            Standing::Away | Standing::Replaying => {}
        }
        let has_stand_in = matches!(ejection.on_failure, OnFailure::Rehash | OnFailure::Gutter);
        if has_stand_in && key_use != Use::Channel {
            return self.stand_in((lane, request, owner), key, key_use, &ejection, now);
        }
        if key_use == Use::Changes {
            self.remember((owner, None), (key, true), &ejection, now);
        }
        match ejection.on_failure {
            OnFailure::Miss => Around::Nowhere,
            OnFailure::Error | OnFailure::Rehash | OnFailure::Gutter => Around::Refuse(error),
        }
    }

    /// Over this connection, once there is room. A request that has a key there already has room for all.
    fn over(&self, conn: ConnId, request: Option<u64>) -> Around {
        let is_begun = request == Some(self.servers[conn].fragment.0);
        if is_begun || !self.must_wait(conn) { Around::To(conn) } else { Around::Wait(conn) }
    }

    /// As [`Mux::around`], for a key of several.
    #[cold]
    pub(super) fn place_around(
        &mut self,
        place: (usize, Option<u64>, ServerId),
        key: &[u8],
        (reads, now): (bool, Instant),
    ) -> Result<ConnId, SplitError> {
        let key_use = if reads { Use::Reads } else { Use::Changes };
        match self.around(place, key, key_use, now) {
            Around::To(conn) => Ok(conn),
            Around::Wait(conn) => Err(SplitError::Full(conn)),
            Around::Undecided(server) => Err(SplitError::Undecided(server)),
            Around::Refuse(error) => Err(SplitError::NoServer(error)),
            Around::Nowhere => Err(SplitError::Nowhere),
        }
    }

    fn stand_in(
        &mut self,
        (lane, request, owner): (usize, Option<u64>, ServerId),
        key: &[u8],
        key_use: Use,
        ejection: &Ejection,
        now: Instant,
    ) -> Around {
        let (other, error) = match ejection.on_failure {
            OnFailure::Gutter => (self.servers.plan_gutter(key), ServerError::NoGutter),
            _ => (self.servers.routes.plan_around(key), ServerError::NoServers),
        };
        let is_returning = self.servers.all[owner.index()].health.is_returning();
        let error = if is_returning { ServerError::Returning } else { error };
        let Some(other) = other else { return Around::Refuse(error) };
        let conn = self.servers.lane(lane, other);
        match self.servers.all[other.index()].health.standing {
            Standing::Live => {}
            Standing::Left | Standing::Closing => return Around::Undecided(other),
            Standing::Away | Standing::Replaying => return Around::Refuse(error),
        }
        let way = self.over(conn, request);
        if ejection.journal_max == 0 || way == Around::Wait(conn) {
            return way;
        }
        let changes = key_use == Use::Changes;
        let first = self.remember((owner, Some(conn)), (key, changes), ejection, now);
        let forgets = ejection.on_overflow == OnOverflow::Return;
        if first == First::Purge || first == First::PurgeEachTime && !forgets {
            let journal = self.servers.all[owner.index()].journal.as_ref();
            let (journal, since) = journal.map_or((0, 0), |journal| {
                (journal.number, journal.since(self.servers.routes.place_of(key)))
            });
            let why = Why::StandsIn(self.servers.ring_changes(), since);
            let what = Removal::Key(key.into());
            self.remove(conn, Note { server: owner, journal, what, why }, now);
        }
        way
    }

    /// Notes in the journal of a server that a key of it is used elsewhere, over this connection, or was to be
    /// changed.
    pub(super) fn remember(
        &mut self,
        (owner, conn): (ServerId, Option<ConnId>),
        (key, changes): (&[u8], bool),
        ejection: &Ejection,
        now: Instant,
    ) -> First {
        if ejection.journal_max == 0 {
            return First::Nothing;
        }
        let ring = self.servers.ring_changes();
        let place = self.servers.routes.place_of(key);
        let server = &mut self.servers.all[owner.index()];
        let journal = server.journal_or_new(&mut self.shared);
        let (before, had_overflowed) = (journal.bytes(), journal.has_overflowed());
        // Half of the memory is for clients: none is closed for a journal.
        let free = (self.shared.options.limits.memory_max / 2).saturating_sub(self.clients.memory);
        let bytes_max = ejection.journal_max.min(before + free);
        let first = journal.note(place, changes, (ring, conn), bytes_max);
        let overflows = journal.has_overflowed() && !had_overflowed;
        self.clients.memory = self.clients.memory - before + journal.bytes();
        if overflows {
            self.servers.all[owner.index()].stats.more.journal_overflows.add(1);
            self.shared.events.push_back(Event::JournalFull { server: owner });
            self.report(owner, Report::Overflowed);
        }
        if self.servers.all[owner.index()].health.is_warming() {
            self.relieve_journal(owner, bytes_max, now);
        }
        self.servers.publish_journal(owner);
        first
    }

    /// Sends a request of one key around its server, or answers it.
    #[cold]
    pub(super) fn take_around(
        &mut self,
        id: ClientId,
        (one, key): (&One<'_>, &[u8]),
        owner: ServerId,
        now: Instant,
    ) -> Intake {
        let is_channel = self.shared.options.protocol.names_channel(one);
        let key_use = if is_channel { Use::Channel } else { Use::of_class(one.class) };
        match self.around((self.lane(id), None, owner), key, key_use, now) {
            Around::To(conn) => self.send_instead(id, conn, (one, key, iter::empty()), now),
            Around::Wait(conn) => self.wait_for(id, conn, one.expect, now),
            Around::Undecided(server) => self.wait_for_decision(id, server, one.expect, now),
            Around::Refuse(error) => {
                self.fail_here(id, one.expect, error);
                Intake::Accepted
            }
            Around::Nowhere => self.answer_absent(id, one),
        }
    }

    /// Sends a request of several keys around their server, if the same server stands in for all of them.
    #[cold]
    pub(super) fn take_group_around(
        &mut self,
        id: ClientId,
        group: &Group<'_>,
        owner: ServerId,
        now: Instant,
    ) -> Intake {
        let (one, lane) = (&group.one, self.lane(id));
        if let Some(error) = group.alone
            && self.servers.all[owner.index()].health.is_away()
            && self.shared.options.ejection.is_some_and(|it| it.on_failure == OnFailure::Gutter)
        {
            // It may write keys that it does not name, which nobody would remove or cap.
            return self.refuse_group(id, error);
        }
        let key_use = Use::of_class(one.class);
        self.clients.next_request += 1;
        let request = self.clients.next_request;
        let mut way = None;
        for key in [one.key].into_iter().chain(group.others) {
            let next = self.around((lane, Some(request), owner), key, key_use, now);
            if let Around::To(conn) = next {
                self.servers[conn].fragment_in(request, 0);
            }
            if way.is_some_and(|way| way != next) {
                way = Some(Around::Refuse(self.servers.error_of(owner)));
                break;
            }
            way = Some(next);
        }
        match way {
            Some(Around::To(conn)) => {
                self.send_instead(id, conn, (one, one.key, group.others), now)
            }
            Some(Around::Refuse(error)) => {
                self.fail_here(id, one.expect, error);
                Intake::Accepted
            }
            _ => self.take_around(id, (one, one.key), owner, now),
        }
    }

    /// A request of several keys can't go anywhere, as only some of them have returned. It waits if that is about to
    /// change.
    #[cold]
    pub(super) fn refuse_in_part(
        &mut self,
        id: ClientId,
        one: &One<'_>,
        error: ServerError,
        now: Instant,
    ) -> Intake {
        match self.servers.routes.plan(one.key).server() {
            Some(server) if self.servers.all[server.index()].health.is_undecided() => {
                self.wait_for_decision(id, server, one.expect, now)
            }
            _ => {
                self.fail_here(id, one.expect, error);
                Intake::Accepted
            }
        }
    }

    /// A request for all servers misses those that are not used. Returns why it can't be carried out by the
    /// others, unless what they miss can be made up for.
    #[cold]
    pub(super) fn miss_all(&mut self, all: &All<'_>) -> Option<ServerError> {
        let members = self.servers.routes.members();
        if !all.is_for_each() {
            // Of its other keys, a server that returns holds what was deleted elsewhere.
            return members.iter().find_map(|id| self.servers.why_not_live(*id));
        }
        let missing: Vec<ServerId> = members
            .iter()
            .copied()
            .filter(|id| self.servers.why_not_asked(*id).is_some())
            .collect();
        let error = self.servers.why_not_asked(*missing.first()?)?;
        let ejection = self.shared.options.ejection.unwrap_or_default();
        let protocol = self.shared.options.protocol;
        let mut flush = Vec::new();
        let missed = protocol.write_missed_flush(all, &mut flush);
        let is_made_up = ejection.on_failure != OnFailure::Error
            && ejection.journal_max > 0
            && (missing.len() < self.servers.routes.members().len()
                || !self.servers.gutter_for(all).is_empty());
        let Some((expect, is_whole)) = missed.filter(|_| is_made_up) else { return Some(error) };
        for id in missing {
            let journal = self.servers.all[id.index()].journal_or_new(&mut self.shared);
            if is_whole || !journal.has_flush() {
                journal.note_flush(flush.clone(), expect);
            }
        }
        None
    }

    /// Answers a request as if its server had no such key, and had no room.
    fn answer_absent(&mut self, id: ClientId, one: &One<'_>) -> Intake {
        let is_resp3 = self.shared.has_resp3() && self.clients[id].session.is_resp3();
        let mut reply = self.shared.spares.take();
        let outcome = self.shared.options.protocol.write_absent(one, is_resp3, &mut reply);
        match outcome {
            Some(outcome) => {
                self.count_one(one);
                self.shared.stats.results.add(one.class, outcome, 1);
                let is_hidden = one.expect.hidden.contains(outcome);
                let shown = if is_hidden { &b""[..] } else { &reply };
                self.clients.answer_here(&mut self.shared, id, shown);
            }
            None => self.fail_here(id, one.expect, ServerError::NoServers),
        }
        self.shared.spares.give(reply);
        Intake::Accepted
    }
}
