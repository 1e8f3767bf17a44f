//! Protects the memory of the running service.
//!
//! The memory holds the secrets of webhooks and sinks. A core dump would write them to a disk, and another program of the
//! same user could read them from the process (`ptrace`, `/proc/PID/mem`, `/proc/PID/environ`). `serve` disables both at its
//! start; root can still do it.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Disables both. If the system refuses, the service logs a warning and runs anyway.
pub(super) fn close_memory() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be switched off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the process's memory could not be protected from other programs of the same user");
    }
}
