//! The controller as a process: the real binary against a scripted API server, with real scripts in tcpdump's place.
//!
//! `support::api` is that server, `support::node` a node of its own for each test, `support::pod` a pod on it. No test waits for a
//! fixed time: a test polls with a deadline for what must happen, and looks at what must not happen after something later has
//! been seen to happen.

/// The controller: what it does with pods, tcpdump, the API server and the disk.
mod controller {
    mod addresses;
    mod changes;
    mod command_line;
    mod events;
    mod failures;
    mod fairness;
    mod hostile;
    mod kernel_filter;
    mod lifecycle;
    mod limits;
    mod node_lock;
    mod optional;
    mod outage;
    mod real_tcpdump;
    mod restart;
    mod shutdown;
    mod state_file;
    mod stop_on;
}

/// `status`, `get` and `follow`.
mod readers {
    mod conditions;
    mod damage;
    mod dedup;
    mod follow;
    mod get;
    mod interfaces;
    mod limits;
    mod memory;
    mod no_capture;
    mod races;
    mod status;
}

/// What the tests run on.
mod support {
    pub mod api;
    pub mod child;
    pub mod http;
    pub mod node;
    pub mod packets;
    pub mod pod;
    pub mod process;
}
