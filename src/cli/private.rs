//! Keeps the memory of a running service to itself.
//!
//! The secrets of webhooks and sinks are in it. A core dump would write them to a disk, and another program of the
//! same user could read them out of the process (`ptrace`, `/proc/PID/mem`, `/proc/PID/environ`). Both is switched
//! off when `serve` begins; root can still do it.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Switches both off. Where the system refuses, the service runs all the same: a warning says so.
pub(super) fn close_memory() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be switched off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the process's memory could not be closed to other programs of its user");
    }
}
