//! `kubectl packet-capture`: starts captures, and fetches and shows their packets.

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
