//! `kubectl packet-capture`: starts captures, and fetches and shows their packets.
//!
//! So far this program has the verb `status`, and what the other verbs will be made of. The script `kubectl-packet_capture` at the root of
//! the repository has all verbs, and is what `make install-plugin` installs.
//!
//! | module | what it does |
//! |---|---|
//! | [`kubectl`] | kubectl as a child process; nothing else talks to the cluster |
//! | [`pods`], [`agents`] | which pods are meant; which packet-capture pod is on which node |
//! | [`entry`] | the JSON of `status`, `get` and `follow` |
//! | [`pcap`], [`pcapng`], [`merge`], [`names`] | packets: read, written, put in order of time, with the names of their addresses |
//! | [`status`], [`cli`] | the verb; the command line |

pub mod agents;
pub mod cli;
pub mod entry;
pub mod kubectl;
pub mod merge;
pub mod names;
pub mod pcap;
pub mod pcapng;
pub mod pods;
mod printable;
pub mod status;
