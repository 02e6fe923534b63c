//! `kubectl packet-capture`: starts captures, and fetches and shows their packets.
