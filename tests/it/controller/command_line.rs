//! The command line and the environment: which error an invalid value gets.

use k8s_openapi::jiff::Timestamp;

use crate::support::node::Node;

#[test]
fn help_and_version_go_to_standard_output() {
    let node = Node::new().without("NODE_NAME");
    let (code, out, _) = node.run(&["--help"]);
    assert!(code == 0 && out.starts_with("usage: packet-capture "), "{code} {out}");
    let (code, out, _) = node.run(&["--version"]);
    assert_eq!((code, out), (0, concat!("packet-capture ", env!("CARGO_PKG_VERSION"), "\n").to_owned()));
}

#[test]
fn an_unknown_argument_is_exit_2_with_the_usage() {
    let node = Node::new();
    for arguments in [&["run"][..], &["--Help"], &[""], &["health", "--alive"], &["--version", "5"]] {
        let (code, out, error) = node.run(arguments);
        assert!(
            code == 2 && out.is_empty() && error.starts_with("error: ") && error.contains("\nusage: packet-capture "),
            "{arguments:?}: {error}"
        );
    }
}

#[test]
fn an_invalid_environment_variable_is_exit_2_with_a_sentence() {
    for (name, value, sentence) in [
        (
            "NODE_NAME",
            "",
            "environment variable NODE_NAME=\"\" is not the name of this node, as `kubectl get nodes` shows it",
        ),
        ("MAX_FILES", "0", "environment variable MAX_FILES=\"0\" is not a number from 1 to 1000"),
        ("MAX_STALE", "10", "environment variable MAX_STALE=\"10\" is not a time such as 90s, 10m or 1h"),
        ("CAPTURE_DIR", "captures", "environment variable CAPTURE_DIR=\"captures\" is not the absolute path"),
        (
            "HOST_NETWORK_NAMESPACES",
            "a/b",
            "environment variable HOST_NETWORK_NAMESPACES=\"a/b\" is not a list of namespaces",
        ),
    ] {
        let (code, _, error) = Node::new().with(name, value).run(&[]);
        assert!(code == 2 && error.contains(sentence) && error.lines().count() == 1, "{code} {error}");
        let (time, rest) = error.split_once(' ').unwrap();
        assert!(time.strip_prefix('[').unwrap().parse::<Timestamp>().is_ok(), "an RFC 3339 time: {error}");
        assert!(rest.starts_with("ERROR] environment variable"), "{error}");
    }
    let (code, _, error) = Node::new().without("NODE_NAME").run(&[]);
    assert!(
        code == 2 && error.contains("environment variable NODE_NAME is not set; set it to the name of this"),
        "{error}"
    );
}

#[test]
fn a_directory_that_cannot_be_used_is_exit_1_with_a_sentence() {
    let node = Node::new();
    let not_a_directory = node.path("kubeconfig/captures").display().to_string();
    let missing = node.path("none").display().to_string();
    for (name, value, sentence) in [
        ("CAPTURE_DIR", &not_a_directory, format!("cannot use CAPTURE_DIR={not_a_directory}: ")),
        ("RUN_DIR", &not_a_directory, format!("cannot use RUN_DIR={not_a_directory}: ")),
        ("KUBECONFIG", &missing, "set KUBECONFIG to its path".to_owned()),
    ] {
        let (code, _, error) = Node::new().with(name, value).run(&[]);
        assert!(code == 1 && error.contains(&sentence), "{code} {error}");
    }
}

#[test]
fn health_without_a_controller_is_neither_alive_nor_ready() {
    let node = Node::new();
    for arguments in [&["health"][..], &["health", "--ready"]] {
        let (code, _, error) = node.run(arguments);
        assert!(code == 1 && error.starts_with("not alive: "), "{code} {error}");
    }
}
