//! Filters that the kernel does not accept: libpcap then filters in tcpdump's process, and every packet of the node is copied to it.

use crate::support::{
    node::Node,
    pod::web,
    process::{lives, until},
};

const WARNING: &str = "(\"Couldn't allocate kernel memory for filter\")";

#[test]
fn a_filter_that_the_kernel_does_not_take_starts_nothing_and_stops_nothing() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web().with("filter", "sctp"));
    let message = node.until_event("web", "CaptureRefused");
    let said = "annotation tcpdump.antrea.io/filter cannot be used: the kernel does not accept the filter ";
    assert!(message.starts_with(said) && message.contains("raise net.core.optmem_max on the node"), "{message}");
    assert!(message.replace('\\', "").contains(WARNING) && message.ends_with("; nothing is captured"), "{message}");
    node.api.put(&web().with("filter", "udp"));
    let tcpdump = node.nth_start("web", 1);
    node.api.put(&web().asks("7").with("filter", "sctp"));
    let message = until("the second refusal", || node.messages("web", "CaptureRefused").get(1).cloned());
    assert!(message.ends_with("; kept: the capture with 5 files"), "{message}");
    node.until_heard(&controller);
    assert!(lives(tcpdump.pid) && node.starts("web").len() == 1);
}

#[test]
fn a_tcpdump_without_a_kernel_filter_is_ended_at_once_and_its_owner_told_why() {
    let node = Node::new();
    node.tcpdump_is("web", "unfiltered");
    node.api.put(&web());
    let _controller = node.start_ready();
    let tcpdump = node.nth_start("web", 1);
    until("its end", || (!lives(tcpdump.pid)).then_some(()));
    let message = node.until_event("web", "CaptureFailed");
    let said = "tcpdump was stopped because of its filter: the kernel does not accept the filter ";
    assert!(message.starts_with(said) && message.contains("; trying again in 1 s (failure 1)"), "{message}");
    node.tcpdump_is("web", "polite");
    until("one that goes on", || {
        node.starts("web").last().filter(|last| last.pid != tcpdump.pid && lives(last.pid)).cloned()
    });
}
