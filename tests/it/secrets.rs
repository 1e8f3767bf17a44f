//! The live secrets over a real store: which deliveries are verified, which wait, and which are permanently rejected.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use finkare_relay::{
    lifecycle::Lifecycle,
    model::{
        audit::NewAudit,
        id::{EndpointName, LeaseToken},
        intent::{Begun, IntentId, IntentKind, NewIntent},
        secret::Secret,
        stored_secret::{Fingerprint, Origin},
    },
    secrets::{Keyring, NotProved, Secrets, SecretsError, Source, Undecided, vault::Vault},
    signature::finkare::{HEADER, Rejection, SecretEncoding, SignatureOver},
    store::{
        Store,
        link::{Change, Doubt, Ended, Given},
    },
};
use http::{HeaderMap, HeaderValue};
use uuid::Uuid;

use crate::{
    store::{Fixture, on_each_store},
    support::{eventually, finkare},
};

const BODY: &[u8] = br#"{"event":"payment.received"}"#;

fn endpoint() -> EndpointName {
    EndpointName::new("production").unwrap()
}

fn vault(byte: u8) -> Vault {
    Vault::new(&Secret::new(BASE64_STANDARD.encode([byte; 32]))).unwrap()
}

async fn open(store: &Arc<dyn Store>, configured: &[&str]) -> Arc<Secrets> {
    try_open(store, vault(1), configured).await.unwrap()
}

async fn try_open(store: &Arc<dyn Store>, vault: Vault, configured: &[&str]) -> Result<Arc<Secrets>, SecretsError> {
    let source = Source {
        endpoint: endpoint(),
        configured: configured.iter().copied().map(Secret::new).collect(),
        encoding: SecretEncoding::Literal,
        over: SignatureOver::Raw,
    };
    Secrets::open(store.clone(), vault, vec![source]).await
}

fn keyring(secrets: &Arc<Secrets>) -> Keyring {
    secrets.keyring(&endpoint()).unwrap()
}

fn headers(secret: &str) -> HeaderMap {
    let signature = finkare::sign(secret, BODY);
    HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), HeaderValue::from_str(&signature).unwrap())])
}

async fn verify(keyring: &Keyring, secret: &str) -> Result<(), NotProved> {
    keyring.prove(&headers(secret), &Bytes::from_static(BODY)).await.map(drop)
}

fn is_rejected(result: &Result<(), NotProved>) -> bool {
    matches!(result, Err(NotProved::Rejected(Rejection::Mismatch)))
}

struct Rotation {
    id: IntentId,
    token: LeaseToken,
}

async fn begin(store: &Arc<dyn Store>, lease: Duration) -> Rotation {
    let rotation = Rotation { id: IntentId(Uuid::now_v7()), token: LeaseToken::generate() };
    let intent = NewIntent {
        id: rotation.id,
        endpoint: endpoint(),
        kind: IntentKind::Rotate,
        actor: "tests".into(),
        webhook_id: Some("w".into()),
        url: None,
        events: Vec::new(),
        overlap: Duration::from_hours(1),
        token: rotation.token,
        lease,
        only_if_newest: None,
    };
    let audit = NewAudit::new("tests", "rotation.begun", "endpoint/production");
    assert_eq!(store.begin_intent(intent, audit).await.unwrap(), Begun::Begun);
    rotation
}

async fn finish(store: &Arc<dyn Store>, secrets: &Secrets, rotation: &Rotation, secret: &str, overlap: Duration) {
    let change = Change {
        secret: secrets.vault().seal(&endpoint(), &Secret::new(secret)),
        origin: Origin::Rotated,
        overlap: Some(overlap),
        webhook: None,
    };
    let audit = NewAudit::new("tests", "rotation.done", "endpoint/production");
    let ended = store.finish_intent(rotation.id, rotation.token, change, audit).await.unwrap();
    assert_eq!(ended, Ended::Ended);
}

on_each_store!(
    a_configured_secret_is_kept_encrypted,
    what_is_configured_anew_is_added_and_what_was_retired_stays_so,
    another_master_key_is_refused_before_anything_is_written,
    what_fits_none_waits_for_the_end_of_a_change,
    nobody_is_turned_away_while_the_secret_is_unknown,
    a_retired_secret_is_refused,
    a_flood_of_forgeries_reads_the_store_seldom,
    a_malformed_header_never_waits,
    a_row_that_does_not_open_costs_its_own_secret,
    rows_of_another_key_block_nobody_else,
);

async fn a_configured_secret_is_kept_encrypted(fixture: Fixture) {
    let store = fixture.open().await;
    let secrets = open(&store, &["whsec_one"]).await;
    assert!(verify(&keyring(&secrets), "whsec_one").await.is_ok());
    assert!(is_rejected(&verify(&keyring(&secrets), "whsec_two").await));
    let rows = store.secrets(&endpoint()).await.unwrap();
    assert_eq!(rows.len(), 1);
    let sealed = rows[0].sealed.as_ref().unwrap();
    assert!(!sealed.windows(9).any(|part| part == b"whsec_one"));
    // Without the configured secret, the stored secret is enough.
    let again = open(&store, &[]).await;
    assert!(verify(&keyring(&again), "whsec_one").await.is_ok());
    assert_eq!(store.secrets(&endpoint()).await.unwrap().len(), 1);
}

async fn what_is_configured_anew_is_added_and_what_was_retired_stays_so(fixture: Fixture) {
    let store = fixture.open().await;
    let secrets = open(&store, &["whsec_one"]).await;
    let rotation = begin(&store, Duration::from_mins(1)).await;
    finish(&store, &secrets, &rotation, "whsec_two", Duration::ZERO).await;
    let again = open(&store, &["whsec_one"]).await;
    assert!(verify(&keyring(&again), "whsec_two").await.is_ok());
    assert!(verify(&keyring(&again), "whsec_one").await.is_err(), "it was retired");
    let added = open(&store, &["whsec_three", "whsec_one"]).await;
    assert!(verify(&keyring(&added), "whsec_three").await.is_ok());
    assert!(verify(&keyring(&added), "whsec_two").await.is_ok());
}

async fn another_master_key_is_refused_before_anything_is_written(fixture: Fixture) {
    let store = fixture.open().await;
    open(&store, &["whsec_one"]).await;
    let error = try_open(&store, vault(2), &["whsec_two"]).await.unwrap_err();
    assert!(matches!(error, SecretsError::Vault(_)), "{error}");
    assert!(error.to_string().contains("RELAY_MASTER_KEY"), "{error}");
    assert_eq!(store.secrets(&endpoint()).await.unwrap().len(), 1);
}

/// A live row whose encrypted text was changed, or was encrypted under another key.
async fn stored(store: &Arc<dyn Store>, endpoint: &EndpointName, by: u8, secret: &str, is_damaged: bool) {
    let mut sealed = vault(by).seal(endpoint, &Secret::new(secret));
    if is_damaged {
        *sealed.sealed.last_mut().unwrap() ^= 1;
    }
    let audit = NewAudit::new("tests", "secret.configured", "endpoint/production");
    assert_eq!(store.seed_secrets(endpoint, &[sealed], audit).await.unwrap().len(), 1);
}

fn source(endpoint: &EndpointName, configured: &[&str]) -> Source {
    Source {
        endpoint: endpoint.clone(),
        configured: configured.iter().copied().map(Secret::new).collect(),
        encoding: SecretEncoding::Literal,
        over: SignatureOver::Raw,
    }
}

fn is_closed(result: &Result<(), NotProved>) -> bool {
    matches!(result, Err(NotProved::Undecided(Undecided::Closed)))
}

async fn a_row_that_does_not_open_costs_its_own_secret(fixture: Fixture) {
    let store = fixture.open().await;
    let names = ["production", "damaged", "healthy"].map(|name| EndpointName::new(name).unwrap());
    let [production, damaged, healthy] = &names;
    stored(&store, production, 1, "whsec_one", false).await;
    stored(&store, production, 1, "whsec_two", true).await;
    stored(&store, damaged, 1, "whsec_only", true).await;
    let sources = || vec![source(production, &[]), source(damaged, &[]), source(healthy, &["whsec_three"])];
    let secrets = Secrets::open(store.clone(), vault(1), sources()).await.unwrap();
    let ring = |endpoint: &EndpointName| secrets.keyring(endpoint).unwrap();
    for round in 0..2 {
        verify(&ring(production), "whsec_one").await.unwrap();
        verify(&ring(healthy), "whsec_three").await.unwrap();
        for (endpoint, secret) in [(production, "whsec_two"), (production, "whsec_forged"), (damaged, "whsec_only")] {
            let result = verify(&ring(endpoint), secret).await;
            assert!(is_closed(&result), "{round}: {secret} may be genuine: {result:?}");
        }
        assert!(is_rejected(&verify(&ring(healthy), "whsec_two").await));
        // A row that is stored later is read, too.
        secrets.refresh().await.unwrap();
    }
    let closed = secrets.closed(production);
    assert_eq!(closed.len(), 1, "{closed:?}");
    assert_eq!(
        (closed[0].fingerprint.clone(), closed[0].is_replaced),
        (Fingerprint::of(&Secret::new("whsec_two")), false)
    );
    assert!(closed[0].problem.contains(closed[0].fingerprint.as_str()) && closed[0].problem.contains("production"));
    assert!(!ring(damaged).is_empty() && secrets.closed(healthy).is_empty());

    // The same secret in the configuration is used instead of its row.
    let sources = vec![source(production, &["whsec_two"]), source(damaged, &["whsec_only"])];
    let secrets = Secrets::open(store.clone(), vault(1), sources).await.unwrap();
    for (endpoint, secret) in [(production, "whsec_one"), (production, "whsec_two"), (damaged, "whsec_only")] {
        verify(&secrets.keyring(endpoint).unwrap(), secret).await.unwrap();
    }
    assert!(secrets.closed(damaged)[0].is_replaced);
    assert!(is_rejected(&verify(&secrets.keyring(production).unwrap(), "whsec_forged").await));
    // A person's decision replaces the row.
    let given = Given::Secret(vault(1).seal(damaged, &Secret::new("whsec_only")));
    let audit = NewAudit::new("tests", "secret.settled", "endpoint/damaged");
    store.settle_intent(damaged, given, audit).await.unwrap();
    secrets.refresh().await.unwrap();
    assert_eq!(secrets.closed(damaged), []);
}

async fn rows_of_another_key_block_nobody_else(fixture: Fixture) {
    let store = fixture.open().await;
    let names = ["production", "foreign"].map(|name| EndpointName::new(name).unwrap());
    let [production, foreign] = &names;
    stored(&store, foreign, 2, "whsec_foreign", false).await;
    let sources = || vec![source(production, &[]), source(foreign, &[])];
    let error = Secrets::open(store.clone(), vault(1), sources()).await.unwrap_err();
    assert!(matches!(error, SecretsError::Vault(_)) && error.to_string().contains("RELAY_MASTER_KEY"), "{error}");
    // Once one row can be decrypted, the key is right and the other row is damaged.
    stored(&store, production, 1, "whsec_one", false).await;
    let secrets = Secrets::open(store.clone(), vault(1), sources()).await.unwrap();
    verify(&secrets.keyring(production).unwrap(), "whsec_one").await.unwrap();
    assert!(is_closed(&verify(&secrets.keyring(foreign).unwrap(), "whsec_foreign").await));
    // A damaged row does not count as a wrong key, even if it is the only row.
    let alone = EndpointName::new("alone").unwrap();
    stored(&store, &alone, 1, "whsec_alone", true).await;
    let secrets = Secrets::open(store.clone(), vault(1), vec![source(&alone, &[])]).await.unwrap();
    assert!(is_closed(&verify(&secrets.keyring(&alone).unwrap(), "whsec_alone").await));
}

async fn what_fits_none_waits_for_the_end_of_a_change(fixture: Fixture) {
    let store = fixture.open().await;
    let secrets = open(&store, &["whsec_one"]).await;
    let lifecycle = Lifecycle::default();
    lifecycle.spawn("secrets", secrets.clone().run(lifecycle.clone()));
    let rotation = begin(&store, Duration::from_mins(1)).await;
    secrets.refresh().await.unwrap();
    let ring = keyring(&secrets);
    let waiting = |secret: &'static str| {
        let ring = ring.clone();
        tokio::spawn(async move { verify(&ring, secret).await })
    };
    let (genuine, forged) = (waiting("whsec_two"), waiting("whsec_forged"));
    assert!(verify(&ring, "whsec_one").await.is_ok(), "what is known does not wait");
    assert!(!genuine.is_finished() && !forged.is_finished());
    finish(&store, &secrets, &rotation, "whsec_two", Duration::from_hours(1)).await;
    assert!(genuine.await.unwrap().is_ok());
    assert!(is_rejected(&forged.await.unwrap()));
    assert!(verify(&ring, "whsec_one").await.is_ok(), "the overlap");
    lifecycle.stop(Duration::from_secs(30)).await;
}

async fn nobody_is_turned_away_while_the_secret_is_unknown(fixture: Fixture) {
    let store = fixture.open().await;
    let secrets = open(&store, &["whsec_one"]).await;
    let rotation = begin(&store, Duration::from_mins(1)).await;
    let audit = NewAudit::new("tests", "rotation.uncertain", "endpoint/production");
    let doubt = Doubt::after(Duration::from_hours(1));
    store.doubt_intent(rotation.id, rotation.token, doubt, audit).await.unwrap();
    secrets.refresh().await.unwrap();
    let result = verify(&keyring(&secrets), "whsec_who_knows").await;
    assert!(matches!(result, Err(NotProved::Undecided(Undecided::Unknown))), "{result:?}");
    assert!(verify(&keyring(&secrets), "whsec_one").await.is_ok());
}

async fn a_retired_secret_is_refused(fixture: Fixture) {
    let store = fixture.open().await;
    let secrets = open(&store, &["whsec_one"]).await;
    let rotation = begin(&store, Duration::from_mins(1)).await;
    finish(&store, &secrets, &rotation, "whsec_two", Duration::from_millis(300)).await;
    secrets.refresh().await.unwrap();
    let ring = keyring(&secrets);
    // By time alone: the store is neither read nor announces a change.
    eventually("the old secret is refused", async || verify(&ring, "whsec_one").await.is_err()).await;
    assert!(verify(&ring, "whsec_two").await.is_ok());
}

/// The task that listens for announcements is not running: the read before a refusal must be enough.
#[tokio::test(flavor = "multi_thread")]
async fn another_replica_is_right_without_being_told() {
    let fixture = crate::store::on_postgres().await;
    let store = fixture.open().await;
    let (here, there) = (open(&store, &["whsec_one"]).await, open(&store, &["whsec_one"]).await);
    let rotation = begin(&store, Duration::from_mins(1)).await;
    finish(&store, &here, &rotation, "whsec_two", Duration::from_hours(1)).await;
    assert!(verify(&keyring(&there), "whsec_two").await.is_ok());
}

async fn a_flood_of_forgeries_reads_the_store_seldom(fixture: Fixture) {
    let store = fixture.open().await;
    let secrets = open(&store, &["whsec_one"]).await;
    let before = secrets.reads();
    let begun = std::time::Instant::now();
    let forgers: Vec<_> = (0..400)
        .map(|_| {
            let ring = keyring(&secrets);
            tokio::spawn(async move { verify(&ring, "whsec_forged").await })
        })
        .collect();
    for forger in forgers {
        assert!(is_rejected(&forger.await.unwrap()));
    }
    // One read for the first delivery, then at most five per second.
    let bound = 2 + u64::try_from(begun.elapsed().as_millis()).unwrap() / 200;
    let reads = secrets.reads() - before;
    assert!(reads <= if store.is_shared() { bound } else { 0 }, "{reads} reads, {bound} allowed");
}

async fn a_malformed_header_never_waits(fixture: Fixture) {
    let store = fixture.open().await;
    let secrets = open(&store, &["whsec_one"]).await;
    begin(&store, Duration::from_mins(1)).await;
    secrets.refresh().await.unwrap();
    let before = secrets.reads();
    for headers in [HeaderMap::new(), HeaderMap::from_iter([(HEADER.parse().unwrap(), HeaderValue::from_static("x"))])]
    {
        let result = keyring(&secrets).prove(&headers, &Bytes::from_static(BODY)).await;
        assert!(matches!(result, Err(NotProved::Rejected(_))), "{result:?}");
    }
    assert_eq!(secrets.reads(), before);
}
