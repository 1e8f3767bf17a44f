//! The link to Finkare over real stores, with a Finkare that fails on demand: what is stored, what is refused, what is
//! in doubt and how it is healed.

mod doubts;
mod node;
mod provider;
mod registering;
mod replicas;
mod rotating;

const OLD: &str = "whsec_the-secret-before";
const ID: &str = "e5f6a7b8-0000-4000-8000-000000000001";
const URL: &str = "https://relay.example.com/webhooks/finkare";
const ROTATE: &str = "/rotate-secret";
const CREATE: &str = "POST /api/v1/webhooks ";
const LIST: &str = "GET /api/v1/webhooks ";
