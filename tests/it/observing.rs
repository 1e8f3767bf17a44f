//! The operator's view from outside: traces, log lines, and the metrics of the dashboard and the alerts.

mod boards;
mod lines;
mod traces;
