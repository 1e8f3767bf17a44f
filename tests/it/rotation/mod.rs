//! Rotations lose no delivery: the real binary, as one process on SQLite and as two replicas on one Postgres, under
//! load, against a fake Finkare of these tests ([`crate::support::fake_finkare`]).

mod healing;
mod keeping;
mod plain;
mod refusing;
mod registering;
mod reloading;
mod settling;

use std::{collections::HashSet, sync::Mutex, time::Duration};

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{
    eventually,
    fake_finkare::{API_KEY, FakeFinkare, WEBHOOK},
    finkare::payment,
    load::{Again, Load, Shot, sender, shoot},
    relay::{Backend, Home, Relay, SECRET},
};

const ROTATE: &str = "/endpoints/production/rotate-secret";
const SECRETS: &str = "/endpoints/production/secrets";

/// Finkare's side and the relay's side.
struct Scene {
    fake: FakeFinkare,
    home: Home,
    /// One process on SQLite, two on Postgres.
    relays: Vec<Relay>,
    client: reqwest::Client,
    /// The ids of the events that were acknowledged.
    accepted: Mutex<HashSet<String>>,
    /// The logs of the replicas that have ended.
    logs: Vec<String>,
}

/// The options with which the endpoint reaches the fake.
fn api_of(fake: &FakeFinkare, timeout_secs: u32) -> String {
    format!(
        "api_key = \"{API_KEY}\"\napi_url = \"{}\"\napi_timeout_secs = {timeout_secs}\n\
         api_rate_limit = {{ requests = 100, per_secs = 1 }}\n",
        fake.api_url()
    )
}

/// The output of `printf %s "$SECRET" | sha256sum | cut -c 1-16`.
fn fingerprint(secret: &str) -> String {
    hex::encode(Sha256::digest(secret))[..16].to_owned()
}

/// A secret that Finkare never had.
fn forged() -> String {
    format!("whsec_forged_{}", uuid::Uuid::new_v4().simple())
}

impl Scene {
    async fn new(backend: Backend) -> Self {
        Self::with_timeout(backend, 20).await
    }

    /// `timeout_secs` is how long the service waits for Finkare's answer.
    async fn with_timeout(backend: Backend, timeout_secs: u32) -> Self {
        let fake = FakeFinkare::start().await;
        let endpoint = format!("secret = \"{SECRET}\"\nwebhook_id = \"{WEBHOOK}\"\n{}", api_of(&fake, timeout_secs));
        Self::configured(backend, fake, &endpoint, "").await
    }

    async fn configured(backend: Backend, fake: FakeFinkare, endpoint: &str, sinks: &str) -> Self {
        let home = Home::new(backend).await;
        home.configure("", endpoint, sinks);
        let mut relays = vec![home.start().await];
        if backend == Backend::Postgres {
            relays.push(home.start().await);
        }
        Self { fake, home, relays, client: sender(), accepted: Mutex::default(), logs: vec![] }
    }

    fn hooks(&self) -> Vec<String> {
        self.relays.iter().map(Relay::hook).collect()
    }

    /// Load on all replicas.
    fn load(&self, again: Again) -> Load {
        Load::start(&self.fake, &self.hooks(), 12, again)
    }

    /// Remembers which events were acknowledged.
    fn note(&self, shots: &[Shot]) {
        let accepted = shots.iter().filter(|shot| shot.status == 200).map(|shot| shot.id().to_owned());
        self.accepted.lock().unwrap().extend(accepted);
    }

    /// Sends a new delivery with this secret to each replica.
    async fn deliver(&self, secret: &str) -> Vec<Shot> {
        let hooks = self.hooks();
        let shots = join_all(hooks.iter().map(|hook| shoot(&self.client, hook, secret, payment("invoice", 7)))).await;
        self.note(&shots);
        shots
    }

    /// The same, but only the statuses; all replicas must agree.
    async fn status_of(&self, secret: &str) -> u16 {
        let shots = self.deliver(secret).await;
        assert!(shots.iter().all(|shot| shot.status == shots[0].status), "the replicas differ: {shots:?}");
        shots[0].status
    }

    /// Waits until every replica answers a delivery with this secret in this way.
    async fn eventually_answers(&self, secret: &str, status: u16) {
        eventually(&format!("{status} of every replica"), async || {
            self.deliver(secret).await.iter().all(|shot| shot.status == status)
        })
        .await;
    }

    async fn rotate(&self, replica: usize, body: &Value) -> (u16, Value) {
        self.relays[replica % self.relays.len()].try_post_json(ROTATE, body).await
    }

    /// A rotation that must succeed.
    async fn rotate_well(&self, replica: usize, overlap_secs: u32) -> Value {
        let (status, answer) = self.rotate(replica, &json!({"overlap_secs": overlap_secs})).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["fingerprint"], fingerprint(&self.fake.secret()));
        answer
    }

    /// Stops replicas normally and starts them again with the same configuration.
    async fn restart(&mut self) {
        let number = self.relays.len();
        for relay in self.relays.drain(..) {
            let (exit, log) = relay.terminate().await;
            assert!(exit.success(), "{log}");
            self.logs.push(log);
        }
        for _ in 0..number {
            self.relays.push(self.home.start().await);
        }
    }

    /// What must hold at the end of every test: the stored events are the acknowledged ones (so none is forged or
    /// stored twice), Finkare was called as it documents, and no log or answer contains a secret.
    async fn end(mut self, shots: &[Shot]) {
        self.note(shots);
        let accepted = std::mem::take(&mut *self.accepted.lock().unwrap());
        let rows = self.relays[0].all("/events").await;
        let stored: HashSet<_> = rows.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
        assert!(stored == accepted, "{} stored, {} acknowledged", stored.len(), accepted.len());
        assert_eq!(rows.len(), stored.len());
        assert_eq!(self.fake.complaints(), Vec::<String>::new());

        let mut said = std::mem::take(&mut self.logs);
        for path in ["/endpoints", SECRETS, "/audit?limit=500"] {
            said.push(self.relays[0].get(path).await.to_string());
        }
        for relay in self.relays {
            let (exit, log) = relay.terminate().await;
            assert!(exit.success() && !log.contains("panicked"), "{log}");
            said.push(log);
        }
        let secrets = self.fake.secrets();
        for secret in secrets.iter().map(String::as_str).chain([API_KEY]) {
            assert!(!said.iter().any(|text| text.contains(secret)), "{} was told", fingerprint(secret));
        }
    }
}

fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no time: {value}"))
}

/// Approximately, since times have microseconds in one place and nanoseconds in another.
fn is_between(time: Timestamp, from: Timestamp, to: Timestamp) -> bool {
    let tolerance = Duration::from_millis(1);
    from - tolerance <= time && time <= to + tolerance
}
