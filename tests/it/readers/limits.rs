//! Many readers at once: how many may run, how much memory they take, and what their standard output may be.

use std::{
    fs::{self, OpenOptions},
    io::Read,
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt, net::UnixStream},
    },
    process::{Child, Stdio},
    time::Duration,
};

use rustix::{
    fs::OFlags,
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use crate::{
    readers::get::{entry, leave_state, node_with},
    support::{
        node::Node,
        packets::{HEADER_BYTES, numbered, record, write},
        process::{read_exactly, signal, until, within},
    },
};

/// A reader whose output nobody reads; killed with its test.
struct Unread(Child);

impl Unread {
    fn start(node: &Node, arguments: &[&str]) -> Self {
        let mut command = node.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap_or_default()
    }

    /// Waits for the header: it was let in, and does what it does.
    fn until_begun(mut self) -> Self {
        read_exactly(self.0.stdout.as_mut().unwrap(), HEADER_BYTES);
        self
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node with captures of `web` in the namespaces `default` and `prod`, of more packets than a pipe holds.
fn node_with_two() -> Node {
    let more: Vec<u8> = (1..41).flat_map(|number| record([number, 0], &[0; 50_000])).collect();
    let node = node_with(&[("0", more.clone())]);
    write(&node.capture("captres-web_prod.pcap0"), &more);
    let mut other = entry();
    (other["namespace"], other["uid"]) = ("prod".into(), "2".into());
    leave_state(&node, &[entry(), other]);
    node
}

#[test]
fn readers_are_bounded_per_namespace_and_a_killed_reader_makes_room_at_once() {
    let node = node_with_two();
    let follow = |pod| Unread::start(&node, &["follow", pod, "--all"]).until_begun();
    let mut unread: Vec<Unread> = (0..8).map(|_| follow("web")).collect();
    for verb in ["get", "follow"] {
        let (code, out, error) = node.run(&[verb, "web"]);
        let sentence = "error: 8 readers (get, follow) of captures in namespace default already run on this node, of at most 8; hint: ";
        assert!(code == 1 && out.is_empty() && error.starts_with(sentence), "{verb}: {code} {error}");
    }
    // Others are let in; the verbs that are not bounded work.
    let mut others: Vec<Unread> = (0..7).map(|_| follow("prod/web")).collect();
    assert_eq!(node.run_bytes(&["get", "prod/web"]).0, 0);
    assert_eq!(node.run(&["status"]).0, 0);
    others.push(follow("prod/web"));
    let (code, _, error) = node.run(&["get", "third/web"]);
    assert!(
        code == 1 && error.starts_with("error: 16 readers (get, follow) of captures already run on this node"),
        "{error}"
    );
    signal(unread[3].pid(), Signal::KILL);
    until("its end", || unread[3].0.try_wait().unwrap());
    unread[3] = follow("web");
    assert_eq!(node.run(&["get", "web"]).0, 1);
}

#[test]
fn a_reader_is_the_first_process_that_is_killed_for_lack_of_memory() {
    let node = node_with_two();
    let reader = Unread::start(&node, &["follow", "web", "--all"]).until_begun();
    assert_eq!(reader.proc("oom_score_adj").trim(), "1000");
}

#[test]
fn a_reader_that_nobody_reads_holds_less_than_a_megabyte() {
    let node = node_with_two();
    // Once with packets that are held back until the pod's interface is known.
    for arguments in [&["follow", "web"][..], &["follow", "web", "--all"]] {
        let reader = Unread::start(&node, arguments).until_begun();
        // It waits because the pipe is full.
        until("a full pipe", || reader.proc("wchan").contains("poll").then_some(()));
        let (mut of_program, mut kilobytes) = (false, 0);
        for line in reader.proc("smaps").lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["Anonymous:", number, _] if !of_program => kilobytes += number.parse::<u64>().unwrap(),
                // A mapping of a file is the program, whose size depends on its build.
                [range, _, _, _, _, ref path @ ..] if range.contains('-') => {
                    of_program = path.first().is_some_and(|path| path.starts_with('/'));
                }
                _ => (),
            }
        }
        assert!((1..768).contains(&kilobytes), "{arguments:?}: {kilobytes} kB");
    }
}

/// Both ends of a terminal.
fn terminal() -> (OwnedFd, fs::File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let flags = OFlags::NOCTTY.bits().cast_signed();
    (master, OpenOptions::new().read(true).write(true).custom_flags(flags).open(name).unwrap())
}

#[test]
fn get_and_follow_refuse_a_terminal_before_the_first_byte() {
    let node = node_with(&[("0", numbered(1..4))]);
    for verb in ["get", "follow"] {
        let (master, slave) = terminal();
        let mut command = node.command();
        command.args([verb, "web"]).stdin(slave.try_clone().unwrap()).stdout(slave).stderr(Stdio::piped());
        let output = command.output().unwrap();
        drop(command);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(error.starts_with("error: standard output is a terminal"), "{error}");
        // Nothing came: its other end says that it is closed.
        assert!(fs::File::from(master).read(&mut [0; 1]).is_err());
    }
}

#[test]
fn get_is_not_held_up_by_a_terminal_that_nobody_reads() {
    let node = node_with(&[("0", numbered(1..4))]);
    let (master, slave) = terminal();
    // Full of what nobody has read.
    let sink = packet_capture::reading::output::Sink::of(std::os::fd::AsFd::as_fd(&slave)).unwrap();
    while sink.write(&[b'.'; 4096]).is_ok() {}
    let mut command = node.command();
    let mut child = Unread(command.args(["get", "web"]).stdout(Stdio::piped()).stderr(slave).spawn().unwrap());
    let ended = within(Duration::from_secs(30), || child.0.try_wait().unwrap()).expect("its end");
    assert_eq!(ended.code(), Some(0));
    drop(master);
}

#[test]
fn follow_whose_output_is_full_ends_with_its_input() {
    let node = node_with_two();
    for socket in [false, true] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = node.command();
        let stdout = if socket { OwnedFd::from(theirs).into() } else { Stdio::piped() };
        command.args(["follow", "web", "--all"]).stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::null());
        let mut child = Unread(command.spawn().unwrap());
        drop(command);
        until("a full output", || child.proc("wchan").contains("poll").then_some(()));
        drop(child.0.stdin.take());
        let ended = until("its end", || child.0.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0), "socket: {socket}");
        drop(ours);
    }
}
