//! One look-up: the hosts file is already asked, so this is DNS.
//!
//! The one rule: the search list works as in the system's resolver. A name that does not exist, or
//! whose name server can't answer, is looked up in the next domain; silence ends the look-up.

use super::conf::Conf;
use super::figures::Failure;
use super::names::{Family, Found, Life, Outcome, Question, Service};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

/// What speaks with the name servers of a `resolv.conf`.
#[derive(Clone)]
pub(super) struct Engine {
    conf: Conf,
    dns: TokioResolver,
}

/// The records of one name and type.
type Records = Result<(Vec<RData>, Duration), Failure>;

impl Engine {
    pub(super) fn new(conf: Conf) -> Result<Self, NetError> {
        let servers = conf.servers.iter().copied().map(name_server).collect();
        let mut builder = TokioResolver::builder_with_config(
            ResolverConfig::from_name_servers(servers),
            TokioRuntimeProvider::default(),
        );
        options(builder.options_mut(), &conf);
        Ok(Self { conf, dns: builder.build()? })
    }

    /// Looks a question up.
    pub(super) async fn ask(&self, question: &Question) -> Outcome {
        let mut worst = Failure::NoName;
        for candidate in self.conf.candidates(question.name()) {
            let Some(name) = name_of(&candidate) else { continue };
            let outcome = match question {
                Question::Addresses(_) => self.addresses(name).await,
                Question::Services(_) => self.services(name).await,
                // Not a question for DNS.
                Question::Pods(_) => return Outcome::Failed(Failure::NoRecord),
            };
            match outcome {
                Outcome::Failed(failure @ (Failure::TimedOut | Failure::Unreachable)) => {
                    return Outcome::Failed(failure);
                }
                Outcome::Failed(failure) => worst = worst.max(failure),
                Outcome::Found(..) => return outcome,
            }
        }
        Outcome::Failed(worst)
    }

    async fn addresses(&self, name: Name) -> Outcome {
        let (engine, same_name) = (self.clone(), name.clone());
        let six = tokio::spawn(async move { engine.records(same_name, RecordType::AAAA).await });
        let four = self.records(name, RecordType::A).await;
        let six = six.await.unwrap_or(Err(Failure::Unreachable));
        let failed = |family, records: &Records| {
            let is_failed = records.as_ref().is_err_and(|failure| *failure > Failure::NoRecord);
            is_failed.then_some(family)
        };
        let lacks = failed(Family::V4, &four).or_else(|| failed(Family::V6, &six));
        let (records, ttl) = match (four, six) {
            (Ok((four, ttl)), Ok((six, ttl_of_six))) => ([four, six].concat(), ttl.min(ttl_of_six)),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => one,
            (Err(four), Err(six)) => return Outcome::Failed(four.max(six)),
        };
        let address = |record: &RData| match record {
            RData::A(four) => Some(IpAddr::V4(four.0)),
            RData::AAAA(six) => Some(IpAddr::V6(six.0)),
            _ => None,
        };
        let mut all: Vec<IpAddr> = records.iter().filter_map(address).collect();
        all.sort_unstable();
        all.dedup();
        if all.is_empty() {
            return Outcome::Failed(Failure::NoRecord);
        }
        Outcome::Found(Found::Addresses(all), Life { ttl: Some(ttl), lacks })
    }

    async fn services(&self, name: Name) -> Outcome {
        let (records, ttl) = match self.records(name, RecordType::SRV).await {
            Ok(found) => found,
            Err(failure) => return Outcome::Failed(failure),
        };
        let service = |record: &RData| match record {
            // The root as a target says that there is no such service.
            RData::SRV(srv) if srv.target.is_root() => None,
            RData::SRV(srv) => {
                let target = srv.target.to_ascii().to_ascii_lowercase();
                let target = target.strip_suffix('.').unwrap_or(&target).to_owned();
                let service = Service { target, port: srv.port, is_held: false };
                Some(service).filter(|service| service.port > 0)
            }
            _ => None,
        };
        let mut all: Vec<Service> = records.iter().filter_map(service).collect();
        all.sort_unstable();
        all.dedup();
        if all.is_empty() {
            return Outcome::Failed(Failure::NoRecord);
        }
        Outcome::Found(Found::Services(all), Life { ttl: Some(ttl), lacks: None })
    }

    async fn records(&self, name: Name, kind: RecordType) -> Records {
        let lookup = self.dns.lookup(name, kind).await.map_err(|error| failure(&error))?;
        let ttl = Instant::from_std(lookup.valid_until()).duration_since(Instant::now());
        Ok((lookup.answers().iter().map(|record| record.data.clone()).collect(), ttl))
    }
}

fn options(options: &mut ResolverOpts, conf: &Conf) {
    options.timeout = conf.timeout;
    // The first one is no repetition.
    options.attempts = conf.attempts - 1;
    // The answers are kept in `Names`.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// A complete name, if the text can be one.
fn name_of(text: &str) -> Option<Name> {
    let name = if text.is_ascii() { Name::from_ascii(text) } else { Name::from_utf8(text) };
    let mut name = name.ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn failure(error: &NetError) -> Failure {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Failure::NoName,
            _ => Failure::NoRecord,
        },
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => Failure::Refused,
        NetError::Dns(_) => Failure::ServerFailed,
        NetError::Timeout => Failure::TimedOut,
        _ => Failure::Unreachable,
    }
}
