//! Plays a script to both sides at once and compares what they say.
//!
//! The rule: behind each request stands a question of our own, whose answer names it. So an answer
//! is compared with that to the same request, and a reply that belongs to somebody else can't hide. Behind a
//! request that is not whole both sides get the same bytes before they are compared: what follows may be
//! taken for its rest.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use super::compare::Mask;
use super::protocol::Protocol;
use super::script::{Batch, Cutting, Kind, Names, Part, Request, Script, Then};
use super::verdict::{Answer, Case, Ended, Verdict};
use super::world::{Front, World};
use crate::conn::{Broken, Conn, show};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// An answer that is wrong.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// Equal for faults of the same kind.
    pub(super) signature: String,
    pub(super) story: String,
    /// The number of the batch that showed it.
    pub(super) batch: usize,
}

/// One client on both sides.
pub(super) struct Player<'a> {
    world: &'a World,
    script: &'a Script,
    kind: Kind,
    ours: Side,
    plain: Side,
    generation: usize,
    asked: usize,
    /// How many batches were played.
    pub(super) played: usize,
    /// A listed difference may have left other items on one side than on the other.
    in_doubt: bool,
    pub(super) faults: Vec<Fault>,
    /// Differences that were not judged, for that doubt.
    pub(super) passed_over: usize,
}

struct Side {
    conn: Conn,
    mask: Mask,
}

impl<'a> Player<'a> {
    pub(super) fn new(world: &'a World, script: &'a Script, kind: Kind) -> Self {
        let protocol = world.protocol();
        let side = |conn| Side { conn: greeted(protocol, conn, script), mask: Mask::default() };
        let (ours, plain) = (side(world.ours()), side(world.plain()));
        let faults = Vec::new();
        Self {
            world,
            script,
            kind,
            ours,
            plain,
            generation: 0,
            asked: 0,
            played: 0,
            in_doubt: false,
            faults,
            passed_over: 0,
        }
    }

    /// One batch; the connections are as good as new afterwards.
    pub(super) fn play(&mut self, batch: &Batch) {
        self.played += 1;
        let prefix = format!("{}{:02x}", self.script.owner, self.generation % 256);
        let markers: Vec<_> =
            (0..batch.requests.len()).map(|nth| format!("~{prefix}{}", self.asked + nth)).collect();
        self.asked += batch.requests.len();
        let mine: Vec<_> = self.requests(batch, &prefix, &self.ours.mask, |request| {
            match self.world.shape().front {
                Front::Plain => request.reference(),
                Front::Proxy { .. } | Front::Careless => &request.parts,
            }
        });
        let theirs: Vec<_> = self.requests(batch, &prefix, &self.plain.mask, Request::reference);
        let last = batch.requests.last().map_or(Then::GoOn, |request| request.then);
        let protocol = self.world.protocol();
        let all = with_markers(protocol, batch, &mine, &markers);
        let is_proxied = matches!(self.world.shape().front, Front::Proxy { .. });
        if last == Then::Leave {
            send(&mut self.ours.conn, &all.concat(), &batch.cutting);
            return self.start_anew();
        }
        self.in_doubt = false;
        let mut is_open = true;
        let mut sent = 0;
        for (nth, (request, marker)) in batch.requests.iter().zip(&markers).enumerate() {
            if is_proxied && nth == sent {
                sent = end_of_run(protocol, batch, &mine, nth);
                send(&mut self.ours.conn, &all[nth..sent].concat(), &batch.cutting);
                if last == Then::HalfClose && sent == all.len() {
                    self.ours.conn.shut_sending();
                }
            }
            // One by one: a plain server forgets what it has not sent yet, or its system does, when it
            // closes, and memcached also when it finds a key too long.
            self.plain.conn.send(with_marker(protocol, request, &theirs[nth], marker));
            if !is_proxied {
                self.ours.conn.send(with_marker(protocol, request, &mine[nth], marker));
            }
            if request.then == Then::HalfClose {
                self.plain.conn.shut_sending();
                self.ours.conn.shut_sending();
            }
            let plain = self.plain.answer(protocol, &theirs[nth], marker);
            let ours = self.ours.answer(protocol, &mine[nth], marker);
            self.judge(&Case { request: &mine[nth], plain: &plain, ours: &ours });
            is_open = plain.ended == Ended::Open && ours.ended == Ended::Open;
            if !is_open || request.then != Then::GoOn {
                break;
            }
        }
        if !is_open || self.in_doubt || last != Then::GoOn {
            self.start_anew();
        }
    }

    fn requests(
        &self,
        batch: &Batch,
        prefix: &str,
        mask: &Mask,
        parts: impl Fn(&Request) -> &[Part],
    ) -> Vec<Vec<u8>> {
        let names = Names { keys: &self.script.keys, prefix, cas_ids: &mask.cas_ids };
        batch.requests.iter().map(|request| names.bytes(parts(request))).collect()
    }

    fn judge(&mut self, case: &Case<'_>) {
        let protocol = self.world.protocol();
        match protocol.judge(case) {
            Verdict::Same => {}
            Verdict::Listed if self.kind == Kind::Fuzzing => self.in_doubt = true,
            _ if self.in_doubt => self.passed_over += 1,
            Verdict::Listed | Verdict::Different => {
                self.in_doubt = true;
                self.faults.push(Fault {
                    signature: protocol.signature(case),
                    story: story(case),
                    batch: self.played - 1,
                });
            }
        }
    }

    /// New connections and new keys.
    fn start_anew(&mut self) {
        self.generation += 1;
        let greeted = |conn| greeted(self.world.protocol(), conn, self.script);
        self.ours.conn = greeted(self.world.ours());
        self.plain.conn = greeted(self.world.plain());
    }
}

impl Side {
    /// Everything up to the answer to `marker`, without it, and without that to the question ahead
    /// of it, if there was one.
    fn answer(&mut self, protocol: Protocol, request: &[u8], marker: &str) -> Answer {
        let ahead = protocol.reply_to_marker(&format!("{marker}-"));
        let marker = protocol.reply_to_marker(marker);
        let (bytes, ended) = match self.conn.read_until(&marker) {
            Ok(mut bytes) => {
                bytes.truncate(bytes.len() - marker.len());
                if bytes.ends_with(&ahead) {
                    bytes.truncate(bytes.len() - ahead.len());
                }
                (bytes, Ended::Open)
            }
            Err(Broken::Closed(bytes)) => (bytes, Ended::Closed),
            Err(Broken::TimedOut(bytes)) => (bytes, Ended::Silent),
        };
        protocol.mask(&mut self.mask, request, &bytes, ended)
    }
}

/// A new connection on which the client has greeted, if it is one that does.
fn greeted(protocol: Protocol, conn: Conn, script: &Script) -> Conn {
    let mut conn = conn.patient_for(PATIENCE);
    if !script.greeting.is_empty() {
        conn.send(&script.greeting);
        protocol.read_greeting(&mut conn);
    }
    conn
}

/// The end of the requests from the one of this number on that can be sent at once: behind the first one that is
/// not whole.
fn end_of_run(protocol: Protocol, batch: &Batch, requests: &[Vec<u8>], from: usize) -> usize {
    let mut rest = from..requests.len();
    let odd = rest.find(|&nth| !protocol.is_whole(&batch.requests[nth], &requests[nth]));
    odd.map_or(requests.len(), |nth| nth + 1)
}

/// The requests, each with the question that shows where its answer ends.
fn with_markers(
    protocol: Protocol,
    batch: &Batch,
    requests: &[Vec<u8>],
    markers: &[String],
) -> Vec<Vec<u8>> {
    let requests = batch.requests.iter().zip(requests).zip(markers);
    let requests =
        requests.map(|((request, bytes), marker)| with_marker(protocol, request, bytes, marker));
    requests.collect()
}

fn with_marker(protocol: Protocol, request: &Request, bytes: &[u8], marker: &str) -> Vec<u8> {
    [bytes, &questions(protocol, request, bytes, marker)].concat()
}

fn questions(protocol: Protocol, request: &Request, bytes: &[u8], marker: &str) -> Vec<u8> {
    let ask = |name: &str| protocol.marker(name);
    match request.then {
        Then::GoOn if protocol.is_whole(request, bytes) => ask(marker),
        // The beginning of what follows may be taken for the rest of this request: not the marker.
        Then::GoOn => [ask(&format!("{marker}-")), ask(marker)].concat(),
        _ => vec![],
    }
}

fn send(conn: &mut Conn, bytes: &[u8], cutting: &Cutting) {
    /// More writes say nothing new, and take longer than the proxy waits for the client's end.
    const WRITES: usize = 400;
    let mut cuts: Vec<_> = match cutting {
        Cutting::Whole => vec![],
        Cutting::At(cuts) => cuts.iter().copied().filter(|&cut| cut < bytes.len()).collect(),
        Cutting::EachByte => (1..bytes.len().min(WRITES)).collect(),
    };
    cuts.sort_unstable();
    let mut sent = 0;
    for cut in cuts {
        conn.send(&bytes[sent..cut]);
        sent = cut;
        thread::yield_now();
    }
    conn.send(&bytes[sent..]);
}

fn story(case: &Case<'_>) -> String {
    let tell = |answer: &Answer| format!("{} {:?}", show(&answer.bytes), answer.ended);
    let (request, plain, ours) = (show(case.request), tell(case.plain), tell(case.ours));
    format!("  request {request}\n  plain   {plain}\n  ours    {ours}")
}

/// The bytes of a script as they are sent to the proxy by a client that saw no cas id. Of the questions only those
/// that may be taken for the rest of a request.
pub(super) fn transcript(protocol: Protocol, script: &Script) -> String {
    let prefix = format!("{}00", script.owner);
    let names = Names { keys: &script.keys, prefix: &prefix, cas_ids: &BTreeMap::new() };
    let mut text = String::new();
    for batch in &script.batches {
        for request in &batch.requests {
            let then = match request.then {
                Then::GoOn => "",
                Then::HalfClose => " (and shuts its sending half)",
                Then::Leave => " (and leaves)",
            };
            let bytes = names.bytes(&request.parts);
            text += &format!("    {}{then}\n", show(&bytes));
            if request.then == Then::GoOn && !protocol.is_whole(request, &bytes) {
                let questions = questions(protocol, request, &bytes, &format!("~{prefix}0"));
                text += &format!("      followed by {}\n", show(&questions));
            }
        }
        text += &format!(
            "    -- {}\n",
            match batch.cutting {
                Cutting::Whole => "in one write",
                Cutting::At(_) => "cut",
                Cutting::EachByte => "byte by byte",
            }
        );
    }
    text
}
