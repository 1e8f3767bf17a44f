//! The local Finkare, asked over HTTP as the relay asks it: one binary, a module per subject.

mod api;
mod company;
mod controls;
mod deliveries;
mod faults;
mod scene;
mod variants;
