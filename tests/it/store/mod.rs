//! The store.

mod plans_postgres;
mod postgres;
