//! Requests that are not about keys: for all servers, or for one after the other by a cursor.

use super::Mux;
use super::Options;
use super::id::ClientId;
use super::request::Intake;
use crate::error::ServerError;
use crate::message::{All, Class, Cursor, Merge};
use crate::protocol::Refusal;
use crate::redis::command::Permission;
use crate::time::Instant;

impl Mux {
    /// Queues a request for all servers.
    pub(super) fn take_all(&mut self, id: ClientId, all: &All<'_>, now: Instant) -> Intake {
        let Options { protocol, allow_flush, redis, .. } = &self.shared.options;
        let (protocol, refusal) = (
            *protocol,
            match all.permission {
                Permission::Flush if !allow_flush => Some(Refusal::Flush),
                Permission::Keys if !redis.allow_keys => Some(Refusal::Keys),
                _ => None,
            },
        );
        if let Some(refusal) = refusal {
            return self.answer_unless_silent(id, all.expect, protocol.refusal(refusal));
        }
        if self.servers.routes.members().is_empty() {
            self.fail_here(id, all.expect, ServerError::NoServers);
            return Intake::Accepted;
        }
        let lane = self.lane(id);
        if let Some(server) = self.servers.undecided() {
            return self.wait_for_decision(id, server, all.expect, now);
        }
        if !self.servers.routes.is_whole()
            && let Some(error) = self.miss_all(all)
        {
            self.fail_here(id, all.expect, error);
            return Intake::Accepted;
        }
        let mut join = self.clients.joins.begin(all.merge, protocol);
        for index in 0..self.servers.routes.members().len() {
            let member = self.servers.routes.members()[index];
            if self.servers.why_not_asked(member).is_some() {
                continue;
            }
            let conn = self.servers.lane(lane, member);
            if self.must_wait(conn) {
                self.clients.joins.reuse(join);
                return self.wait_for(id, conn, all.expect, now);
            }
            join.add_keyless(conn);
        }
        for server in self.servers.gutter_for(all) {
            let conn = self.servers.lane(lane, server);
            if self.must_wait(conn) {
                self.clients.joins.reuse(join);
                return self.wait_for(id, conn, all.expect, now);
            }
            join.add_keyless(conn);
        }
        if all.permission == Permission::Flush {
            self.shared.stats.cmd_flush.add(1);
        }
        let slot = self.clients.new_slot(&mut self.shared, id, 1, all.expect);
        join.slot = slot;
        self.send_fragments((all.expect, Class::Other), join, now, |_, _, out| {
            all.wire.write(out);
        });
        Intake::Accepted
    }

    /// Queues a request for the server that the client's cursor names.
    pub(super) fn take_cursor(
        &mut self,
        id: ClientId,
        cursor: &Cursor<'_>,
        now: Instant,
    ) -> Intake {
        let protocol = self.shared.options.protocol;
        let servers = self.servers.routes.members().len();
        if servers == 0 {
            self.fail_here(id, cursor.expect, ServerError::NoServers);
            return Intake::Accepted;
        }
        let (own, server) = (cursor.cursor / servers as u64, cursor.cursor % servers as u64);
        let server = usize::try_from(server).expect("less than a usize");
        let member = self.servers.routes.members()[server];
        if self.servers.all[member.index()].health.is_undecided() {
            return self.wait_for_decision(id, member, cursor.expect, now);
        }
        if let Some(error) = self.servers.why_not_live(member) {
            self.fail_here(id, cursor.expect, error);
            return Intake::Accepted;
        }
        let conn = self.servers.lane(self.lane(id), member);
        if self.must_wait(conn) {
            return self.wait_for(id, conn, cursor.expect, now);
        }
        let mut join = self.clients.joins.begin(Merge::Cursor { server, servers }, protocol);
        join.add_keyless(conn);
        join.slot = self.clients.new_slot(&mut self.shared, id, 1, cursor.expect);
        self.send_fragments((cursor.expect, cursor.class), join, now, |_, _, out| {
            protocol.write_cursor((cursor.before, cursor.after), own, out);
        });
        Intake::Accepted
    }
}
