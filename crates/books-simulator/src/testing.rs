//! What the tests of this crate share.

use std::time::{Duration, Instant};

/// Everything that a test waits for has happened by then, or the test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until a condition holds; says what was waited for if it does not.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        // The pace of asking, not a wait for something to have happened.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
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
