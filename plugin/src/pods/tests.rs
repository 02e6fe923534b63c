use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Error, Finding, Finished, Invalid, PodRef, Scope, Wanted, find_with, selector};

fn wanted(target: &str) -> Result<Wanted, Invalid> {
    Wanted::parse(&[target.to_owned()], None)
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": name, "uid": "u1", "annotations": {
            "tcpdump.antrea.io": "5", "tcpdump.antrea.io/filter": "tcp", "tcpdump.antrea.iosis": "x", "other": "y"}},
        "spec": {"nodeName": "w1"},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "x"}]}
    })
}

/// What is found, and the calls that were made, where kubectl gives these answers.
fn find(
    wanted: Wanted,
    scope: Scope,
    finished: Finished,
    answers: &[Value],
) -> (Result<Vec<PodRef>, Error>, Vec<String>) {
    let (mut answers, mut calls) = (VecDeque::from(answers.to_vec()), Vec::new());
    let found = find_with(Finding::new(wanted, scope, finished).unwrap(), |call| {
        calls.push(call.join(" "));
        Ok(answers.pop_front().expect("an answer for each call"))
    });
    assert!(answers.is_empty(), "answers that nobody asked for");
    (found, calls)
}

fn shop() -> Scope {
    Scope::parse(Some("shop"), false).unwrap()
}

fn names(found: Result<Vec<PodRef>, Error>) -> Vec<String> {
    found.unwrap().into_iter().map(|pod| pod.name).collect()
}

#[test]
fn a_pod_is_asked_for_by_its_name_and_read() {
    for target in ["web", "pod/web", "po/web", "pods/web"] {
        let (found, calls) = find(wanted(target).unwrap(), shop(), Finished::LeftOut, &[pod("web")]);
        assert_eq!(calls, ["get pod web --ignore-not-found --output=json --namespace=shop"]);
        let found = found.unwrap().remove(0);
        assert_eq!((found.namespace.as_str(), found.name.as_str(), found.uid.as_str()), ("shop", "web", "u1"));
        assert_eq!((found.on_node(), found.phase.as_str()), (Ok("w1"), "Running"));
        assert_eq!(found.annotations.keys().collect::<Vec<_>>(), ["tcpdump.antrea.io", "tcpdump.antrea.io/filter"]);
        assert_eq!(found.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1", "fd00::1"]);
    }
}

#[test]
fn a_pod_in_all_namespaces_is_a_list() {
    let (found, calls) =
        find(wanted("web").unwrap(), Scope::All, Finished::Included, &[json!({"items": [pod("web")]})]);
    assert_eq!(calls, ["get pods --field-selector=metadata.name=web --output=json --all-namespaces"]);
    assert_eq!(names(found), ["web"]);
}

#[test]
fn a_workload_is_asked_for_its_selector_and_then_its_pods_are_listed() {
    let deployment = json!({"spec": {"selector": {"matchLabels": {"app": "web", "tier": "front"}}}});
    let answers = [deployment, json!({"items": [pod("web-1"), pod("web-0")]})];
    let (found, calls) = find(wanted("deploy/web").unwrap(), Scope::Current, Finished::LeftOut, &answers);
    assert_eq!(
        calls,
        [
            "get deploy/web --ignore-not-found --output=json",
            "get pods --selector=app=web,tier=front --field-selector=status.phase!=Succeeded,status.phase!=Failed --output=json"
        ]
    );
    assert_eq!(names(found), ["web-0", "web-1"]);
}

#[test]
fn a_selector_needs_one_call_and_keeps_finished_pods_if_they_count() {
    let wanted = Wanted::parse(&[], Some("app in (a,b)")).unwrap();
    let (found, calls) = find(wanted, shop(), Finished::Included, &[json!({"items": [pod("a")]})]);
    assert_eq!(calls, ["get pods --selector=app in (a,b) --output=json --namespace=shop"]);
    assert_eq!(names(found), ["a"]);
}

#[test]
fn selectors_of_every_form_become_kubectls_own() {
    let of = |selector: Value| selector::of(&json!({"spec": {"selector": selector}}));
    assert_eq!(of(json!({"app": "web", "a": "b"})).unwrap(), "a=b,app=web", "of a Service");
    // A Service may have a label of this name.
    assert_eq!(of(json!({"matchLabels": "x"})).unwrap(), "matchLabels=x");
    let expressions = json!([
        {"key": "a", "operator": "In", "values": ["1", "2"]}, {"key": "b", "operator": "NotIn", "values": ["3"]},
        {"key": "c", "operator": "Exists"}, {"key": "d", "operator": "DoesNotExist"}]);
    assert_eq!(
        of(json!({"matchLabels": {"z": "1"}, "matchExpressions": expressions})).unwrap(),
        "z=1,a in (1,2),b notin (3),c,!d"
    );
    assert_eq!(of(json!({"matchLabels": {"z": "1"}, "matchExpressions": [{"key": "a", "operator": "Near"}]})), None);
    assert_eq!(of(json!({})), None);
    assert_eq!(of(json!({"matchLabels": {}})), None, "it would mean every pod");
    assert_eq!(selector::of(&json!({"spec": {}})), None);
}

#[test]
fn what_is_not_found_is_a_sentence_that_says_where() {
    let said = |wanted: Wanted, scope: Scope, answers: &[Value]| {
        find(wanted, scope, Finished::LeftOut, answers).0.unwrap_err().to_string()
    };
    let empty = json!({"items": []});
    assert_eq!(
        said(wanted("web").unwrap(), shop(), &[Value::Null]),
        "there is no pod web in namespace shop; hint: kubectl get pods --all-namespaces"
    );
    assert_eq!(
        said(wanted("web").unwrap(), Scope::All, std::slice::from_ref(&empty)),
        "there is no pod web in any namespace; hint: kubectl get pods"
    );
    assert_eq!(
        said(wanted("sts/db").unwrap(), Scope::Current, &[Value::Null]),
        "there is no sts/db in the current namespace; hint: name another namespace with -n"
    );
    assert_eq!(
        said(wanted("svc/db").unwrap(), shop(), &[json!({"spec": {}})]),
        "svc/db selects no pods by labels; hint: name a pod, or use -l SELECTOR"
    );
    assert_eq!(
        said(wanted("svc/db").unwrap(), shop(), &[json!({"spec": {"selector": {"a": "\u{1b}b"}}}), empty]),
        "no pods match a=?b in namespace shop; hint: kubectl get pods -l 'a=?b' --all-namespaces"
    );
    let many = json!({"items": (0..501).map(|i| pod(&format!("p{i}"))).collect::<Vec<_>>()});
    assert_eq!(
        said(Wanted::Selector("a".to_owned()), shop(), &[many]),
        "501 pods match, and 500 at most can be seen to at once; hint: use a narrower selector"
    );
}

#[test]
fn a_pod_without_a_node_is_found_and_says_so_where_a_node_is_needed() {
    let mut pending = pod("web");
    pending["spec"] = json!({});
    let (found, _) = find(wanted("web").unwrap(), shop(), Finished::Included, &[pending]);
    let said = found.unwrap()[0].on_node().unwrap_err().to_string();
    assert_eq!(said, "pod shop/web has no node yet; hint: kubectl -n shop describe pod web");
}

#[test]
fn answers_that_are_no_pods_are_refused() {
    let mut escaping = pod("web");
    escaping["metadata"]["name"] = json!("../../etc/passwd");
    let mut option = pod("web");
    option["spec"]["nodeName"] = json!("--kubeconfig=x");
    for answer in [json!([]), json!({}), json!({"items": 1}), json!({"items": [{}]})] {
        let (found, _) = find(Wanted::Selector("a".to_owned()), shop(), Finished::Included, &[answer]);
        assert_eq!(found, Err(Error::Malformed));
    }
    for answer in [escaping, option] {
        let (found, _) = find(wanted("web").unwrap(), shop(), Finished::Included, &[answer]);
        assert_eq!(found, Err(Error::Malformed));
    }
}

#[test]
fn command_lines_that_mean_nothing_are_refused() {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    assert_eq!(Wanted::parse(&[], None), Err(Invalid::Nothing));
    assert_eq!(Wanted::parse(&words(&["a", "b"]), None), Err(Invalid::TooMany));
    assert_eq!(Wanted::parse(&words(&["a"]), Some("b")), Err(Invalid::TooMany));
    assert_eq!(Wanted::parse(&[], Some(" ")), Err(Invalid::EmptySelector));
    for name in ["", "pod/", "Web", "-web", "web-", "a_b", "a b", "a\u{1b}"] {
        assert!(matches!(wanted(name), Err(Invalid::PodName(_))), "{name:?}");
    }
    for name in ["deploy/", "/web", "a/b/c", "-x/web", "deploy/-web"] {
        assert!(matches!(wanted(name), Err(Invalid::Workload(_))), "{name:?}");
    }
    assert_eq!(wanted("Deployment.apps/web"), Ok(Wanted::Workload("Deployment.apps/web".to_owned())));
    assert_eq!(Scope::parse(Some("a.b"), false), Err(Invalid::Namespace("a.b".to_owned())));
    let everywhere = Finding::new(wanted("deploy/web").unwrap(), Scope::All, Finished::Included).unwrap_err();
    assert_eq!(
        everywhere.to_string(),
        "deploy/web cannot be looked for in all namespaces; hint: -n NAMESPACE in place of -A"
    );
    assert!(!Invalid::PodName("a\u{1b}".to_owned()).to_string().contains('\u{1b}'));
}
