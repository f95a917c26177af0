//! What the operator may have done through the admin port: a reload, and a server that is ejected or let back.
//!
//! The one rule: no page in a browser can do any of it, and what may cost values is for localhost.

use super::{Admin, Answer, page, pages};
use crate::control::{Asker, Control, Outcome, Reload, Trigger, Wish};
use crate::health::Told;
use hyper::StatusCode;
use hyper::header::{HeaderMap, ORIGIN};
use nuthatch_core::health;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The answer to who asks from elsewhere.
pub(super) const NOT_LOCAL: &str = "this is for the proxy's own machine or pod: send the request to localhost there, or \
     use kubectl port-forward";

/// A request that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Read the configuration again.
    Reload { is_forced: bool },
    /// Eject a server, or let it return; with its name and that of its pool, as the request has them.
    Server { what: health::Command, name: String, pool: Option<String> },
}

impl Command {
    /// The command of a path; none if it has none.
    pub(super) fn of(path: &str, query: &str) -> Option<Self> {
        if path == "/reload" {
            let is_forced = query.split('&').any(|pair| pair == "force=true");
            return Some(Self::Reload { is_forced });
        }
        let (name, what) = path.strip_prefix("/servers/")?.rsplit_once('/')?;
        let what = match what {
            "eject" => health::Command::Eject,
            "drain" => health::Command::Drain,
            "return" => health::Command::Return,
            _ => return None,
        };
        let pool = query.split('&').find_map(|pair| pair.strip_prefix("pool="));
        Some(Self::Server { what, name: name.to_owned(), pool: pool.map(str::to_owned) })
    }

    /// Whether a reader may do this.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn may_run(&self, headers: &HeaderMap, is_local: bool) -> Result<(), &'static str> {
        // A browser sends the header with each POST of a page. Without this rule, any page that somebody
        // near the proxy looks at could send the request.
        if headers.contains_key(ORIGIN) {
            return Err(
                "this is not for pages of a browser: send the request without Origin, as curl does",
            );
        }
        if *self != (Self::Reload { is_forced: false }) && !is_local {
            return Err(NOT_LOCAL);
        }
        Ok(())
    }
}

impl Admin {
    pub(super) async fn run(&self, command: Command) -> Answer {
        match command {
            Command::Reload { is_forced } => self.reload(is_forced).await,
            Command::Server { what, name, pool } => {
                self.command(what, &name, pool.as_deref()).await
            }
        }
    }

    /// Lets the leading thread read the configuration again, and waits for what becomes of it, which may
    /// take as long as DNS does.
    async fn reload(&self, is_forced: bool) -> Answer {
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else {
            let error = "one reload is under way and another one waits for it: retry in a second";
            return page(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error }));
        };
        let (reply, outcome) = oneshot::channel();
        let asker = Some(Asker { reply, _turn: turn });
        let wish = Reload { trigger: Trigger::Admin, is_forced, asker };
        let sent = self.control.send(Control::Wish(Wish::Reload(wish)));
        let outcome = if sent.is_ok() { outcome.await.ok() } else { None };
        let Some(outcome) = outcome else {
            let told = json!({ "error": "the proxy is draining" });
            return page(StatusCode::SERVICE_UNAVAILABLE, &told);
        };
        let result = outcome.result();
        let (status, told) = match outcome {
            Outcome::Changed { generation, changes } => (
                StatusCode::OK,
                json!({ "result": result, "generation": generation, "changes": changes }),
            ),
            Outcome::Unchanged => (StatusCode::OK, json!({ "result": result })),
            Outcome::Waits(why) => (StatusCode::ACCEPTED, json!({ "result": result, "why": why })),
            Outcome::Refused(errors) => {
                (StatusCode::UNPROCESSABLE_ENTITY, json!({ "result": result, "errors": errors }))
            }
        };
        page(status, &told)
    }

    /// Ejects a server or lets it return.
    async fn command(&self, what: health::Command, name: &str, pool: Option<&str>) -> Answer {
        let server = match pages::find_server(self, name, pool) {
            Ok(server) => server,
            Err(why) => return page(StatusCode::NOT_FOUND, &json!({ "error": why })),
        };
        let (reply, done) = oneshot::channel();
        let sent = self.health.send(Told::Command { server, command: what, reply });
        let is_done = sent.is_ok() && done.await.unwrap_or(false);
        let result = match what {
            _ if !is_done => {
                let error = "the server has just left the pool";
                return page(StatusCode::NOT_FOUND, &json!({ "error": error }));
            }
            health::Command::Eject => "ejected until it is let back with /return",
            health::Command::Drain => {
                "ejected once clients have ended what they have begun, until it is let back with /return"
            }
            health::Command::Return => "returns when it answers probes",
        };
        page(StatusCode::OK, &json!({ "result": result }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HOST, HeaderName, HeaderValue};

    fn reload(is_forced: bool) -> Command {
        Command::Reload { is_forced }
    }

    fn server(what: health::Command, name: &str, pool: Option<&str>) -> Command {
        Command::Server { what, name: name.into(), pool: pool.map(str::to_owned) }
    }

    #[test]
    fn a_path_is_a_command_or_a_page() {
        for (path, query, command) in [
            ("/reload", "", Some(reload(false))),
            ("/reload", "a=b&force=true", Some(reload(true))),
            ("/servers/m-0/eject", "", Some(server(health::Command::Eject, "m-0", None))),
            (
                "/servers/10.0.0.1:11211/return",
                "pool=p",
                Some(server(health::Command::Return, "10.0.0.1:11211", Some("p"))),
            ),
            ("/servers/%2Frun%2Fm.sock/eject", "", {
                Some(server(health::Command::Eject, "%2Frun%2Fm.sock", None))
            }),
            ("/servers/m-0/drain", "", Some(server(health::Command::Drain, "m-0", None))),
            ("/servers/m-0/stop", "", None),
            ("/servers", "", None),
            ("/servers/eject", "", None),
            ("/", "", None),
        ] {
            assert_eq!(Command::of(path, query), command, "{path}?{query}");
        }
    }

    #[test]
    fn pages_of_a_browser_can_do_nothing_and_only_neighbours_can_do_what_costs_values() {
        let with = |name: HeaderName| HeaderMap::from_iter([(name, HeaderValue::from_static("x"))]);
        let eject = server(health::Command::Eject, "m-0", None);
        for (header, command, is_local, may) in [
            (HOST, reload(false), false, true),
            (HOST, reload(true), true, true),
            (HOST, reload(true), false, false),
            (HOST, eject.clone(), true, true),
            (HOST, eject.clone(), false, false),
            (ORIGIN, reload(false), true, false),
            (ORIGIN, eject, true, false),
        ] {
            let may_it = command.may_run(&with(header.clone()), is_local).is_ok();
            assert_eq!(may_it, may, "{header} {command:?} {is_local}");
        }
    }
}
