//! packet-capture: a tcpdump for each pod of this node that asks for one by annotation, and nothing left behind.
//!
//! # A pure planner in a thin shell
//!
//! ```text
//! API server --watch--> run --hear--> Desired --+
//! SIGCHLD ----pipe----> run --reap--> Slots ----+--> plan(&World) -> actions -> run -> tcpdump / ring / state / events
//! disk, deadline -----> run --------------------+          ^------ what came of them, back into Slots ------+
//! ```
//!
//! [`desired`](core::desired) folds what the API server says into what each pod last readably asked for, and where it is. [`slots`](core::slots) holds what
//! there is: one slot for each *stem*, the beginning of a capture's file names, since files are what can have one writer only.
//! [`annotations`](core::annotations) and [`filter`](core::filter) say what a text asks for, [`room`](core::room) which of it the node has room for, within its [`limits`](core::limits).
//! [`plan`](core::plan) compares the two and names what is to be done. [`run`](controller::run) waits for one thing, records it, has it planned and carries
//! it out, until there is nothing left to do. So a missed event, a crash, a failed removal, a new list and a tcpdump that will not
//! die are one code path: compare and act again.
//!
//! These, [`capture`](core::capture), [`refusal`](core::refusal) and [`pod`](k8s::pod) do no I/O, read no clock and write no log. The others keep one secret each: [`watch`](k8s::watch)
//! how the stream is opened anew, [`tcpdump`](process::tcpdump) the processes, [`stderr`](process::stderr) their words, [`ring`](files::ring) the files, [`state`](files::state) what the next
//! process must know, [`report`](text::report) the wording, [`events`](k8s::events) the way to the API server, [`netlink`](kernel::netlink) the way to the kernel's own lists,
//! [`signals`](kernel::signals), [`health`](process::health), [`instance`](kernel::instance) and [`config`] theirs.
//!
//! # Readers beside it
//!
//! ```text
//! cli -> status:        state, ring --> a table
//! cli -> readers, copy: ring -> reader -> once -> output
//! ```
//!
//! The verbs are processes of their own in the same container ([`cli`]). They ask the controller nothing: they read the state file
//! and the files ([`status`](reading::status), [`copy`](reading::copy)). So that they do not take the captures' memory, [`readers`](reading::readers) bounds how many copy at once. [`reader`](reading::reader) reads a ring while tcpdump writes it ([`pcap`](files::pcap) is the files'
//! format), [`once`](reading::once) tells which copy of a packet is the pod's own, by what [`interfaces`](reading::interfaces) knows, [`output`](reading::output) notices that nobody reads
//! any more, and [`whereabouts`](k8s::whereabouts) asks the API server where a pod is whose capture is not here.
//!
//! # What is promised
//!
//! - A file is removed only when its writer was reaped, and only after a complete list of pods was seen.
//! - A removal that was seen is carried out, also by the next process, and whatever the pod asks meanwhile.
//! - What cannot be read changes nothing: the last readable request stands.
//! - Nobody gets more than was asked for: one value that cannot be read refuses all of them, and no filter widens a capture.
//! - What runs stays in, what rests counts as its files only, and what finds no room is refused, the newest first. No namespace
//!   has more than its share.
//! - One writer per file name, one controller per node ([`instance`](kernel::instance)).
//! - Every wait has a deadline, every retry a longest wait, every buffer a bound: named constants, each with its reason.
//!
//! # One thread
//!
//! Nothing waits for a process: a child is taken in by `try_wait` after SIGCHLD, and TERM, KILL and their repetition are a
//! schedule of the planner. What can still block the thread: starting a tcpdump until it is executed, the file system's calls
//! (rename, unlink, the state file), and a log pipe that nobody reads. A tcpdump that chatters without end is read once a turn,
//! and stands still in between.

pub mod cli;
pub mod config;

/// Decides: no I/O, no clock, no log.
pub mod core {
    pub mod annotations;
    pub mod capture;
    pub mod condition;
    pub mod desired;
    pub mod filter;
    pub mod limits;
    pub mod observed_pod;
    pub mod plan;
    pub mod refusal;
    pub mod room;
    pub mod slots;
}

/// Every sentence about a capture.
pub mod text {
    pub mod format;
    pub mod report;
}

/// The API server.
pub mod k8s {
    pub mod events;
    pub mod pod;
    pub mod watch;
    pub mod whereabouts;
}

/// What the kernel tells: interfaces, addresses, signals, names that only one may have.
pub mod kernel {
    pub mod instance;
    pub mod memory;
    pub mod netlink;
    pub mod signals;
}

/// tcpdump, and this process as the kubelet sees it.
pub mod process {
    pub mod health;
    pub mod stderr;
    pub mod tcpdump;
}

/// What lies in CAPTURE_DIR.
pub mod files {
    pub mod pcap;
    pub mod ring;
    pub mod state;
}

/// `status`, `get` and `follow`: processes of their own.
pub mod reading {
    pub mod copy;
    pub mod interfaces;
    pub mod messages;
    pub mod once;
    pub mod output;
    pub mod reader;
    pub mod readers;
    pub mod status;
}

/// The loop.
pub mod controller {
    pub mod run;
}
