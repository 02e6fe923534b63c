//! The real tcpdump on addresses of a loopback device. Each test runs in namespaces of its own, which end with the test's process.

use std::{
    env,
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    process::Command,
    time::{Duration, SystemTime},
};

use rustix::process::Signal;

use crate::support::{
    child::Controller,
    node::{Node, SYSTEM_PATH},
    pod::{Pod, pod, web},
    process::{lives, signal, until, within},
};

const POD: &str = "198.51.100.7";
const PEER: &str = "198.51.100.8";
const STRANGER: &str = "198.51.100.9";
const POD_V6: &str = "2001:db8::7";
const PEER_V6: &str = "2001:db8::8";

/// Runs a test again as a process in its own network and mount namespace. Returns true in that process, and false in the first one.
fn is_within_namespace(test: &str) -> bool {
    if env::var_os("IT_NAMESPACE").is_some() {
        return true;
    }
    // No pod may have an address of the node, so these are local routes. A socket can be bound to them; IPv6 needs a setting for that.
    let routes =
        [POD, PEER, STRANGER, POD_V6, PEER_V6].map(|ip| format!("ip route add local {ip} dev lo")).join(" && ");
    let addresses = format!("echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind && {routes}");
    let (_crate, module) = module_path!().split_once("::").unwrap();
    let run = format!("exec \"$0\" --exact {module}::{test} --ignored --nocapture");
    let script = format!("ip link set lo up && {addresses} && {run}");
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c", &script]).arg(env::current_exe().unwrap()).env("IT_NAMESPACE", "1");
    let output = command.output().unwrap();
    let [out, error] = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success() && out.contains(" 1 passed"), "{out}{error}");
    false
}

fn node() -> Node {
    // Debian's tcpdump would change to a user of its own that may not write here.
    Node::new().with("PATH", SYSTEM_PATH).with("TCPDUMP_OPTIONS", "-Z root -U -B 16384")
}

fn captured(files: &str) -> Pod {
    web().asks(files).at(&[POD])
}

/// The bytes of all files of `web`.
fn bytes(node: &Node) -> Vec<u8> {
    let paths = node.paths("captres-web.pcap");
    paths.iter().filter_map(|path| fs::read(path).ok()).flatten().collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Sends a packet of 1,000 bytes that begins with a text.
fn send(from: &str, to: &str, text: &str) {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    let mut packet = text.as_bytes().to_vec();
    packet.resize(1000, b'.');
    socket.send_to(&packet, (to, 9)).unwrap();
}

/// Sends packets from the pod until one has arrived in the files: from then on the capture runs, and has written.
fn send_until_captured(node: &Node, text: &str) {
    until(&format!("the packet {text}"), || {
        send(POD, PEER, text);
        within(Duration::from_millis(200), || holds(&bytes(node), text).then_some(()))
    });
}

/// Whether tcpdump can read each file to its end.
fn assert_readable(node: &Node) {
    for path in node.paths("captres-web.pcap") {
        let output = Command::new("tcpdump").arg("-nr").arg(&path).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !error.contains("truncated"), "{}: {error}", path.display());
    }
}

/// Waits for the one tcpdump that is not `before`.
fn next_tcpdump(node: &Node, before: i32) -> i32 {
    until("the next tcpdump", || node.tcpdumps().into_iter().find(|pid| *pid != before && lives(*pid)))
}

fn start(node: &Node, files: &str) -> Controller {
    node.api.put(&captured(files));
    node.start_ready()
}

#[test]
#[ignore = "needs root and tcpdump"]
fn the_pods_packets_and_no_others_are_captured_counted_and_removed() {
    if is_within_namespace("the_pods_packets_and_no_others_are_captured_counted_and_removed") {
        let node = node();
        let _controller = start(&node, "5");
        send_until_captured(&node, "from-the-pod");
        send(STRANGER, PEER, "from-a-stranger");
        send(PEER, POD, "to-the-pod");
        send_until_captured(&node, "and-later");
        let bytes = bytes(&node);
        assert!(holds(&bytes, "to-the-pod") && !holds(&bytes, "from-a-stranger"));
        assert_readable(&node);
        node.api.put(&pod("web").at(&[POD]));
        let message = node.until_event("web", "CaptureStopped");
        assert!(message.contains(" copies of packets captured, 0 dropped by the kernel; 1 file deleted"), "{message}");
        assert_eq!(node.paths("captres-"), [] as [std::path::PathBuf; 0]);
    }
}

#[test]
#[ignore = "needs root and tcpdump"]
fn a_ring_goes_on_when_it_becomes_wider_and_narrower() {
    if is_within_namespace("a_ring_goes_on_when_it_becomes_wider_and_narrower") {
        let node = node();
        let _controller = start(&node, "5");
        send_until_captured(&node, "in-the-first-ring");
        let first = next_tcpdump(&node, 0);
        node.api.put(&captured("12"));
        let second = next_tcpdump(&node, first);
        send_until_captured(&node, "in-the-second-ring");
        node.api.put(&captured("2"));
        next_tcpdump(&node, second);
        send_until_captured(&node, "in-the-third-ring");
        // Three rings left one file each, and the new ring has room for two: the oldest is removed.
        let bytes = bytes(&node);
        assert!(holds(&bytes, "in-the-second-ring"));
        assert_eq!(node.paths("captres-web.pcap").len(), 2);
        assert_readable(&node);
    }
}

#[test]
#[ignore = "needs root and tcpdump"]
fn a_ring_goes_on_after_the_controllers_death_and_tcpdumps() {
    if is_within_namespace("a_ring_goes_on_after_the_controllers_death_and_tcpdumps") {
        let node = node();
        let controller = start(&node, "5");
        send_until_captured(&node, "before-tcpdump-was-killed");
        let first = next_tcpdump(&node, 0);
        signal(first, Signal::KILL);
        let second = next_tcpdump(&node, first);
        assert_readable(&node);
        send_until_captured(&node, "before-the-controller-was-killed");
        controller.crash();
        let next = node.start();
        next.until_logged("waiting for another controller of this node, or a tcpdump");
        signal(second, Signal::TERM);
        next.until_logged("pods listed; ready");
        send_until_captured(&node, "after-all-that");
        let bytes = bytes(&node);
        for text in ["before-tcpdump-was-killed", "before-the-controller-was-killed", "after-all-that"] {
            assert!(holds(&bytes, text), "{text}");
        }
        assert_readable(&node);
    }
}

#[test]
#[ignore = "needs root and tcpdump"]
fn a_ring_never_has_more_files_than_asked_nor_larger_ones() {
    if is_within_namespace("a_ring_never_has_more_files_than_asked_nor_larger_ones") {
        let node = node();
        let _controller = start(&node, "2");
        send_until_captured(&node, "the-very-first");
        for round in 0..10 {
            (0..500).for_each(|n| send(POD, PEER, &format!("packet {round} {n}")));
            send_until_captured(&node, &format!("the-end-of-round-{round}"));
            let sizes = node.paths("captres-").into_iter().filter_map(|path| Some(fs::metadata(path).ok()?.len()));
            let sizes: Vec<u64> = sizes.collect();
            assert!(sizes.len() <= 2 && sizes.iter().all(|size| *size <= 1_002_000), "{sizes:?}");
        }
        assert_readable(&node);
        let bytes = bytes(&node);
        assert!(holds(&bytes, "the-end-of-round-9") && !holds(&bytes, "the-very-first"));
    }
}

#[test]
#[ignore = "needs root and tcpdump"]
fn a_filter_narrows_what_is_captured_and_one_that_can_match_nothing_keeps_what_runs() {
    if is_within_namespace("a_filter_narrows_what_is_captured_and_one_that_can_match_nothing_keeps_what_runs") {
        let node = node();
        let _controller = start(&node, "5");
        let first = next_tcpdump(&node, 0);
        for (n, (filter, said)) in
            [("ip6 proto 58", "rejects all packets"), ("tcp port", "syntax error")].into_iter().enumerate()
        {
            node.api.put(&captured("5").with("filter", filter));
            let message = until("the refusal", || node.messages("web", "CaptureRefused").get(n).cloned());
            assert!(message.contains("tcpdump says") && message.contains(said), "{message}");
        }
        assert!(lives(first) && node.tcpdumps() == [first]);
        node.api.put(&captured("5").with("filter", "src host 198.51.100.7 and udp dst port 9"));
        next_tcpdump(&node, first);
        send_until_captured(&node, "asked-for");
        send(PEER, POD, "not-asked-for");
        send(STRANGER, PEER, "from-a-stranger");
        send_until_captured(&node, "and-later");
        let bytes = bytes(&node);
        assert!(!holds(&bytes, "not-asked-for") && !holds(&bytes, "from-a-stranger"));
    }
}

#[test]
#[ignore = "needs root and tcpdump"]
fn a_packet_limit_is_kept_to_the_packet() {
    if is_within_namespace("a_packet_limit_is_kept_to_the_packet") {
        let node = node();
        node.api.put(&captured("5").with("packets", "7"));
        let _controller = node.start_ready();
        let message = until("the end", || {
            send(POD, PEER, "one-of-seven");
            node.messages("web", "CaptureFinished").pop()
        });
        let text = "all requested copies of packets are captured; 7 copies of packets captured, ";
        assert!(message.starts_with(text), "{message}");
        assert_readable(&node);
        assert_eq!(bytes(&node).windows(12).filter(|window| window == b"one-of-seven").count(), 7);
        assert!(node.tcpdumps().is_empty());
    }
}

#[test]
#[ignore = "needs root and tcpdump"]
fn the_newest_file_of_a_ring_stays_the_newest_whatever_the_files_times_are() {
    if is_within_namespace("the_newest_file_of_a_ring_stays_the_newest_whatever_the_files_times_are") {
        let node = node();
        let _controller = start(&node, "3");
        send_until_captured(&node, "the-very-first");
        let first = next_tcpdump(&node, 0);
        // 3.3 MB and more: index 0 is written a second time.
        (0..3300).for_each(|n| send(POD, PEER, &format!("packet {n}")));
        send_until_captured(&node, "the-newest");
        assert!(!holds(&bytes(&node), "the-very-first"));
        let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
        let full =
            node.paths("captres-web.pcap").into_iter().filter(|path| fs::metadata(path).unwrap().len() > 1_000_000);
        for path in full {
            File::options().write(true).open(path).unwrap().set_modified(tomorrow).unwrap();
        }
        node.api.put(&captured("2"));
        next_tcpdump(&node, first);
        send_until_captured(&node, "after-the-restart");
        assert!(holds(&bytes(&node), "the-newest"));
        assert_readable(&node);
    }
}

/// A connection over IPv6 from its first packet to its last, with a request of 1,000 bytes.
fn connect_over_ipv6() {
    let server = TcpListener::bind((PEER_V6, 0)).unwrap();
    let mut client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let mut accepted = server.accept().unwrap().0;
    client.write_all(&[b'.'; 1000]).unwrap();
    drop(client);
    accepted.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
#[ignore = "needs root and tcpdump"]
fn the_smallest_snaplen_keeps_tcp_flags_and_options_over_ipv6() {
    if is_within_namespace("the_smallest_snaplen_keeps_tcp_flags_and_options_over_ipv6") {
        let node = node();
        node.api.put(&web().asks("5").at(&[PEER_V6]).with("snaplen", "100"));
        let _controller = node.start_ready();
        let told = until("a connection in the file", || {
            connect_over_ipv6();
            let path = node.paths("captres-web.pcap").pop()?;
            let output = Command::new("tcpdump").args(["-nnvr"]).arg(path).arg("tcp").output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            (told.contains("Flags [S]") && told.contains("Flags [F")).then_some(told)
        });
        let packets: Vec<&str> = told.lines().filter(|line| line.contains("Flags [")).collect();
        for packet in &packets {
            let is_whole = packet.contains(", options [") && packet.contains("TS val ") && !packet.contains("[|");
            assert!(is_whole, "{packet}");
        }
        let wide = packets.iter().any(|packet| packet.contains("mss ") && packet.contains("wscale "));
        assert!(wide, "the first packet's options, to the last: {told}");
        // The longest record holds the link type's header and the snaplen that was asked for.
        let (bytes, mut at, mut longest) = (bytes(&node), 24, 0);
        while let Some(kept) = bytes.get(at + 8..at + 12) {
            let kept = u32::from_ne_bytes(kept.try_into().unwrap());
            longest = longest.max(kept);
            at += 16 + kept as usize;
        }
        assert_eq!(longest, 20 + 100);
    }
}

#[test]
#[ignore = "needs root and tcpdump"]
fn captures_stop_below_the_disks_low_watermark_and_go_on_above_the_high_watermark() {
    if is_within_namespace("captures_stop_below_the_disks_low_watermark_and_go_on_above_the_high_watermark") {
        let node = node().with("MIN_FREE_MB", "6");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=20M", "tmpfs"]).arg(node.path("captures")).status();
        assert!(mounted.unwrap().success());
        let _controller = start(&node, "3");
        send_until_captured(&node, "before-the-floor");
        let first = next_tcpdump(&node, 0);
        let filler = node.path("captures").join("filler");
        fs::write(&filler, vec![0; 15_500_000]).unwrap();
        // Without the controller tcpdump would go on writing.
        let message = until("the stop", || {
            send(POD, PEER, "at-the-floor");
            node.messages("web", "CaptureLowDisk").pop()
        });
        assert!(
            message.contains("fell below the low watermark of 6 MB (MIN_FREE_MB, MIN_FREE_PERCENT): it is "),
            "{message}"
        );
        assert!(
            message.contains("; kept: 1 file; the capture resumes when free space reaches the high watermark of 12 MB")
                && !lives(first),
            "{message}"
        );
        assert_readable(&node);
        assert!(holds(&bytes(&node), "before-the-floor"));
        // The free space is above the low watermark and below the high one.
        fs::write(&filler, vec![0; 11_000_000]).unwrap();
        for look in 1..=2 {
            // The controller touches this file after it has read the free space.
            let touched = || fs::metadata(node.path("run/alive")).unwrap().modified().unwrap();
            let before = touched();
            until(&format!("look {look} at the disk"), || (touched() > before).then_some(()));
        }
        assert!(node.tcpdumps().is_empty());
        fs::remove_file(&filler).unwrap();
        next_tcpdump(&node, first);
        send_until_captured(&node, "after-the-floor");
        assert!(holds(&bytes(&node), "before-the-floor"));
        assert_readable(&node);
        assert_eq!(node.messages("web", "CaptureRefused"), [""; 0], "the stop has said it");
        assert_eq!(node.messages("web", "CaptureStarted").len(), 2);
    }
}

#[test]
#[ignore = "needs root and tcpdump"]
fn a_filter_too_large_for_the_kernel_is_refused_and_stops_a_running_capture() {
    if is_within_namespace("a_filter_too_large_for_the_kernel_is_refused_and_stops_a_running_capture") {
        // In bytes: the default before Linux 6.8. Each network namespace has its own setting.
        let memory = |bytes: &str| fs::write("/proc/sys/net/core/optmem_max", bytes).unwrap();
        let filter = (1..=40).map(|n| format!("host {n:x}::{n:x}")).collect::<Vec<_>>().join("||");
        assert!(filter.len() <= 512);
        memory("20480");
        let node = node();
        let _controller = node.start_ready();
        let asking = captured("5").at(&[POD, "fd00::7"]).with("filter", &filter);
        node.api.put(&asking);
        let message = node.until_event("web", "CaptureRefused");
        assert!(message.contains("t allocate kernel memory for filter") && message.contains("optmem_max"), "{message}");
        assert!(node.tcpdumps().is_empty());
        node.api.put(&asking.clone().with("filter", "udp"));
        let first = next_tcpdump(&node, 0);
        memory("131072");
        node.api.put(&asking);
        let second = next_tcpdump(&node, first);
        assert!(node.messages("web", "CaptureFailed").is_empty());
        memory("20480");
        signal(second, Signal::KILL);
        let message = until("the second failure", || node.messages("web", "CaptureFailed").get(1).cloned());
        assert!(
            message.contains("the kernel does not accept the filter") && message.contains("trying again in "),
            "{message}"
        );
    }
}

#[test]
#[ignore = "needs root and tcpdump"]
fn a_capture_stops_while_its_pods_address_is_the_nodes_own() {
    if is_within_namespace("a_capture_stops_while_its_pods_address_is_the_nodes_own") {
        let address = |what: &str| {
            let words = ["address", what, "198.51.100.7/32", "dev", "lo"];
            assert!(Command::new("ip").args(words).status().unwrap().success());
        };
        let node = node();
        let _controller = start(&node, "5");
        send_until_captured(&node, "before");
        let first = next_tcpdump(&node, 0);
        address("add");
        let message = node.until_event("web", "CaptureStopped");
        assert!(message.starts_with("the pod reports an address that is not its own; ") && !lives(first), "{message}");
        let message = node.until_event("web", "CaptureRefused");
        assert!(message.contains("\"198.51.100.7\" is the node's own address"), "{message}");
        address("del");
        // The route went with the address.
        let route = ["route", "replace", "local", "198.51.100.7/32", "dev", "lo"];
        assert!(Command::new("ip").args(route).status().unwrap().success());
        next_tcpdump(&node, first);
        send_until_captured(&node, "after");
    }
}
