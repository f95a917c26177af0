//! Follows one Service: a list, and then a watch, again and again.
//!
//! The one rule: what was listed stays until it is listed again as a whole, so a connection that is
//! lost costs one watch, and a list only if the API server no longer knows what came between. But no
//! watch is trusted for ever: one that is refused is followed by a list, and so are some that went well.

use super::account::Account;
use super::api::{self, End};
use super::client::{Client, check_room};
use super::slices::Slices;
use super::{Failed, Report};
use crate::config::Service;
use crate::resolve::Options;
use crate::resolve::figures::Figures;
use crate::resolve::thread::Ask;
use crate::resolve::trouble::Trouble;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::time::{Instant, sleep, timeout};

/// The task of one Service.
#[derive(Debug)]
pub(super) struct Follower {
    service: Service,
    folder: PathBuf,
    /// The file that names the name servers.
    resolv_conf: PathBuf,
    figures: Arc<Figures>,
    reports: WeakUnboundedSender<Ask>,
    slices: Slices,
    /// That of `slices`; empty if they must be listed.
    version: String,
    /// How many watches there were since the last list.
    watches: u32,
    /// Whether the present watch works.
    works: bool,
}

/// Where the Service is read.
#[derive(Debug)]
struct Place {
    account: Account,
    namespace: String,
    path: String,
}

impl Follower {
    pub(super) fn new(
        service: &Service,
        options: &Options,
        figures: &Arc<Figures>,
        reports: &WeakUnboundedSender<Ask>,
    ) -> Self {
        Self {
            service: service.clone(),
            folder: options.service_account.clone(),
            resolv_conf: options.resolv_conf.clone(),
            figures: Arc::clone(figures),
            reports: reports.clone(),
            slices: Slices::default(),
            version: String::new(),
            watches: 0,
            works: false,
        }
    }

    /// Follows the Service until the task is ended.
    pub(super) async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let start = Instant::now();
            match self.session().await {
                Ok(()) => {}
                Err(End::Gone) => self.version.clear(),
                Err(End::Failed(failed)) => self.report(Report::Fails(failed)),
            }
            if start.elapsed() >= LONG {
                pause = PAUSE_MIN;
            }
            sleep(pause_of(pause, random())).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// A list, if it is needed or due, and a watch until it ends.
    async fn session(&mut self) -> Result<(), End> {
        let place = self.place().map_err(End::Failed)?;
        let mut client = self.connect(&place).await?;
        let is_listed = self.list_if_due(&mut client, &place).await?;
        self.works = false;
        let Err(end) = self.watch(&mut client, &place).await else { return Ok(()) };
        let failed = match end {
            End::Failed(failed) => failed,
            // A version that was listed just now is never too old.
            End::Gone if is_listed && !self.works => {
                let text = "410: the API server refuses to watch from the version of its list";
                Failed::new(Trouble::Refused, text)
            }
            End::Gone => return Err(End::Gone),
        };
        if may_watch_again(failed.trouble) {
            return Err(End::Failed(failed));
        }
        self.version.clear();
        let is_only_watch = is_listed && !self.works;
        self.report(if is_only_watch { Report::Unwatched(failed) } else { Report::Fails(failed) });
        Ok(())
    }

    fn place(&self) -> Result<Place, Failed> {
        let account = Account::read(&self.folder)?;
        let namespace = self.service.namespace().unwrap_or(&account.namespace).to_owned();
        let path = api::path(&namespace, self.service.object());
        Ok(Place { account, namespace, path })
    }

    async fn connect(&self, place: &Place) -> Result<Client, End> {
        Client::connect(&place.account, &self.resolv_conf).await
    }

    /// Returns whether the Service was listed. A list that is only due may fail: the watch still tells
    /// what changes, and the next session tries again.
    async fn list_if_due(&mut self, client: &mut Client, place: &Place) -> Result<bool, End> {
        let is_needed = self.version.is_empty();
        if !is_needed && self.watches < WATCHES_MAX {
            return Ok(false);
        }
        match self.list(client, place).await {
            Ok(()) => {
                self.watches = 0;
                self.publish(&place.namespace);
                Ok(true)
            }
            Err(End::Failed(failed)) if !is_needed => {
                self.report(Report::Unlisted(failed));
                // The former connection may still be busy with the list.
                *client = self.connect(place).await?;
                Ok(false)
            }
            Err(end) => Err(end),
        }
    }

    /// Watches until the watch ends.
    async fn watch(&mut self, client: &mut Client, place: &Place) -> Result<(), End> {
        self.watches = self.watches.saturating_add(1);
        let time = WATCH_MIN.mul_f64(1.0 + random());
        let by = Instant::now() + time + ANSWER_TIME_MAX;
        let request = api::watch(&place.path, &self.version, time);
        self.figures.kubernetes.note_request();
        let mut answer = client.get(&request, ("watch", &place.namespace), by).await?;
        let mut left = Vec::new();
        // A watch that is ended at once is as good as one that is refused.
        let mut next = match timeout(SETTLE, answer.next()).await {
            Ok(next) => next?,
            Err(_) => {
                self.note_works();
                answer.next().await?
            }
        };
        while let Some(bytes) = next {
            check_room(left.len() + bytes.len())?;
            left.extend_from_slice(&bytes);
            self.take(&mut left, &place.namespace)?;
            next = answer.next().await?;
        }
        // An event that was cut off comes again, because its version was not taken.
        self.note_works();
        Ok(())
    }

    /// Takes the events that are complete.
    fn take(&mut self, left: &mut Vec<u8>, namespace: &str) -> Result<(), End> {
        let before = left.len();
        let (has_changed, outcome) = self.take_events(left);
        if has_changed {
            self.publish(namespace);
        }
        outcome?;
        if left.len() < before {
            self.note_works();
        }
        Ok(())
    }

    /// The watch works. This is told once.
    fn note_works(&mut self) {
        if !std::mem::replace(&mut self.works, true) {
            self.report(Report::Watches);
        }
    }

    async fn list(&mut self, client: &mut Client, place: &Place) -> Result<(), End> {
        let mut slices = Slices::default();
        let mut next = String::new();
        for _ in 0..PAGES_MAX {
            let by = Instant::now() + ANSWER_TIME_MAX;
            self.figures.kubernetes.note_request();
            let page =
                client.get(&api::list(&place.path, &next), ("list", &place.namespace), by).await?;
            let (more, version) = api::take_page(&mut slices, &page.whole().await?)?;
            if more.is_empty() {
                (self.slices, self.version) = (slices, version);
                return Ok(());
            }
            next = more;
        }
        let text =
            format!("a list of the API server has more than {PAGES_MAX} pages, which is the limit");
        Err(End::new(Trouble::TooLarge, text))
    }

    /// Takes the complete lines, up to one that is an error. Returns whether one of them changes a slice:
    /// those before an error count.
    fn take_events(&mut self, bytes: &mut Vec<u8>) -> (bool, Result<(), End>) {
        let Some(end) = end_of_last_line(bytes) else { return (false, Ok(())) };
        let mut has_changed = false;
        for line in bytes[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match api::take_event(&mut self.slices, &mut self.version, line) {
                Ok(is_change) => has_changed |= is_change,
                Err(error) => return (has_changed, Err(error)),
            }
        }
        bytes.drain(..end);
        (has_changed, Ok(()))
    }

    fn publish(&self, namespace: &str) {
        let service =
            format!("{}.{namespace}.svc.{}", self.service.object(), self.service.domain());
        let pods = self.slices.pods(&service);
        if pods.is_empty() {
            let text = format!(
                "Service {} in namespace {namespace} has no pods in its EndpointSlices; check its name and \
                 its selector",
                self.service.object()
            );
            return self.report(Report::Fails(Failed::new(Trouble::NoPods, text)));
        }
        self.report(Report::Pods(pods));
    }

    fn report(&self, report: Report) {
        if let Some(reports) = self.reports.upgrade() {
            let _ = reports.send(Ask::Reported(self.service.clone(), report));
        }
    }
}

/// Whether a watch that ended so may go on where it was. Otherwise the API server answered, and not as
/// one that can be watched, or not at all.
fn may_watch_again(trouble: Trouble) -> bool {
    // Without a valid token, lists are refused, too.
    matches!(trouble, Trouble::Unreachable | Trouble::Unauthorized)
}

/// Behind the last complete line.
fn end_of_last_line(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|byte| *byte == b'\n').map(|last| last + 1)
}

/// At least half of the longest pause.
fn pause_of(longest: Duration, random: f64) -> Duration {
    longest.mul_f64(0.5 + random / 2.0)
}

/// From 0 to 1. Many proxies must not come back at the same moment.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(()) >> 32;
    f64::from(u32::try_from(bits).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

/// A server that says for ever that there is more ends nowhere.
const PAGES_MAX: usize = 100;

/// The time for one page of a list, and how much later than asked for a watch may end.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// The shortest watch; the longest is twice as long. If the API server stops telling and does not close
/// the connection, this is how long a change can go unseen.
const WATCH_MIN: Duration = Duration::from_secs(60);

/// A watch that lasts for so long works, though it tells nothing.
const SETTLE: Duration = Duration::from_secs(1);

/// After so many watches the Service is listed again, in case that they do not tell everything.
const WATCHES_MAX: u32 = 4;

/// The longest pause after a session doubles up to the maximum, until a session lasts for long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/discovery.md"));

    #[test]
    fn the_document_has_the_pauses() {
        let shortest = pause_of(PAUSE_MIN, 0.0).as_secs_f64();
        let longest = pause_of(PAUSE_MAX, 1.0).as_secs_f64();
        let text = format!("tries again after {shortest} to {longest} seconds");
        assert!(DOCUMENT.contains(&text), "{text}");
    }

    #[test]
    fn the_document_says_when_the_service_is_listed_again() {
        let longest = (2 * WATCH_MIN + PAUSE_MAX) * WATCHES_MAX;
        let minutes = longest.as_secs() / 60;
        let text = format!("lists again after {WATCHES_MAX} watches, so after {minutes} minutes");
        assert!(DOCUMENT.contains(&text), "{text}");
    }
}
