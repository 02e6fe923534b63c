//! draft
pub mod capture;
pub mod config;
pub mod desired;
pub mod events;
pub mod health;
pub mod instance;
pub mod plan;
pub mod pod;
pub mod report;
pub mod ring;
pub mod run;
pub mod signals;
pub mod slots;
pub mod state;
pub mod tcpdump;
pub mod watch;
