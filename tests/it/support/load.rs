//! Deliveries as Finkare makes them while its secrets change: each is signed with the secret that
//! Finkare has at that instant.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    eventually,
    fake_finkare::FakeFinkare,
    finkare::{payment, sign},
};

/// Finkare waits so long for an answer (docs.finkare.io, webhook guide).
pub(crate) const FINKARE_WAITS: Duration = Duration::from_secs(5);

/// Between two deliveries of one sender: the load is bounded, whatever the machine can do.
const PACE: Duration = Duration::from_millis(20);

/// What a sender does with 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It is an answer like any other.
    Never,
    /// The same body is delivered again, signed anew.
    Resigned,
}

/// A delivery and what became of it.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "some of it is only shown, when a test fails")]
pub(crate) struct Shot {
    pub hook: String,
    /// When it was last sent, and how long that took.
    pub at: Instant,
    pub took: Duration,
    /// Of the last answer; 0 if there was none in time.
    pub status: u16,
    /// How often it was sent.
    pub tries: u32,
    pub body: Vec<u8>,
    /// As far as it was JSON.
    pub answer: Value,
    pub retry_after: Option<String>,
}

impl Shot {
    /// The event's id.
    pub(crate) fn id(&self) -> &str {
        self.answer["id"].as_str().unwrap_or_else(|| panic!("no id in {self:?}"))
    }
}

/// A client that waits as long as Finkare does.
pub(crate) fn sender() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(FINKARE_WAITS)
        .build()
        .expect("a plain client can always be made")
}

/// Delivers a body under a secret, once.
pub(crate) async fn shoot(client: &reqwest::Client, hook: &str, secret: &str, body: Vec<u8>) -> Shot {
    let at = Instant::now();
    let request = client.post(hook).header("content-type", "application/json");
    let request = request.header("X-Finkare-Signature", sign(secret, &body)).body(body.clone());
    let answered = async {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok().map(str::to_owned));
        Ok::<_, reqwest::Error>((status, retry_after, response.bytes().await?))
    };
    let (status, retry_after, answer) = answered.await.unwrap_or_default();
    let answer = serde_json::from_slice(&answer).unwrap_or_default();
    Shot { hook: hook.to_owned(), at, took: at.elapsed(), status, tries: 1, body, answer, retry_after }
}

/// Senders that deliver until they are told to stop.
pub(crate) struct Load {
    shots: Arc<Mutex<Vec<Shot>>>,
    stop: Arc<AtomicBool>,
    senders: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// Starts the senders, which go round the hooks.
    pub(crate) fn start(fake: &FakeFinkare, hooks: &[String], senders: usize, again: Again) -> Self {
        let (shots, stop): (Arc<Mutex<Vec<Shot>>>, Arc<AtomicBool>) = (Arc::default(), Arc::default());
        let round = Arc::new(AtomicUsize::new(0));
        let senders = (0..senders).map(|_| {
            let (fake, hooks, shots, stop, round) =
                (fake.clone(), hooks.to_vec(), shots.clone(), stop.clone(), round.clone());
            tokio::spawn(async move {
                let client = sender();
                while !stop.load(Relaxed) {
                    let body = payment("invoice-of-the-load", 100);
                    let mut tries = 0;
                    let shot = loop {
                        tries += 1;
                        let hook = &hooks[round.fetch_add(1, Relaxed) % hooks.len()];
                        // The secret of this very instant; it may change while the delivery is on its way.
                        let shot = shoot(&client, hook, &fake.secret(), body.clone()).await;
                        if again == Again::Never || shot.status != 503 {
                            break shot;
                        }
                        tokio::time::sleep(PACE * 10).await;
                    };
                    shots.lock().unwrap().push(Shot { tries, ..shot });
                    tokio::time::sleep(PACE).await;
                }
            })
        });
        let senders = senders.collect();
        Self { shots, stop, senders }
    }

    /// Waits until so many more have been answered.
    pub(crate) async fn answered(&self, more: usize) {
        let before = self.shots.lock().unwrap().len();
        eventually("answers", async || self.shots.lock().unwrap().len() >= before + more).await;
    }

    /// Stops; every delivery that was on its way is answered.
    pub(crate) async fn stop(self) -> Vec<Shot> {
        self.stop.store(true, Relaxed);
        for sender in self.senders {
            sender.await.expect("a sender does not panic");
        }
        std::mem::take(&mut *self.shots.lock().unwrap())
    }
}

/// Every delivery was answered with 200, by so many tries at most.
pub(crate) fn assert_all_accepted(shots: &[Shot], tries: u32) {
    let bad: Vec<_> = shots.iter().filter(|shot| shot.status != 200 || shot.tries > tries).collect();
    assert!(
        bad.is_empty(),
        "{} of {} genuine deliveries were not accepted; the first ones: {:#?}",
        bad.len(),
        shots.len(),
        &bad[..bad.len().min(3)]
    );
}
