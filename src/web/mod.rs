//! HTTP: the public listener (hooks and health only) and the admin listener (everything else).
//!
//! ```text
//! connection ─▶ listener ─▶ request id ─▶ router ─▶ receive │ health │ admin/*
//!                (limits)                              │
//!                                     error::Problem ◀─┘ how every error is answered
//! ```

pub mod admin;
pub mod body;
pub mod error;
pub mod health;
pub mod receive;
pub mod stray;
