//! What the integration tests share: the real binary, a target that records, Finkare's side.

pub(crate) mod fake_finkare;
pub(crate) mod finkare;
pub(crate) mod forward_proxy;
pub(crate) mod load;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod relay;
pub(crate) mod simulated;
pub(crate) mod target;
pub(crate) mod watched;

use std::time::{Duration, Instant};

/// The invoicing systems that a sink books in, as `simulate --books` plays them.
pub(crate) use books_simulator as books;

/// Everything that a test waits for has happened by then, or the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until a condition holds; says what was waited for if it does not.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        // The pace of asking, not a wait for something to have happened.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for a long piece of work: until `look` answers that it is done, as long as what it measures goes on changing.
pub(crate) async fn as_long_as_it_moves<M: PartialEq + std::fmt::Debug, F: Future<Output = (bool, M)>>(
    what: &str,
    mut look: impl FnMut() -> F,
) {
    let mut last = None;
    let mut moved = Instant::now();
    loop {
        let (is_done, measure) = look().await;
        if is_done {
            return;
        }
        if last.as_ref() != Some(&measure) {
            last = Some(measure);
            moved = Instant::now();
        }
        assert!(moved.elapsed() < PATIENCE, "{what}: nothing has moved for {PATIENCE:?}, at {last:?}");
        // The pace of asking, not a wait for something to have happened.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A variable of the test run.
#[expect(clippy::disallowed_methods, reason = "the tests' own variables are no configuration of the service")]
pub(crate) fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// A client as a careful sender has it: no redirects, no proxy.
pub(crate) fn http() -> reqwest::Client {
    // Every test may be the first one in its process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .expect("a plain client can always be made")
}
