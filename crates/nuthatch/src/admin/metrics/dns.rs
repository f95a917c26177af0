//! The metrics of name look-ups, and of the servers that DNS tells of.

use super::text::{Kind, Text};
use crate::resolve::{Failure, Figures, Question};

pub(super) fn write(text: &mut Text, figures: &Figures) {
    let name = "dns_lookups_total";
    text.head(name, Kind::Counter, "Name look-ups that are done, failed ones too.");
    text.sample(name, &[], figures.look_ups());
    let name = "dns_lookup_failures_total";
    text.head(name, Kind::Counter, "Name look-ups that failed, by reason.");
    for failure in Failure::ALL {
        text.sample(name, &[("reason", failure.name())], figures.failures(failure));
    }
    let name = "dns_answer_age_seconds";
    text.head(name, Kind::Gauge, "Time since the last good answer for a name in use, in seconds.");
    for (question, age) in figures.ages() {
        let kind = match question {
            Question::Addresses(_) => "address",
            Question::Services(_) => "service",
        };
        let labels = [("name", &**question.name()), ("type", kind)];
        text.sample(name, &labels, age.as_secs_f64());
    }
    let discovered = figures.discovered();
    let name = "discovered_servers";
    text.head(name, Kind::Gauge, "Servers in the last answer to a dns+ or dnssrv+ entry.");
    for ((pool, entry), now) in &discovered {
        text.sample(name, &[("pool", pool), ("entry", entry)], now.servers);
    }
    let name = "discovered_ignored_total";
    text.head(
        name,
        Kind::Counter,
        "Answers ignored because they had more than discovered_max servers.",
    );
    for ((pool, entry), now) in &discovered {
        text.sample(name, &[("pool", pool), ("entry", entry)], now.ignored);
    }
}
