//! The dashboard.

pub mod chart;
