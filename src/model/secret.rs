//! Texts that must never be shown: the type of the crate `outgoing`, which also masks them in what other services echo.

pub use outgoing::secret::{Secret, has_split_password};
