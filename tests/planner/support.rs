//! Nodes and pods for the tests of single promises.

use std::time::Duration;

use packet_capture::core::{limits::Limits, name::PodName};

use crate::{
    asks::{asking, at},
    node::Node,
};

pub fn pod(name: &str) -> PodName {
    PodName { namespace: "default".into(), name: name.into() }
}

/// A node on which nothing goes wrong.
pub fn node(limits: Limits) -> Node {
    let mut node = Node::new(u64::MAX, limits, false);
    node.repair();
    node
}

/// Room for all, without end.
pub fn roomy() -> Limits {
    Limits { duration_max: None, ..Limits::default() }
}

/// A node with one pod at one address, which asks for 5 files and what else is given, and whose events have been observed.
pub fn captured(others: &[(&str, &str)]) -> (Node, PodName) {
    let (mut node, web) = (node(roomy()), pod("web"));
    node.server.list();
    node.server.create(&web, asking("5", others), at("10.0.0.1"));
    node.listen();
    (node, web)
}

/// Asks for 5 files and what else is given, and waits until that is carried out.
pub fn annotate(node: &mut Node, web: &PodName, others: &[(&str, &str)]) {
    node.server.annotate(web, asking("5", others));
    node.listen();
    node.pass(Duration::from_secs(3));
}

/// How many files each start so far had.
pub fn started(node: &Node) -> Vec<u16> {
    node.starts.iter().map(|(_, invocation)| invocation.spec.files).collect()
}
