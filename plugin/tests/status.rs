//! `status` as users call it, and with shorter bounds, with a script in kubectl's place.
#![cfg(unix)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

const TABLE: &str = "NAMESPACE  POD  STATE  REASON\n";

/// What the scripted kubectl answers with.
struct Cluster(PathBuf);

impl Cluster {
    /// Two nodes with a packet-capture pod each, whose answers are still to be given.
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("packet-capture-status-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let cluster = Self(env::temp_dir().join(name));
        fs::create_dir(&cluster.0).unwrap();
        let agents = [agent("pc-1", "w1", "True"), agent("pc-2", "w2", "True")].join(",");
        cluster
            .answers("namespace", "shop")
            .answers("can-i", "yes\n")
            .answers("pods", &format!(r#"{{"items":[{agents}]}}"#));
        cluster
    }

    fn answers(&self, call: &str, text: &str) -> &Self {
        fs::write(self.0.join(call), text).unwrap();
        self
    }

    fn plugin(&self, args: &[&str]) -> Said {
        let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bin/cluster");
        let path = format!("{}:{}", bin.display(), env::var("PATH").unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-packet_capture"));
        command.args(args).env("PATH", path).env("CLUSTER", &self.0).env_remove("PACKET_CAPTURE_NAMESPACE");
        let Output { status, stdout, stderr } = command.stdin(process::Stdio::null()).output().unwrap();
        Said { code: status.code(), out: String::from_utf8(stdout).unwrap(), err: String::from_utf8(stderr).unwrap() }
    }

    fn calls(&self) -> Vec<String> {
        fs::read_to_string(self.0.join("calls")).unwrap_or_default().lines().map(ToOwned::to_owned).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn agent(name: &str, node: &str, ready: &str) -> String {
    format!(
        r#"{{"metadata":{{"namespace":"capture","name":"{name}","ownerReferences":[{{"kind":"DaemonSet","name":"pc","controller":true}}]}},
        "spec":{{"nodeName":"{node}"}},"status":{{"conditions":[{{"type":"Ready","status":"{ready}"}}],
        "containerStatuses":[{{"name":"packet-capture","state":{{"running":{{}}}}}}]}}}}"#
    )
}

#[test]
fn all_nodes_are_asked_at_once_and_make_one_table() {
    let cluster = Cluster::new();
    cluster.answers("meet", "").answers("pc-1", &format!("{TABLE}shop       a    capturing  -\n"));
    cluster
        .answers("pc-2", &format!("{TABLE}shop       a-long-name  paused  by \u{1b}[2J you\n"))
        .answers("pc-2.stderr", "a note\n");
    let said = cluster.plugin(&["status", "--context", "kind"]);
    assert_eq!(
        said.out,
        "NAMESPACE  POD          STATE      REASON\n\
         shop       a            capturing  -\n\
         shop       a-long-name  paused     by ?[2J you\n"
    );
    assert_eq!((said.code, said.err.as_str()), (Some(0), "node w2: a note\n"));
    let mut calls = cluster.calls();
    calls[3..].sort();
    assert_eq!(
        calls,
        [
            "--context=kind config view --minify --output=jsonpath={.contexts[0].context.namespace}",
            "--context=kind auth can-i list pods --all-namespaces",
            "--context=kind get pods --selector app=packet-capture --output=json --all-namespaces",
            "--context=kind exec pc-1 --namespace=capture --container packet-capture -- packet-capture status -n shop",
            "--context=kind exec pc-2 --namespace=capture --container packet-capture -- packet-capture status -n shop",
        ]
    );
}

#[test]
fn a_node_that_does_not_answer_is_named_with_the_reason_and_the_others_are_shown() {
    let cluster = Cluster::new();
    cluster.answers("pc-1", &format!("{TABLE}shop  a  capturing  -\n"));
    cluster.answers("pc-2.stderr", "error: unable to upgrade connection\n");
    let said = cluster.plugin(&["status", "-A"]);
    assert_eq!((said.code, said.out.lines().count()), (Some(1), 2));
    assert!(said.err.starts_with("error: no answer from pc-2 on node w2: `kubectl exec pc-2 "), "{}", said.err);
    assert!(said.err.ends_with(": error: unable to upgrade connection\n"), "{}", said.err);
    assert!(cluster.calls().iter().any(|call| call.ends_with("packet-capture status")), "-A names no namespace");

    let why = r#"{"status":{"conditions":[{"type":"Ready","status":"Unknown","message":"Kubelet stopped posting node status."}]}}"#;
    let said = cluster.answers("node-w2", why).plugin(&["status"]);
    assert_eq!(
        said.err,
        "error: no answer from pc-2 on node w2: node w2 is NotReady: Kubelet stopped posting node status.\n"
    );
}

#[test]
fn a_frozen_node_is_not_asked_and_does_not_hold_the_others() {
    let cluster = Cluster::new();
    let agents = [agent("pc-1", "w1", "True"), agent("pc-2", "w2", "False")].join(",");
    cluster.answers("pods", &format!(r#"{{"items":[{agents}]}}"#)).answers("pc-1", TABLE).answers("pc-2.hang", "");
    cluster.answers("node-w2", r#"{"status":{"conditions":[{"type":"Ready","status":"Unknown"}]}}"#);
    let said = cluster.plugin(&["status"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(
        said.err,
        "error: no answer from pc-2 on node w2: node w2 is NotReady; hint: kubectl describe node w2\n"
    );
    assert!(!cluster.calls().iter().any(|call| call.starts_with("exec pc-2")));
}

#[test]
fn json_is_a_valid_line_for_each_capture_in_ascii() {
    let cluster = Cluster::new();
    cluster
        .answers("pc-1", "{\"pod\":\"a\",\"reason\":\"\u{202e}\"}\n")
        .answers("pc-2", "{\"pod\":\"b\"}\n{\"pod\":\"c\"}\n");
    let said = cluster.plugin(&["status", "-o", "json"]);
    assert_eq!(said.out, "{\"pod\":\"a\",\"reason\":\"\\u202e\"}\n{\"pod\":\"b\"}\n{\"pod\":\"c\"}\n");
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let said = cluster.answers("pc-2", "not JSON\n").plugin(&["status", "-o", "json"]);
    assert_eq!((said.code, said.out.lines().count()), (Some(1), 1));
    assert!(
        said.err.starts_with("error: cannot read the answer of pc-2 on node w2: a line about a capture is not valid"),
        "{}",
        said.err
    );
}

#[test]
fn no_captures_are_said_to_people_only() {
    let cluster = Cluster::new();
    cluster.answers("pc-1", TABLE).answers("pc-2", TABLE);
    let said = cluster.plugin(&["status"]);
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (Some(0), "NAMESPACE  POD  STATE  REASON\n", "no captures\n")
    );
    cluster.answers("pc-1", "").answers("pc-2", "");
    let said = cluster.plugin(&["status", "-o", "json"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), "", ""));
}

#[test]
fn a_user_who_may_not_list_all_pods_sees_kube_system_or_names_a_namespace() {
    let cluster = Cluster::new();
    cluster.answers("can-i", "no\n").answers("pods", r#"{"items":[]}"#);
    let said = cluster.plugin(&["status"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.starts_with("error: there are no packet-capture pods in namespace kube-system, and you may not"),
        "{}",
        said.err
    );
    assert!(
        cluster
            .calls()
            .contains(&"get pods --selector app=packet-capture --output=json --namespace=kube-system".to_owned())
    );

    let said = cluster.plugin(&["status", "--capture-namespace=capture"]);
    assert!(
        said.err.starts_with("error: there are no packet-capture pods in namespace capture; hint: "),
        "{}",
        said.err
    );
}

#[test]
fn wrong_command_lines_have_code_2() {
    let cluster = Cluster::new();
    for args in [
        &["status", "web"][..],
        &["status", "-o", "yaml"],
        &["status", "-n", "A"],
        &["--capture-namespace=-", "status"],
        &[],
    ] {
        let said = cluster.plugin(args);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}: {}", said.err);
    }
    assert!(cluster.calls().is_empty());
}
