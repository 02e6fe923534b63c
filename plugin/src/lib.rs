//! `kubectl packet-capture`: starts captures, and fetches and shows their packets.

pub mod kubectl;
mod printable;
