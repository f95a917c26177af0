//! The metrics of name look-ups, of requests to Kubernetes, and of the servers that both tell of.

use super::text::{Kind, Text};
use crate::generation::Generation;
use crate::resolve::{Failure, KubernetesFigures, Question, Trouble};

pub(super) fn write(text: &mut Text, generation: &Generation) {
    let figures = generation.resolver.figures();
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
            Question::Pods(_) => "pods",
        };
        let labels = [("name", &**question.name()), ("type", kind)];
        text.sample(name, &labels, age.as_secs_f64());
    }
    kubernetes(text, &figures.kubernetes);
    let mut discovered = figures.discovered();
    // An entry that a reload removed is no longer told of.
    discovered.retain(|(pool, entry), _| has_entry(generation, pool, entry));
    let name = "discovered_servers";
    text.head(
        name,
        Kind::Gauge,
        "Servers of a dns+, dnssrv+ or k8s+ entry, with those that are held.",
    );
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
    let name = "discovered_held";
    text.head(name, Kind::Gauge, "Servers that are no longer in DNS and that stay for now.");
    text.sample(name, &[], figures.held());
}

fn kubernetes(text: &mut Text, figures: &KubernetesFigures) {
    let name = "kubernetes_requests_total";
    text.head(name, Kind::Counter, "Requests to the API server of Kubernetes.");
    text.sample(name, &[], figures.requests());
    let name = "kubernetes_request_failures_total";
    text.head(name, Kind::Counter, "Failed requests to the API server of Kubernetes, by reason.");
    for trouble in Trouble::ALL {
        text.sample(name, &[("reason", trouble.name())], figures.failures(trouble));
    }
    let name = "kubernetes_answer_age_seconds";
    text.head(
        name,
        Kind::Gauge,
        "Age of what is known of the EndpointSlices of a Service, in seconds; 0 while they are watched.",
    );
    for (service, age) in figures.ages() {
        text.sample(name, &[("service", &service)], age.as_secs_f64());
    }
}

fn has_entry(generation: &Generation, pool: &str, entry: &str) -> bool {
    let of_pool = generation.pools.iter().filter(|shared| shared.pool.name == pool);
    of_pool.flat_map(|shared| &shared.pool.discovered).any(|found| found.configured == entry)
}
