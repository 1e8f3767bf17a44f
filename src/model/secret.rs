//! Texts that must never be shown: the type of the crate `outgoing`, which also masks them when other services repeat
//! them.

pub use outgoing::secret::{Secret, has_split_password};
