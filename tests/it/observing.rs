//! What an operator sees from outside: traces, log lines, and what the dashboard and the alerts ask for.

mod boards;
mod lines;
mod traces;
