//! draft
#![forbid(unsafe_code)]
pub mod capture;
pub mod desired;
pub mod plan;
pub mod pod;
pub mod ring;
pub mod slots;
