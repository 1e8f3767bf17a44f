//! Rotations: what ends them, what waits for them, and what remains of an interrupted one.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use finkare_relay::{
    link::{DEFAULT_OVERLAP, LinkError, MAX_OVERLAP, MIN_OVERLAP},
    model::{
        clock,
        id::EndpointName,
        intent::IntentState,
        stored_secret::{Origin, SecretState},
    },
    secrets::NotProved,
};
use serde_json::json;
use tokio::net::TcpListener;

use super::{
    ID, OLD, ROTATE,
    node::{LINKED, Node, Setup, endpoint, of, registration, told},
    provider::{Fault, Provider},
};
use crate::{
    store::{Fixture, on_each_store},
    support::{PATIENCE, eventually},
};

on_each_store!(
    a_rotation_ends_with_finkares_new_secret,
    a_refusal_changes_nothing,
    too_many_requests_are_asked_again,
    a_request_that_never_left_changes_nothing,
    a_delivery_waits_for_the_rotation_that_it_came_in,
    a_rotation_goes_on_when_nobody_waits,
    a_soft_stop_lets_a_rotation_end,
    a_hard_stop_leaves_it_to_the_next_start,
    a_lost_lease_loses_no_secret,
    what_cannot_be_asked_says_what_to_set,
    retired_secrets_expire,
);

async fn a_rotation_ends_with_finkares_new_secret(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let begun = clock::now();
    let rotated = node.links.rotate(&endpoint(), "tests", Duration::from_hours(2)).await.unwrap();
    assert_eq!(rotated.fingerprint, of(&provider.secret()));
    // The store's clock is this machine's; a difference of a few seconds is allowed.
    let overlap = clock::since(begun, rotated.previous_valid_until.unwrap());
    assert!(overlap >= Duration::from_secs(7195) && overlap < Duration::from_hours(2) + PATIENCE, "{overlap:?}");
    for secret in [OLD, &provider.secret()] {
        node.verify(secret).await.unwrap();
    }
    let link = node.link().await;
    assert_eq!(link.intent, None);
    let states: Vec<_> = link.secrets.iter().map(|secret| (secret.origin, secret.state)).collect();
    assert_eq!(states, [(Origin::Rotated, SecretState::Active), (Origin::Configured, SecretState::Retiring)]);
    assert_eq!(node.trail(&provider).await, ["rotation.begun", "rotation.done"]);
    let done = &node.store.list_audit(&finkare_relay::store::AuditFilter::default(), 1).await.unwrap().rows[0];
    assert_eq!((done.actor.as_str(), done.subject.as_str()), ("tests", "endpoint/production"));
    assert_eq!(
        done.detail,
        json!({"webhook_id": ID, "fingerprint": rotated.fingerprint, "overlap_secs": 7200, "previous": [of(OLD)], "tries": 1})
    );
    assert_eq!((node.count("rotated"), node.count("healed")), (1, 0));
}

async fn a_refusal_changes_nothing(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    for status in [401, 403, 404, 422] {
        provider.fails(ROTATE, Fault::Refuse(status));
        let error = node.rotate().await.unwrap_err();
        let LinkError::Refused(cause) = &error else { panic!("{error:?}") };
        assert_eq!(cause.code(), Some(format!("TEST_{status}").as_str()));
        told(&error);
        let link = node.link().await;
        assert_eq!((link.intent, link.secrets.len(), link.secrets[0].state), (None, 1, SecretState::Active));
        node.verify(OLD).await.unwrap();
        let forged = node.verify("whsec_another").await;
        assert!(matches!(forged, Err(NotProved::Rejected(_))), "{forged:?}");
        let refused = &node.store.list_audit(&finkare_relay::store::AuditFilter::default(), 1).await.unwrap().rows[0];
        assert_eq!(refused.action, "rotation.refused");
        let code = format!("TEST_{status}");
        assert_eq!(
            refused.detail,
            json!({"webhook_id": ID, "status": status, "code": code, "request_id": "req_0a1b2c"})
        );
    }
    assert_eq!(node.count("refused"), 4);
    assert_eq!(provider.secret(), OLD);
    node.rotate().await.unwrap();
    node.healed(&provider).await;
}

async fn too_many_requests_are_asked_again(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    provider.fails(ROTATE, Fault::Refuse(429));
    provider.fails(ROTATE, Fault::Refuse(429));
    assert_eq!(node.rotate().await.unwrap(), of(&provider.secret()));
    assert_eq!(provider.calls(ROTATE), 3);
    assert_eq!(node.trail(&provider).await, ["rotation.begun", "rotation.done"]);
}

async fn a_request_that_never_left_changes_nothing(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    // Nothing listens where a server has just listened.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = Provider { url: format!("http://{gone}/"), ..provider.clone() };
    let node = Node::new(&fixture, &nobody, LINKED).await;
    let error = node.rotate().await.unwrap_err();
    assert!(matches!(error, LinkError::Refused(_)), "{}", told(&error));
    assert_eq!(node.link().await.intent, None);
    node.verify(OLD).await.unwrap();
    assert_eq!(
        node.store.list_audit(&finkare_relay::store::AuditFilter::default(), 1).await.unwrap().rows[0].detail["problem"],
        "not_connected"
    );
}

async fn a_delivery_waits_for_the_rotation_that_it_came_in(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Arc::new(Node::new(&fixture, &provider, LINKED).await);
    let hold = provider.holds(ROTATE);
    let rotating = tokio::spawn({
        let node = node.clone();
        async move { node.rotate().await }
    });
    provider.called(ROTATE, 1).await;
    // The secret that Finkare is about to give: it signs with it before the relay knows it.
    let next = format!("whsec_{}", BASE64_STANDARD.encode("given by Finkare as number 0"));
    let mut delivery = Box::pin(node.verify(&next));
    assert!(futures_util::poll!(&mut delivery).is_pending(), "it is neither proved nor refused yet");
    node.verify(OLD).await.unwrap();
    hold.add_permits(1);
    delivery.await.unwrap();
    assert_eq!(rotating.await.unwrap().unwrap(), of(&next));
}

async fn a_rotation_goes_on_when_nobody_waits(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let hold = provider.holds(ROTATE);
    {
        let mut rotating = Box::pin(node.rotate());
        tokio::select! {
            done = &mut rotating => panic!("{done:?}"),
            () = provider.called(ROTATE, 1) => {}
        }
    }
    hold.add_permits(1);
    node.healed(&provider).await;
    assert_eq!(provider.calls(ROTATE), 1);
}

async fn a_soft_stop_lets_a_rotation_end(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let hold = provider.holds(ROTATE);
    let mut rotating = Box::pin(node.rotate());
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    node.lifecycle.soft.cancel();
    let error = node.rotate().await.unwrap_err();
    assert!(matches!(error, LinkError::Stopping), "nothing new begins: {error:?}");
    hold.add_permits(1);
    rotating.await.unwrap();
    node.healed(&provider).await;
    assert!(node.lifecycle.stop(PATIENCE).await);
}

async fn a_hard_stop_leaves_it_to_the_next_start(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    provider.fails(ROTATE, Fault::Hang);
    let mut rotating = Box::pin(node.rotate());
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    node.lifecycle.hard.cancel();
    let error = rotating.await.unwrap_err();
    assert!(matches!(error, LinkError::Stopping), "{error:?}");
    assert_eq!(node.link().await.intent.unwrap().state, IntentState::InFlight);
    // The next process: the lease is no longer renewed, so it expires.
    let next = Node::on(node.store.clone(), &provider, LINKED).await;
    next.keep();
    next.healed(&provider).await;
    assert_eq!(provider.calls(ROTATE), 2);
    next.verify(OLD).await.unwrap();
}

async fn a_lost_lease_loses_no_secret(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let hold = provider.holds(ROTATE);
    let mut first = Box::pin(node.rotate());
    tokio::select! {
        done = &mut first => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    // As if the lease had not been renewed in time.
    node.store.abandon_intents().await.unwrap();
    let other = Node::on(node.store.clone(), &provider, LINKED).await;
    let taken = other.rotate().await.unwrap();
    assert_eq!(taken, of(&provider.secret()));
    hold.add_permits(1);
    let error = first.await.unwrap_err();
    assert!(matches!(error, LinkError::InFlight { .. }), "{}", told(&error));
    // Finkare's answer was stored: it is the secret that Finkare signs with now.
    node.verify(&provider.secret()).await.unwrap();
    assert_eq!(node.newest().await, Some(of(&provider.secret())));
    assert!(node.link().await.intent.is_some(), "nobody can know which was the last: it is rotated once more");
    other.keep();
    other.healed(&provider).await;
    assert_eq!(provider.calls(ROTATE), 3);
    assert_eq!(node.count("uncertain"), 1);
}

async fn what_cannot_be_asked_says_what_to_set(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, Setup { has_key: false, ..LINKED }).await;
    let another = EndpointName::new("another").unwrap();
    let unknown = node.links.rotate(&another, "tests", DEFAULT_OVERLAP).await.unwrap_err();
    assert!(matches!(unknown, LinkError::NoSuchEndpoint(_)), "{unknown:?}");
    for error in [node.rotate().await.unwrap_err(), node.register().await.unwrap_err()] {
        assert!(matches!(error, LinkError::NotLinked(_)) && told(&error).contains("FINKARE_API_KEY"), "{error:?}");
    }
    let node = Node::on(node.store.clone(), &provider, Setup { webhook_id: None, ..LINKED }).await;
    let error = node.rotate().await.unwrap_err();
    assert!(matches!(error, LinkError::NotLinked(_)) && told(&error).contains("finkare-relay register"), "{error:?}");
    let long = node.links.rotate(&endpoint(), "tests", MAX_OVERLAP + Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(long, LinkError::Invalid(_)), "{long:?}");
    let http = node.links.register(&endpoint(), "tests", registration("http://relay.example.com/")).await.unwrap_err();
    assert!(matches!(http, LinkError::Invalid(_)) && told(&http).contains("HTTPS"), "{http:?}");
    assert_eq!(node.trail(&provider).await, [""; 0]);
    assert_eq!(provider.calls(""), 0, "Finkare was not asked");
}

async fn retired_secrets_expire(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let begun = clock::now();
    let rotated = node.links.rotate(&endpoint(), "tests", Duration::ZERO).await.unwrap();
    // Without an overlap, deliveries that Finkare signed just before it switched would be refused.
    let overlap = clock::since(begun, rotated.previous_valid_until.unwrap());
    assert!(overlap >= MIN_OVERLAP && overlap < MIN_OVERLAP + PATIENCE, "{overlap:?}");
    node.verify(OLD).await.unwrap();
    node.keep();
    eventually("the old secret's text is gone", async || {
        let secrets = node.store.secrets(&endpoint()).await.unwrap();
        secrets.iter().any(|secret| secret.fingerprint == of(OLD) && secret.sealed.is_none())
    })
    .await;
    assert!(matches!(node.verify(OLD).await, Err(NotProved::Rejected(_))));
    assert_eq!(node.trail(&provider).await, ["rotation.begun", "rotation.done", "secret.expired"]);
}
