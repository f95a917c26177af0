//! Requests as Kubernetes documents them, and answers that are right and wrong.

use super::*;
use serde_json::json;
use std::slice;

fn object(name: &str, version: &str) -> Value {
    json!({
        "metadata": {"name": name, "resourceVersion": version},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
    })
}

fn trouble(end: &End) -> Option<Trouble> {
    match end {
        End::Gone => None,
        End::Failed(failed) => Some(failed.trouble),
    }
}

/// Takes events; returns the version, and how many pods there are.
fn take(lines: &[Value]) -> Result<(String, usize, bool), End> {
    let (mut slices, mut version, mut has_changed) = (Slices::default(), String::new(), false);
    for line in lines {
        has_changed = take_event(&mut slices, &mut version, line.to_string().as_bytes())?;
    }
    Ok((version, slices.pods("m").len(), has_changed))
}

#[test]
fn requests_are_those_of_the_api() {
    let path = path("cache", "m");
    let resource = "/apis/discovery.k8s.io/v1/namespaces/cache/endpointslices\
                    ?labelSelector=kubernetes.io%2Fservice-name%3Dm";
    assert_eq!(path, resource);
    assert_eq!(list(&path, ""), format!("{resource}&limit=50"));
    assert_eq!(list(&path, "a+/="), format!("{resource}&limit=50&continue=a%2B%2F%3D"));
    let watched = watch(&path, "7", Duration::from_secs(90));
    let query = "&watch=1&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=90";
    assert_eq!(watched, format!("{resource}{query}"));
    assert!(super::path("..", "m").contains("/namespaces/%2E%2E/"), "it leads nowhere else");
}

#[test]
fn a_page_says_what_follows_it() {
    let mut slices = Slices::default();
    let page =
        json!({"metadata": {"resourceVersion": "9", "continue": "c"}, "items": [object("a", "1")]});
    let taken = take_page(&mut slices, page.to_string().as_bytes());
    assert_eq!(taken, Ok(("c".into(), "9".into())));
    let page = json!({"metadata": {"resourceVersion": "9"}, "items": [object("b", "2")]});
    assert_eq!(
        take_page(&mut slices, page.to_string().as_bytes()),
        Ok((String::new(), "9".into()))
    );
    // Both have the same address and no name.
    assert_eq!(slices.pods("m").len(), 1);
}

#[test]
fn events_change_slices_and_the_version() {
    let event = |kind: &str, object: Value| json!({"type": kind, "object": object});
    let added = event("ADDED", object("a", "5"));
    let bookmark = event("BOOKMARK", json!({"metadata": {"resourceVersion": "8"}}));
    let deleted = event("DELETED", object("a", "9"));
    assert_eq!(take(slice::from_ref(&added)), Ok(("5".into(), 1, true)));
    assert_eq!(take(&[added.clone(), bookmark]), Ok(("8".into(), 1, false)));
    assert_eq!(take(&[added.clone(), deleted]), Ok(("9".into(), 0, true)));
    let gone = event("ERROR", json!({"kind": "Status", "code": 410, "reason": "Expired"}));
    assert_eq!(take(&[added, gone]), Err(End::Gone));
}

#[test]
fn wrong_answers_are_told_apart() {
    let of_event =
        |line: &str| take_event(&mut Slices::default(), &mut String::new(), line.as_bytes());
    for (line, expected) in [
        ("", Trouble::Invalid),
        ("{", Trouble::Invalid),
        ("[]", Trouble::Invalid),
        (r#"{"type":"OTHER","object":{}}"#, Trouble::Invalid),
        (r#"{"type":"ADDED"}"#, Trouble::Invalid),
        (r#"{"type":"DELETED","object":{}}"#, Trouble::Invalid),
        (r#"{"type":"BOOKMARK","object":{}}"#, Trouble::Invalid),
        (r#"{"type":"ERROR","object":{"code":500}}"#, Trouble::Refused),
        (r#"{"type":"ERROR"}"#, Trouble::Refused),
    ] {
        assert_eq!(trouble(&of_event(line).unwrap_err()), Some(expected), "{line}");
    }
    for page in
        ["", "[1", "{}", r#"{"items":[]}"#, r#"{"items":[{}],"metadata":{"resourceVersion":"1"}}"#]
    {
        let end = take_page(&mut Slices::default(), page.as_bytes()).unwrap_err();
        assert_eq!(trouble(&end), Some(Trouble::Invalid), "{page}");
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    assert_eq!(refusal(410, "watch", "cache"), End::Gone);
    for (status, expected, words) in [
        (401, Trouble::Unauthorized, "token"),
        (403, Trouble::Forbidden, "may not watch EndpointSlices: in namespace cache"),
        (429, Trouble::Refused, "status 429"),
        (302, Trouble::Refused, "status 302"),
    ] {
        let End::Failed(failed) = refusal(status, "watch", "cache") else { panic!("{status}") };
        assert_eq!(failed.trouble, expected);
        assert!(failed.text.contains(words), "{}", failed.text);
    }
}

#[test]
fn no_value_makes_a_line_of_the_log_long() {
    assert_eq!(shown(&json!("x".repeat(9999))).len(), 200);
}
