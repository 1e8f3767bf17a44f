//! The store.

mod measure_postgres;
mod plans_postgres;
mod postgres;
