//! The file format: what is written comes back, and what is damaged is told.

mod compact;
mod damage;
mod golden;
mod hostile;
mod sample;
mod speed;
mod survey;
mod workload;
