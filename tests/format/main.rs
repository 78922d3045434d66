//! The file format: what is written comes back, and what is damaged is told.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

mod compact;
mod damage;
mod golden;
mod hostile;
mod repeats;
mod salvage;
mod sample;
mod speed;
mod survey;
mod workload;
