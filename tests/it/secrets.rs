//! The live secrets over a real store: what is proved, what waits, what is sent away for good.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use finkare_relay::{
    lifecycle::Lifecycle,
    model::{
        audit::NewAudit,
        id::{EndpointName, LeaseToken},
        link::{Begun, IntentId, IntentKind, NewIntent, Origin},
        secret::Secret,
    },
    secrets::{Keyring, NotProved, Secrets, SecretsError, Source, Undecided, vault::Vault},
    signature::finkare::{HEADER, Rejection, SecretEncoding, SignatureOver},
    store::{
        Store,
        link::{Change, Ended},
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
    keyring.verify(&headers(secret), &Bytes::from_static(BODY)).await.map(drop)
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
    // Without the configured secret, the stored one is enough.
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
    store.doubt_intent(rotation.id, rotation.token, Duration::from_hours(1), audit).await.unwrap();
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
    // By its time alone: nobody reads the store or is told of it.
    eventually("the old secret is refused", async || verify(&ring, "whsec_one").await.is_err()).await;
    assert!(verify(&ring, "whsec_two").await.is_ok());
}

/// Nobody runs the task that hears announcements: the look before a refusal has to be enough.
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
    // One for the first, then at most five a second.
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
        let result = keyring(&secrets).verify(&headers, &Bytes::from_static(BODY)).await;
        assert!(matches!(result, Err(NotProved::Rejected(_))), "{result:?}");
    }
    assert_eq!(secrets.reads(), before);
}
