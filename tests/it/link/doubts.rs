//! Rotations whose outcome is not known: how the service heals them, and how a person ends them.

use std::time::Duration;

use finkare_relay::{
    link::{
        LinkError,
        settling::{Said, Settled},
    },
    model::{
        id::LeaseToken,
        intent::{IntentKind, IntentState},
        secret::Secret,
        stored_secret::{Origin, SecretState},
    },
    secrets::NotProved,
};
use serde_json::{Value, json};

use super::{
    OLD, ROTATE,
    node::{LINKED, Node, Setup, endpoint, of, told},
    provider::{Fault, Provider},
};
use crate::{
    store::{Fixture, on_each_store},
    support::{PATIENCE, eventually},
};

on_each_store!(
    what_nobody_knows_is_asked_again_by_the_next_rotation,
    what_nobody_knows_is_asked_again_by_the_keeper,
    what_cannot_be_healed_stays_in_doubt,
    unreadable_answers_are_left_to_a_person,
    a_persons_word_ends_a_doubt,
    a_word_that_cannot_count_changes_nothing,
);

async fn what_nobody_knows_is_asked_again_by_the_next_rotation(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, Setup { timeout: Duration::from_millis(500), ..LINKED }).await;
    let faults = [
        Fault::Refuse(500),
        Fault::DoneBut(503),
        Fault::DoneBut(408),
        Fault::Refuse(409),
        Fault::DoneBut(425),
        Fault::DoneBut(302),
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::Hang,
        Fault::Unreadable,
    ];
    for (number, fault) in (1..).zip(faults) {
        let before = node.link().await.secrets;
        provider.fails(ROTATE, fault.clone());
        let error = node.rotate().await.unwrap_err();
        assert!(matches!(error, LinkError::Uncertain(_)), "{fault:?}: {}", told(&error));
        let link = node.link().await;
        assert_eq!(link.secrets, before, "{fault:?}: the secrets before stay in force");
        let intent = link.intent.unwrap();
        assert_eq!(
            (intent.kind, intent.state, intent.tries),
            (IntentKind::Rotate, IntentState::Unknown, 1),
            "{fault:?}"
        );
        node.verify(OLD).await.unwrap();
        // A refusal now proves nothing about the first try.
        provider.fails(ROTATE, Fault::Refuse(403));
        let error = node.rotate().await.unwrap_err();
        assert!(matches!(error, LinkError::Uncertain(_)), "{fault:?}: {}", told(&error));
        assert_eq!(node.link().await.intent.unwrap().tries, 2, "{fault:?}");
        let forged = node.verify("whsec_another").await;
        assert!(matches!(forged, Err(NotProved::Undecided(_))), "{fault:?}: {forged:?}");
        assert_eq!(node.rotate().await.unwrap(), of(&provider.secret()), "{fault:?}");
        node.healed(&provider).await;
        assert_eq!((node.count("uncertain"), node.count("healed")), (number * 2, number), "{fault:?}");
    }
    let trail = node.trail(&provider).await;
    let round = [
        "rotation.begun",
        "rotation.uncertain",
        "rotation.begun",
        "rotation.uncertain",
        "rotation.begun",
        "rotation.done",
    ];
    assert_eq!(trail[..6], round);
}

async fn what_nobody_knows_is_asked_again_by_the_keeper(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    node.keep();
    provider.fails(ROTATE, Fault::CutAfter);
    provider.fails(ROTATE, Fault::Refuse(404));
    let error = node.rotate().await.unwrap_err();
    assert!(matches!(error, LinkError::Uncertain(_)), "{}", told(&error));
    node.healed(&provider).await;
    node.verify(OLD).await.unwrap();
    assert_eq!(
        node.trail(&provider).await,
        [
            "rotation.begun",
            "rotation.uncertain",
            "intent.taken_over",
            "rotation.uncertain",
            "intent.taken_over",
            "rotation.done"
        ]
    );
    assert!(node.lifecycle.stop(PATIENCE).await && !node.lifecycle.failed());
    assert_eq!((node.count("uncertain"), node.count("healed"), node.count("refused")), (2, 1, 0));
}

async fn what_cannot_be_healed_stays_in_doubt(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    provider.fails(ROTATE, Fault::CutAfter);
    node.rotate().await.unwrap_err();
    let keyless = Node::on(node.store.clone(), &provider, Setup { has_key: false, ..LINKED }).await;
    keyless.keep();
    eventually("the keeper has looked", async || keyless.trail(&provider).await.len() == 4).await;
    assert_eq!(
        keyless.trail(&provider).await,
        ["rotation.begun", "rotation.uncertain", "intent.taken_over", "rotation.uncertain"]
    );
    assert_eq!(node.link().await.intent.unwrap().state, IntentState::Unknown);
    assert!(keyless.lifecycle.stop(PATIENCE).await);
    // The replica with the key does not have to wait for the next check.
    node.rotate().await.unwrap();
    node.healed(&provider).await;
}

/// Finkare answers every rotation with success but without a secret.
async fn lost_for_good(fixture: &Fixture, provider: &Provider) -> Node {
    let node = Node::new(fixture, provider, LINKED).await;
    for _ in 0..3 {
        provider.fails(ROTATE, Fault::Unreadable);
    }
    assert!(matches!(node.rotate().await, Err(LinkError::Uncertain(_))));
    node.keep();
    eventually("it is left to a person", async || {
        node.link().await.intent.is_some_and(|intent| intent.needs_a_person())
    })
    .await;
    node
}

async fn unreadable_answers_are_left_to_a_person(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = lost_for_good(&fixture, &provider).await;
    assert!(node.lifecycle.stop(PATIENCE).await && !node.lifecycle.failed());
    let intent = node.link().await.intent.unwrap();
    assert_eq!((intent.tries, intent.unreadable, provider.calls(ROTATE)), (3, 3, 3));
    assert_eq!((node.count("uncertain"), node.count("stopped"), node.count("healed")), (3, 1, 0));
    // The keeper finds nothing to heal, also after a restart that makes everything due.
    let next = Node::on(node.store.clone(), &provider, LINKED).await;
    next.store.abandon_intents().await.unwrap();
    for _ in 0..3 {
        let taken = next.store.take_over_intent(LeaseToken::generate(), Duration::from_secs(8)).await.unwrap();
        assert_eq!(taken, None);
    }
    next.verify(OLD).await.unwrap();
    let genuine = next.verify(&provider.secret()).await;
    assert!(matches!(genuine, Err(NotProved::Undecided(_))), "{genuine:?}");
    // A rotation that a person requests is tried once.
    provider.fails(ROTATE, Fault::Unreadable);
    let error = next.rotate().await.unwrap_err();
    assert!(matches!(error, LinkError::NeedsAPerson { .. }), "{error:?}");
    assert!(told(&error).contains("finkare-relay endpoints settle production"), "{}", told(&error));
    let intent = next.link().await.intent.unwrap();
    assert!(intent.needs_a_person() && (intent.tries, intent.unreadable) == (4, 4), "{intent:?}");
    assert_eq!(next.store.take_over_intent(LeaseToken::generate(), Duration::from_secs(8)).await.unwrap(), None);
    let doubt = &next.store.list_audit(&finkare_relay::store::AuditFilter::default(), 1).await.unwrap().rows[0];
    assert_eq!((doubt.action.as_str(), &doubt.detail["unreadable"]), ("rotation.uncertain", &json!(4)));
    assert_eq!(doubt.detail["retry_in_ms"], Value::Null);
    next.rotate().await.unwrap();
    next.healed(&provider).await;
    assert_eq!(provider.calls(ROTATE), 5);
}

async fn a_persons_word_ends_a_doubt(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = lost_for_good(&fixture, &provider).await;
    let said = Said::Secret(Secret::new(provider.secret()));
    let settled = node.links.settle(&endpoint(), "ops", said.clone()).await.unwrap();
    let meant = of(&provider.secret());
    assert_eq!(settled, Settled { fingerprint: meant.clone(), ended: Some(IntentKind::Rotate) });
    for secret in [OLD, &provider.secret()] {
        node.verify(secret).await.unwrap();
    }
    let link = node.link().await;
    assert_eq!((link.intent, &link.secrets[0].fingerprint, link.secrets[0].state), (None, &meant, SecretState::Active));
    assert_eq!(link.secrets[0].origin, Origin::Configured);
    let entry = node.store.list_audit(&finkare_relay::store::AuditFilter::default(), 1).await.unwrap().rows.remove(0);
    assert_eq!((entry.action.as_str(), entry.actor.as_str()), ("secret.settled", "ops"));
    assert_eq!((&entry.detail["fingerprint"], &entry.detail["current"]), (&json!(meant), &json!(false)));
    assert_eq!(entry.detail["kind"], "rotate");
    node.trail(&provider).await;
    // After a repeated call, there is nothing left to end.
    let again = node.links.settle(&endpoint(), "ops", said).await.unwrap();
    assert_eq!(again, Settled { fingerprint: meant.clone(), ended: None });
    assert_eq!((node.count("settled"), provider.calls(ROTATE)), (2, 3));
    assert_eq!(node.store.secrets(&endpoint()).await.unwrap().len(), 2, "no row twice");

    // Finkare has not switched: the newest secret is right.
    provider.fails(ROTATE, Fault::Refuse(409));
    assert!(node.lifecycle.stop(PATIENCE).await);
    let node = Node::on(node.store.clone(), &provider, LINKED).await;
    assert!(matches!(node.rotate().await, Err(LinkError::Uncertain(_))));
    let settled = node.links.settle(&endpoint(), "ops", Said::Current).await.unwrap();
    assert_eq!(settled, Settled { fingerprint: meant, ended: Some(IntentKind::Rotate) });
    assert_eq!((node.link().await.intent, provider.calls(ROTATE)), (None, 4));
    // The next rotation is like any other.
    node.rotate().await.unwrap();
    node.healed(&provider).await;
}

async fn a_word_that_cannot_count_changes_nothing(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, Setup { configured: &[], ..LINKED }).await;
    let settle = async |said| node.links.settle(&endpoint(), "ops", said).await;
    let error = settle(Said::Current).await.unwrap_err();
    assert!(matches!(error, LinkError::NothingToSettle(_)), "{error:?}");
    for bad in ["", "whsec_****", "whsec_a b", "whsec_a\n", &"x".repeat(1025)] {
        let error = settle(Said::Secret(Secret::new(bad))).await.unwrap_err();
        assert!(matches!(error, LinkError::Invalid(_)) && (bad.is_empty() || !told(&error).contains(bad)), "{error:?}");
    }
    let hold = provider.holds(ROTATE);
    let mut rotating = Box::pin(node.rotate());
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    let error = settle(Said::Secret(Secret::new("whsec_too-early"))).await.unwrap_err();
    assert!(matches!(&error, LinkError::InFlight { actor, .. } if actor == "tests"), "{error:?}");
    hold.add_permits(1);
    rotating.await.unwrap();
    assert_eq!(node.store.secrets(&endpoint()).await.unwrap().len(), 1);
    assert_eq!(node.trail(&provider).await, ["rotation.begun", "rotation.done"]);
}
