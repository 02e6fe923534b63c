//! packet-capture: one tcpdump for each pod of this node that asks for one by annotation, and nothing left behind.
//!
//! # A pure planner in a thin shell
//!
//! ```text
//! API server --watch--> ObservedPod --> Desired ---+
//! SIGCHLD -----reap---> Exit --------> Captures ---+--> plan(&World) --> actions --> controller --> process, files
//! disk, deadline --------------------> Disk, now --+         ^--- facts: started, exited, removed … ---+
//!                                                            facts --> Notice --> text --> Event on the pod
//! ```
//!
//! [`core::desired`] folds watch events into what each pod last validly asked for, and where it can be captured. [`core::captures`]
//! holds what there is. [`core::plan`] compares the two and names actions; [`core::apply`] records each action; the fact that comes
//! back changes one capture and may return a [notice](core::notices). [`controller::run`] waits for one thing, records it, has it
//! planned, and carries the actions out until nothing is left to do. So a missed event, a crash, a failed removal, a new list and a
//! tcpdump that does not die are one code path: compare and act again.
//!
//! The verbs `status`, `get` and `follow` ([`reading`]) are processes of their own in the same container. They ask the controller nothing:
//! they read the state file and the files of the captures.
//!
//! # Layers
//!
//! A folder that talks to something is named after it. `tests/layers.rs` holds these rules.
//!
//! | folder | what it does | may import |
//! |---|---|---|
//! | [`core`] | decides; no I/O, no clock, no log, no async code, no kube | |
//! | [`text`] | words every sentence about a capture; as pure as `core` | `core` |
//! | [`files`] | what is in CAPTURE_DIR: the rings, the state file, the savefile format | `core` |
//! | [`kernel`] | what the kernel tells or grants: addresses, links, signals, a lock for one controller per node, the OOM score | `core` |
//! | [`process`] | the tcpdump processes; this process as the kubelet sees it | `core`, `kernel` |
//! | [`k8s`] | the API server: pods, the watch, Events | `core`, `text` |
//! | [`reading`] | `status`, `get`, `follow` | `core`, `files`, `kernel`, `text` |
//! | [`controller`] | the loop | all of these but `reading` |
//! | [`cli`] | the command line | `core`, `text` |
//! | [`config`] | the environment | `core` |
//! | `main` | from a command to an exit code | all of these |
//!
//! One file, one secret: a process ID is known to `process/child.rs` only, a capture's path to [`files::capture_dir`], a pod's JSON to
//! [`k8s::pod`], the wording of Events to [`text::notice`].
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | stem | what all file names of a capture begin with |
//! | ring | the files of one stem, which tcpdump fills in turn |
//! | capture | one ring, the tcpdump that writes it, and what is known of both; one for each stem, since files can have one writer only |
//! | packet, copy | a packet is what the pod sends or receives; a copy is what tcpdump sees of it on one interface |
//! | pod request | a pod that asks for a capture: what, where, and which of its requests is in force |
//! | valid request | a request that could be parsed, with the annotations that it was parsed from |
//! | in force | the last valid request whose filter tcpdump has accepted: it stays in force until another is, or the annotation is removed |
//! | pending | of a request: tcpdump has not compiled its filter yet |
//! | waiting | of a request: it is not carried out yet, because it waits for room |
//! | target | where a pod can be captured: at addresses of its own, nowhere yet, nowhere at all, or no longer |
//! | claim | a pod's report that an address is its own. In the state file `claim` is the reservation |
//! | spec | what tcpdump is given: files, filter, packets, snap length |
//! | invocation | a spec and the addresses: what one tcpdump is started with |
//! | admitted | the request that is carried out: there is room for it on the node, and in its namespace's share |
//! | reservation | whether a capture has room (held), is in the queue for room (queued), or needs none now (released) |
//! | lifecycle | where a capture is in its life: active, finished, retained, removing |
//! | finished | it reached its own limit (its duration, its number of packets), or had an incident that it was to stop on |
//! | incident | what annotation `stop-on` waits for: a container of the pod restarted or failed, or the pod was Ready and is no more |
//! | recorder, baseline | the part of a capture that waits for an incident; what it compares the pod's status with |
//! | retained | its pod is gone, and its files are kept for a time (KEEP_AFTER_POD) |
//! | evicted | retained files that are removed before their time, because a capture needs their room or the disk is low |
//! | removing | its files are to be removed, whatever is asked from now on |
//! | condition | what a pod's owner must know for as long as it holds: refused, shortage, waiting, missed, paused |
//! | refusal, shortage | why a request cannot be carried out at all; what the node lacks for it now |
//! | stop reason | why a capture has no tcpdump, or why its tcpdump is asked to end |
//! | stale | the API server has not answered for so long that a pod's address may be another pod's by now |
//! | assessment | what is wanted of a capture's process, and which condition holds |
//! | notice | a change that is worth an Event, as data |
//! | record | what is kept of one capture, in memory and as an entry of the state file |
//! | recall | to take over from the state file what an earlier process left |
//! | turn, pass | a turn: what happened is taken in, then planned and carried out; a pass: one plan and its actions |
//! | state | the word that `status` shows |
//! | low, high watermark | the free space below which all captures stop, and at which they continue |
//!
//! # What is promised
//!
//! - Files are removed only when no tcpdump writes them (this process reaped its own; an earlier one's has released the node lock), and
//!   only after a complete list of pods was seen.
//! - A removal that was seen is carried out, also by the next process, whatever the pod asks after it.
//! - Annotations that cannot be parsed, and lists that break off, change nothing: the request in force stays.
//! - No capture is wider than its request: one invalid value refuses the whole request, and no filter widens a capture.
//! - A running capture keeps its room. A released capture counts only as the files that it has. A request without room is refused, the
//!   newest first. No namespace has more than its share.
//! - One writer per file name, one controller per node (`kernel::node_lock`).
//! - Every wait has a deadline, every retry a longest wait, every buffer a bound: named constants, each with its reason.
//!
//! # One thread
//!
//! Nothing waits for a process: a child is reaped by `try_wait` after SIGCHLD, and TERM, KILL and their repetition are a schedule of
//! the planner. What can still block the thread: starting a tcpdump until it is executed, the file system's calls (rename, unlink,
//! the state file), and a log pipe that nobody reads. A tcpdump that writes to standard error without end is read once a turn, and
//! waits in between.

pub mod cli;
pub mod config;
#[cfg(test)]
mod test_lock;

/// Decides: no I/O, no clock, no log.
pub mod core {
    pub mod admission;
    pub mod annotations;
    pub mod apply;
    pub mod captures;
    pub mod condition;
    pub mod desired;
    pub mod disk;
    pub mod eviction;
    pub mod filter;
    pub mod limits;
    pub mod name;
    pub mod notices;
    pub mod observed_pod;
    pub mod plan;
    pub mod recall;
    pub mod recorder;
    pub mod refusal;
    pub mod request;
    pub mod world;
}

/// Every sentence about a capture.
pub mod text {
    pub mod format;
    pub mod notice;
    pub mod refusal;
    pub mod status;
}

/// The API server.
pub mod k8s {
    pub(crate) mod events;
    pub mod lookup;
    pub mod pod;
    pub mod watch;
}

/// What the kernel tells: interfaces, addresses, signals, names that only one may have.
pub mod kernel {
    pub mod memory;
    pub mod netlink;
    pub(crate) mod node_lock;
    pub(crate) mod signals;
}

/// tcpdump, and this process as the kubelet sees it.
pub mod process {
    mod child;
    pub mod compiler;
    pub mod health;
    pub(crate) mod stderr;
    pub mod tcpdump;
}

/// What lies in CAPTURE_DIR.
pub mod files {
    pub mod capture_dir;
    pub mod pcap;
    pub mod state_file;
}

/// `status`, `get` and `follow`: processes of their own.
pub mod reading {
    pub mod copy;
    pub mod dedup;
    pub mod error;
    pub mod interfaces;
    pub mod messages;
    pub mod output;
    pub mod readers;
    pub mod ring_reader;
    pub mod selection;
    pub mod status;
    pub mod warning;
}

/// The loop.
pub mod controller {
    pub mod run;
}
