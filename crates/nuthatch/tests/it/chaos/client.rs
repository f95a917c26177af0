//! A client: it writes its own keys, reads those of everybody, and judges every reply.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Add;
use std::thread;
use std::time::{Duration, Instant};

use crate::conn::{Broken, Conn, show};
use crate::random::Random;

use super::history::{Asked, History, KEYS_EACH, KeyId, Verdict, owner, version_of};
use super::question::{About, Question, Speech};
use super::reply::Protocol;

/// So many requests at most are sent without a wait for their replies.
const PIPELINE: usize = 16;

/// What became of the requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: u64,
    /// Replies that said that there is none.
    pub(super) errors: u64,
    /// What they said.
    pub(super) reasons: BTreeMap<String, u64>,
    /// Connections that the proxy closed.
    pub(super) closed: u64,
    /// Requests that got no reply, no error and no end of the connection.
    pub(super) lost: u64,
    /// Replies that took longer than `Manner::late_after`.
    pub(super) late: u64,
    pub(super) slowest: Duration,
    /// Replies that are not those of the request.
    pub(super) wrong: u64,
    /// Values older than what was acknowledged before.
    pub(super) stale: u64,
    /// Old values whose write got an error, and happened later.
    pub(super) revived: u64,
    /// Replies of a server that lies which the command has, though not in this form: the proxy can only
    /// tell what the replies of a kind of command are.
    pub(super) lies: u64,
    /// Reads that found a value.
    pub(super) hits: u64,
    /// The first few that are wrong or stale.
    pub(super) examples: Vec<String>,
}

impl Add for Tally {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.requests += other.requests;
        self.errors += other.errors;
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        self.closed += other.closed;
        self.lost += other.lost;
        self.late += other.late;
        self.slowest = self.slowest.max(other.slowest);
        self.wrong += other.wrong;
        self.stale += other.stale;
        self.revived += other.revived;
        self.lies += other.lies;
        self.hits += other.hits;
        self.examples.extend(other.examples);
        self
    }
}

/// How a client behaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) speech: Speech,
    /// Whether it sends several requests at once.
    pub(super) pipelines: bool,
    /// Whether its servers lie.
    pub(super) is_lied_to: bool,
    pub(super) late_after: Duration,
    /// How long it waits for a reply before the request is lost.
    pub(super) patience: Duration,
}

/// A counter of the client's own. After whatever leaves open what it holds, the next one is used.
#[derive(Debug, Default)]
struct Counter {
    generation: u64,
    has_begun: bool,
    last: usize,
}

#[derive(Debug)]
pub(super) struct Client<'h> {
    number: usize,
    port: u16,
    conn: Conn,
    manner: Manner,
    history: &'h History,
    random: Random,
    counter: Counter,
    /// What this client wrote and was acknowledged in the batch so far: a later read of the batch was sent
    /// before that, and must find it all the same.
    own: BTreeMap<KeyId, u64>,
    pub(super) tally: Tally,
}

impl<'h> Client<'h> {
    pub(super) fn new(
        number: usize,
        port: u16,
        manner: Manner,
        history: &'h History,
        random: Random,
    ) -> Self {
        Self {
            number,
            port,
            conn: connect(port, manner),
            manner,
            history,
            random,
            counter: Counter::default(),
            own: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Sends some requests and reads their replies; how many there were.
    pub(super) fn converse(&mut self) -> u64 {
        let most = if self.manner.pipelines { PIPELINE } else { 1 };
        let count = 1 + self.random.below(most);
        let questions: Vec<_> = (0..count).map(|_| self.question()).collect();
        let errors = self.tally.errors;
        let count = self.ask(&questions);
        if self.tally.errors > errors {
            // An error costs nothing, and would be most of what is asked.
            thread::sleep(Duration::from_millis(2));
        }
        count
    }

    /// Reads all keys, one after the other; false if there was an error.
    pub(super) fn reads_all(&mut self) -> bool {
        let before = (self.tally.errors, self.tally.closed);
        for key in 0..self.history.len() {
            let question = self.read(vec![key]);
            self.ask(&[question]);
        }
        before == (self.tally.errors, self.tally.closed)
    }

    fn ask(&mut self, questions: &[Question]) -> u64 {
        self.own.clear();
        let requests: Vec<_> = questions.iter().map(|question| &question.request[..]).collect();
        let asked = Instant::now();
        self.conn.send(requests.concat());
        let count = questions.len() as u64;
        self.tally.requests += count;
        for (nth, question) in (0..).zip(questions) {
            let reply = match self.manner.speech.protocol {
                Protocol::Memcached => self.conn.read_reply(),
                Protocol::Redis => self.conn.read_resp(),
            };
            let took = asked.elapsed();
            self.tally.slowest = self.tally.slowest.max(took);
            self.tally.late += u64::from(took > self.manner.late_after);
            match reply {
                Ok(reply) if self.judge(question, &reply) => {}
                // What follows is of no use.
                Ok(_) => return self.reconnect(count),
                Err(Broken::Closed(_)) => {
                    self.tally.closed += 1;
                    return self.reconnect(count);
                }
                Err(Broken::TimedOut(got)) => {
                    self.tally.lost += count - nth;
                    self.note(question, &got, "lost");
                    return self.reconnect(count);
                }
            }
        }
        count
    }

    fn reconnect(&mut self, count: u64) -> u64 {
        self.retire_counter();
        self.conn = connect(self.port, self.manner);
        count
    }

    fn note(&mut self, question: &Question, reply: &[u8], what: &str) {
        if self.tally.examples.len() < 3 {
            let (request, reply) = (show(&question.request), show(reply));
            let about = match &question.about {
                About::Read(asked) => format!(" {asked:?}"),
                _ => String::new(),
            };
            self.tally.examples.push(format!("{what}: {request}{about}\n  got {reply}"));
        }
    }

    /// Counts a reply; false if it is the reply to another request.
    fn judge(&mut self, question: &Question, reply: &[u8]) -> bool {
        if self.manner.speech.is_error(reply) {
            self.tally.errors += 1;
            *self.tally.reasons.entry(show(reply.trim_ascii_end())).or_default() += 1;
            if matches!(question.about, About::Count(_) | About::CounterBegins) {
                self.retire_counter();
            }
            return true;
        }
        if self.manner.is_lied_to && self.manner.speech.is_likely_lie(&question.about, reply) {
            self.tally.lies += 1;
            return true;
        }
        let verdict = match &question.about {
            About::Read(asked) => self.judge_read(asked, reply),
            About::Write(key, version, _) if question.about.is_answer(reply) => {
                self.history.acknowledge(*key, *version);
                self.own.insert(*key, *version);
                Verdict::Right
            }
            About::CounterBegins if reply == b"STORED\r\n" => Verdict::Right,
            About::Count(generation) => self.judge_count(*generation, reply),
            About::Write(..) | About::CounterBegins => Verdict::Wrong,
        };
        match verdict {
            Verdict::Right | Verdict::Revived => {}
            Verdict::Stale => self.note(question, reply, "stale"),
            Verdict::Wrong => {
                self.tally.wrong += 1;
                self.note(question, reply, "wrong");
            }
        }
        verdict != Verdict::Wrong
    }

    /// The worst that is found.
    fn judge_read(&mut self, asked: &[Asked], reply: &[u8]) -> Verdict {
        let Some(found) = self.manner.speech.found(asked, reply) else { return Verdict::Wrong };
        let mut worst = Verdict::Right;
        for (place, value) in found {
            let mut asked = asked[place];
            asked.floor = self.own.get(&asked.key).map_or(asked.floor, |&own| own.max(asked.floor));
            let Some(version) = version_of(asked.key, value) else { return Verdict::Wrong };
            self.tally.hits += 1;
            match self.history.judge(asked, version) {
                Verdict::Right => {}
                Verdict::Revived => self.tally.revived += 1,
                Verdict::Stale => {
                    self.tally.stale += 1;
                    worst = Verdict::Stale;
                }
                Verdict::Wrong => return Verdict::Wrong,
            }
        }
        worst
    }

    fn judge_count(&mut self, generation: u64, reply: &[u8]) -> Verdict {
        let speech = self.manner.speech;
        let number = speech.number(reply);
        if generation != self.counter.generation {
            // Of a counter that was given up: any number will do.
            let is_answer = number.is_some() || reply == b"NOT_FOUND\r\n";
            return if is_answer { Verdict::Right } else { Verdict::Wrong };
        }
        match number {
            Some(number) if number == self.counter.last + 1 => {
                self.counter.last = number;
                Verdict::Right
            }
            // The server has lost it; Redis begins anew.
            Some(1) if speech.protocol == Protocol::Redis => {
                self.retire_counter();
                Verdict::Right
            }
            Some(number) if number <= self.counter.last => {
                self.tally.stale += 1;
                self.retire_counter();
                Verdict::Stale
            }
            None if reply == b"NOT_FOUND\r\n" => {
                self.retire_counter();
                Verdict::Right
            }
            Some(_) | None => Verdict::Wrong,
        }
    }

    fn retire_counter(&mut self) {
        self.counter = Counter { generation: self.counter.generation + 1, ..Counter::default() };
    }

    fn question(&mut self) -> Question {
        let speech = self.manner.speech;
        // A number does not tell whose it is, so nobody counts where servers lie.
        match self.random.below(if self.manner.is_lied_to { 11 } else { 12 }) {
            0..3 => {
                let key = self.own_key();
                let version = self.history.begin(key);
                let padding = if self.random.one_in(60) { 20_000 } else { self.random.below(200) };
                speech.write(key, version, padding)
            }
            3 => {
                let key = self.own_key();
                let version = self.history.begin(key);
                speech.delete(key, version)
            }
            4..8 => {
                let key = self.any_key();
                self.read(vec![key])
            }
            8..11 => {
                let count = 2 + self.random.below(5);
                // No key twice: what nutcracker makes of that is no fault that is looked for here.
                let first = self.any_key();
                self.read((0..count).map(|nth| (first + 7 * nth) % self.history.len()).collect())
            }
            _ => self.count(),
        }
    }

    fn read(&self, keys: Vec<KeyId>) -> Question {
        let asked = keys.into_iter().map(|key| self.history.ask(key, self.number)).collect();
        self.manner.speech.read(asked, self.tally.requests)
    }

    fn count(&mut self) -> Question {
        let is_new = !self.counter.has_begun;
        self.counter.has_begun = true;
        match self.manner.speech.protocol {
            Protocol::Memcached if is_new => {
                Speech::begin_counter(self.number, self.counter.generation)
            }
            _ => self.manner.speech.count(self.number, self.counter.generation),
        }
    }

    fn own_key(&mut self) -> KeyId {
        self.number * KEYS_EACH + self.random.below(KEYS_EACH)
    }

    fn any_key(&mut self) -> KeyId {
        let key = self.random.below(self.history.len());
        // One's own more often than those of others.
        let mine = self.number * KEYS_EACH + key % KEYS_EACH;
        if owner(key) != self.number && self.random.one_in(2) { mine } else { key }
    }
}

fn connect(port: u16, manner: Manner) -> Conn {
    Conn::tcp((Ipv4Addr::LOCALHOST, port)).patient_for(manner.patience)
}
