//! From a verified delivery to a committed event.

pub mod route;
