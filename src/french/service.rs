//! What is said of deliveries, endpoints, sinks and reconciliations.

use super::Pair;

pub(super) const PHRASES: &[Pair] = &[];
