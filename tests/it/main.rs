//! The controller as a process: the real binary against a scripted API server, with real scripts in tcpdump's place.
//!
//! `api` is that server, `node` a node of its own for each test, `pod` a pod on it. Nothing waits for a fixed time: what is to
//! happen is polled for with a deadline, and what must not happen is looked at once something later has been seen to happen.

mod api;
mod controller;
mod hostile;
mod http;
mod node;
mod packets;
mod pod;
mod process;

mod addresses;
mod capture;
mod changes;
mod command_line;
mod copies;
mod damage;
mod elsewhere;
mod events;
mod fair;
mod follow;
mod instance;
mod interfaces;
mod kernel;
mod limits;
mod memory;
mod optional;
mod outage;
mod processes;
mod racing;
mod readers;
mod reading;
mod real;
mod restart;
mod shutdown;
mod situations;
mod state;
mod status;
