//! Reports of tasks that are not run, and what they change.

use super::*;
use std::time::Duration;
use tokio::runtime;
use tokio::sync::mpsc::unbounded_channel;

/// Watches with a Service that users 1 and 2 follow. The tasks never run.
fn watches(work: impl FnOnce(Watches, Service)) {
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    let (sender, _receiver) = unbounded_channel();
    // The tests may run in a pod, which has a namespace.
    let options = Options { service_account: "/nonexistent".into(), ..Options::default() };
    let mut watches = Watches::new(&options, Arc::default(), sender.downgrade());
    let service = Service { name: "m".into() };
    for user in [1, 2] {
        assert_eq!(watches.follow(user, &service), []);
    }
    work(watches, service);
}

fn pods(all: &[(&str, &str)]) -> Report {
    let pod = |&(name, address): &(&str, &str)| {
        let addresses = vec![address.parse().unwrap()];
        (
            name.to_owned(),
            Endpoints { addresses, ports: Arc::default(), object: None, returns: true },
        )
    };
    Report::Pods(all.iter().map(pod).collect())
}

/// The users that are told, and the names that each is told.
fn told(effects: Vec<Effect>) -> Vec<(User, Vec<String>)> {
    let told = effects.into_iter().map(|effect| {
        let Effect::Tell(user, Some(found)) = effect else { panic!("{effect:?}") };
        (user, found.pods().iter().map(|pod| pod.name.clone()).collect())
    });
    told.collect()
}

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn users_are_told_the_pods_and_only_changes_of_them() {
    watches(|mut watches, service| {
        let now = Instant::now();
        let first = [("m-0.m", "10.0.0.1"), ("m-1.m", "10.0.0.2")];
        let news = watches.report(&service, pods(&first), now);
        let both = names(&["m-0.m", "m-1.m"]);
        assert_eq!(told(news.effects), [(1, both.clone()), (2, both.clone())]);
        assert_eq!(watches.report(&service, pods(&first), now), News::default());
        // Another address is no change of the pods, but of what their names mean.
        let other = [("m-0.m", "10.0.0.1"), ("m-1.m", "10.0.0.9")];
        let news = watches.report(&service, pods(&other), now);
        assert_eq!(news.moved, [Question::Addresses("m-1.m.".into())]);
        assert_eq!(news.effects, []);
        for host in ["m-1.m", "m-1.m."] {
            assert_eq!(watches.find(host), Some(vec!["10.0.0.9".parse().unwrap()]));
        }
        assert_eq!(watches.find("m-2.m."), None);
        assert_eq!(told(watches.follow(3, &service)), [(3, both)]);
    });
}

#[test]
fn a_failure_changes_nothing() {
    watches(|mut watches, service| {
        let now = Instant::now();
        watches.report(&service, pods(&[("m-0.m", "10.0.0.1")]), now);
        for trouble in Trouble::ALL {
            let failed = Failed::new(trouble, "why");
            assert_eq!(watches.report(&service, Report::Fails(failed), now), News::default());
            assert_eq!(watches.figures.kubernetes.failures(trouble), 1);
            assert_eq!(watches.figures.kubernetes.reason("m"), Some("why".into()));
        }
        assert!(watches.find("m-0.m.").is_some());
        watches.report(&service, Report::Watches, now);
        // The last failure was that there are no pods, which a watch alone does not mend.
        assert_eq!(watches.figures.kubernetes.reason("m"), Some("why".into()));
        watches.report(&service, pods(&[("m-0.m", "10.0.0.1")]), now);
        watches.report(&service, Report::Watches, now);
        assert_eq!(watches.figures.kubernetes.reason("m"), None);
    });
}

#[test]
fn a_pod_that_is_away_for_too_long_is_told_of() {
    watches(|mut watches, service| {
        let now = Instant::now();
        watches.report(&service, pods(&[("m-0.m", "10.0.0.1"), ("m-1.m", "10.0.0.2")]), now);
        // It is told that it is away, so that it leaves room for others.
        let both = names(&["m-0.m", "m-1.m"]);
        let news = watches.report(&service, pods(&[("m-0.m", "10.0.0.1")]), now);
        assert_eq!(told(news.effects), [(1, both.clone()), (2, both)]);
        let until = now + Duration::from_secs(30);
        assert_eq!(watches.next_tick(), Some(until));
        assert_eq!(watches.tick(until - Duration::from_millis(1)), News::default());
        let left = names(&["m-0.m"]);
        let news = watches.tick(until);
        assert_eq!(told(news.effects), [(1, left.clone()), (2, left)]);
        assert_eq!(news.lost, [Question::Addresses("m-1.m.".into())]);
        assert_eq!(watches.next_tick(), None);
    });
}

#[test]
fn a_service_without_users_is_forgotten() {
    watches(|mut watches, service| {
        let now = Instant::now();
        watches.report(&service, pods(&[("m-0.m", "10.0.0.1")]), now);
        watches.release(1);
        assert!(watches.find("m-0.m.").is_some());
        assert_eq!(watches.figures.kubernetes.ages().len(), 1);
        watches.release(2);
        assert!(watches.find("m-0.m.").is_none());
        assert_eq!(watches.figures.kubernetes.ages(), []);
        assert_eq!(watches.report(&service, pods(&[("m-0.m", "10.0.0.1")]), now), News::default());
    });
}

/// A folder with the namespace of a pod.
fn folder(namespace: &str) -> std::path::PathBuf {
    let id = std::process::id();
    let folder = std::env::temp_dir().join(format!("nuthatch-{namespace}-{id}"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("namespace"), format!("{namespace}\n")).unwrap();
    folder
}

#[test]
fn a_service_has_one_watch_whatever_it_is_called() {
    watches(|mut watches, _| {
        watches.options.service_account = folder("own-names");
        let [short, long] = ["x", "x.own-names"].map(|name| Service { name: name.into() });
        let now = Instant::now();
        watches.follow(7, &short);
        let figures = Arc::clone(&watches.figures);
        let failed = || Report::Fails(Failed::new(Trouble::Refused, "why"));
        watches.report(&long, failed(), now);
        assert_eq!(figures.kubernetes.reason("x"), Some("why".into()));
        // Who comes later sees what there is.
        watches.follow(8, &long);
        assert_eq!(watches.all.len(), 2, "with the one of the other users");
        assert_eq!(figures.kubernetes.reason("x.own-names"), Some("why".into()));
        let news = watches.report(&long, pods(&[("m-0.x", "10.0.0.1")]), now);
        assert_eq!(told(news.effects).iter().map(|(user, _)| *user).collect::<Vec<_>>(), [7, 8]);
        watches.report(&long, failed(), now);
        assert_eq!(figures.kubernetes.failures(Trouble::Refused), 2, "each is counted once");
        assert_eq!(figures.kubernetes.ages().len(), 2);
        watches.release(7);
        assert_eq!(figures.kubernetes.reason("x"), None);
        assert!(figures.kubernetes.reason("x.own-names").is_some());
        watches.release(8);
        assert_eq!(figures.kubernetes.ages(), []);
        assert_eq!(watches.all.len(), 1);
        std::fs::remove_dir_all(&watches.options.service_account).unwrap();
    });
}

#[test]
fn the_pods_of_a_service_without_pods_stay_servers_without_addresses() {
    watches(|mut watches, service| {
        let now = Instant::now();
        watches.report(&service, pods(&[("m-0.m", "10.0.0.1")]), now);
        let none = || Report::Fails(Failed::new(Trouble::NoPods, "why"));
        assert_eq!(watches.report(&service, none(), now), News::default());
        let until = now + Duration::from_secs(30);
        // Another such report does not begin the time anew.
        watches.report(&service, none(), now + Duration::from_secs(20));
        assert_eq!(watches.next_tick(), Some(until));
        assert_eq!(watches.find("m-0.m"), Some(vec!["10.0.0.1".parse().unwrap()]));
        let news = watches.tick(until);
        assert_eq!(news.lost, [Question::Addresses("m-0.m.".into())]);
        assert_eq!(
            (news.effects, watches.find("m-0.m"), watches.next_tick()),
            (vec![], None, None)
        );
        assert_eq!(told(watches.follow(3, &service)), [(3, names(&["m-0.m"]))]);
    });
}

#[test]
fn a_pod_that_is_away_has_no_address_that_another_one_has() {
    watches(|mut watches, service| {
        let now = Instant::now();
        let question = |name: &str| Question::Addresses(name.into());
        let both = [("m-0.m", "10.0.0.1"), ("m-1.m", "10.0.0.2")];
        watches.report(&service, pods(&both), now);
        // While both are there, both may have it.
        let news = watches.report(&service, pods(&[both[0], ("m-1.m", "10.0.0.1")]), now);
        assert_eq!((news.moved, news.lost), (vec![question("m-1.m.")], vec![]));
        let news = watches.report(&service, pods(&both[..1]), now);
        assert_eq!((news.moved, news.lost), (vec![], vec![question("m-1.m.")]));
        assert_eq!(watches.find("m-1.m"), Some(vec![]));
        // It is not its address again when the other one leaves it.
        watches.report(&service, pods(&[("m-0.m", "10.0.0.9")]), now);
        assert_eq!(watches.find("m-1.m"), Some(vec![]));
        let news = watches.report(&service, pods(&both), now);
        let mut moved = news.moved;
        moved.sort();
        assert_eq!((moved, news.lost), (vec![question("m-0.m."), question("m-1.m.")], vec![]));
    });
}

#[test]
fn a_pod_of_another_service_takes_an_address_but_not_from_itself() {
    watches(|mut watches, _| {
        let now = Instant::now();
        let [first, second] = ["a.x", "b.x"].map(|name| Service { name: name.into() });
        watches.follow(7, &first);
        watches.follow(8, &second);
        let of = |name: &str, object: &str| {
            let Report::Pods(mut all) = pods(&[(name, "10.0.0.1")]) else { panic!() };
            all.values_mut().for_each(|pod| pod.object = Some(object.into()));
            all
        };
        watches.report(&first, Report::Pods(of("m-0.a", "m-0")), now);
        let away = || Report::Fails(Failed::new(Trouble::NoPods, "why"));
        watches.report(&first, away(), now);
        let news = watches.report(&second, Report::Pods(of("m-0.b", "m-0")), now);
        assert_eq!((news.lost, watches.find("m-0.a").unwrap().len()), (vec![], 1));
        let news = watches.report(&second, Report::Pods(of("n.b", "n")), now);
        // The former pod of the second Service is away now, too.
        assert_eq!(news.lost, ["m-0.a.", "m-0.b."].map(|name| Question::Addresses(name.into())));
    });
}

#[test]
fn a_service_without_pods_is_one_whatever_else_fails() {
    watches(|mut watches, service| {
        let now = Instant::now();
        let fails = |trouble, text: &str| Report::Fails(Failed::new(trouble, text));
        watches.report(&service, pods(&[("m-0.m", "10.0.0.1")]), now);
        watches.report(&service, fails(Trouble::NoPods, "empty"), now);
        let reason = |watches: &Watches| watches.figures.kubernetes.reason("m");
        for _ in 0..2 {
            watches.report(&service, fails(Trouble::Unreachable, "away"), now);
            assert_eq!(reason(&watches), Some("away".into()));
            watches.report(&service, Report::Watches, now);
            assert_eq!(reason(&watches), Some("empty".into()));
        }
        assert_eq!(watches.figures.kubernetes.failures(Trouble::NoPods), 1);
        watches.report(&service, pods(&[("m-0.m", "10.0.0.1")]), now);
        watches.report(&service, fails(Trouble::Unreachable, "away"), now);
        watches.report(&service, Report::Watches, now);
        assert_eq!(reason(&watches), None);
    });
}

#[test]
fn while_only_lists_work_the_trouble_goes_on() {
    watches(|mut watches, service| {
        let now = Instant::now();
        let refused = || Failed::new(Trouble::Refused, "504");
        let age = |watches: &Watches| watches.figures.kubernetes.ages()[0].1;
        watches.report(&service, Report::Fails(refused()), now);
        for nth in 1..4 {
            watches.report(&service, pods(&[("m-0.m", "10.0.0.1")]), now);
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(watches.figures.kubernetes.reason("m"), Some("504".into()));
            let old = age(&watches);
            assert!(old >= Duration::from_millis(5), "{old:?}");
            watches.report(&service, Report::Unwatched(refused()), now);
            assert!(age(&watches) >= old, "it is as old as the list");
            assert_eq!(watches.figures.kubernetes.failures(Trouble::Refused), nth + 1);
            assert_eq!(watches.all[&service].failing.len(), 2, "each is told once");
        }
        watches.report(&service, Report::Watches, now);
        assert_eq!(watches.figures.kubernetes.reason("m"), None);
        assert_eq!(age(&watches), Duration::ZERO);
        // A list that is only due is counted, and changes nothing.
        watches.report(&service, Report::Unlisted(refused()), now);
        assert_eq!(watches.figures.kubernetes.failures(Trouble::Refused), 5);
        assert_eq!(watches.figures.kubernetes.reason("m"), None);
    });
}
