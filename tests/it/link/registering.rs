//! Registrations: one webhook regardless of the number of calls, adopted if it exists, healed if an answer is lost.

use std::sync::Arc;

use finkare_relay::{
    link::{LinkError, Registered},
    model::{
        intent::IntentKind,
        stored_secret::{Origin, SecretState},
    },
};
use tokio::sync::Semaphore;

use super::{
    CREATE, ID, LIST, OLD, ROTATE, URL,
    node::{BLANK, LINKED, Node, Setup, endpoint, of, registration, told},
    provider::{Fault, Provider},
};
use crate::{
    store::{Fixture, on_each_store},
    support::{PATIENCE, eventually},
};

on_each_store!(
    a_registration_makes_one_webhook,
    two_registrations_at_once_make_one_webhook,
    a_refused_registration_changes_nothing,
    a_registration_whose_answer_is_lost_is_healed,
    event_types_whose_answer_is_lost_are_looked_up,
    a_registration_that_never_came_about_ends,
    a_rotation_heals_a_registration,
    a_registration_ends_the_rotation_of_a_webhook_that_is_gone,
    a_webhook_that_is_there_is_adopted,
    a_webhook_that_is_there_twice_is_adopted_once,
);

async fn a_registration_makes_one_webhook(fixture: Fixture) {
    let provider = Provider::start().await;
    let node = Node::new(&fixture, &provider, BLANK).await;
    let registered = node.register().await.unwrap();
    let hooks = provider.hooks();
    assert_eq!(hooks.len(), 1);
    assert_eq!(
        registered,
        Registered {
            webhook_id: hooks[0].id.clone(),
            url: URL.into(),
            created: true,
            fingerprint: Some(of(&hooks[0].secret)),
            notes: vec![]
        }
    );
    assert_eq!(hooks[0].events, ["payment.received", "invoice.status_changed"]);
    node.verify(&hooks[0].secret).await.unwrap();
    let link = node.link().await;
    assert_eq!(link.webhook.map(|webhook| (webhook.id, webhook.url)), Some((hooks[0].id.clone(), URL.into())));
    assert_eq!((link.intent, link.secrets[0].origin), (None, Origin::Registered));
    let again = node.register().await.unwrap();
    assert_eq!(again, Registered { created: false, ..registered });
    assert_eq!(provider.hooks().len(), 1);
    assert_eq!(node.trail(&provider).await, ["registration.begun", "registration.done"]);
    assert_eq!(node.count("registered"), 1);
    // The webhook's id is known now.
    node.rotate().await.unwrap();
    node.healed(&provider).await;
    let elsewhere =
        node.links.register(&endpoint(), "tests", registration("https://relay.example.com/x")).await.unwrap();
    assert!(elsewhere.created && elsewhere.notes[0].contains("/webhooks/finkare"), "{elsewhere:?}");
    let states: Vec<_> = node.link().await.secrets.iter().map(|secret| secret.state).collect();
    assert_eq!(states, [SecretState::Active, SecretState::Active, SecretState::Retiring], "the earlier one stays");
}

async fn two_registrations_at_once_make_one_webhook(fixture: Fixture) {
    let provider = Provider::start().await;
    let node = Node::new(&fixture, &provider, BLANK).await;
    let other = Node::on(node.store.clone(), &provider, BLANK).await;
    // Both check and find nothing. Then one continues, and the other one when the first is at work or done.
    let (one, two) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    provider.fails(LIST, Fault::Late(one.clone()));
    provider.fails(LIST, Fault::Late(two.clone()));
    let creating = provider.holds(CREATE);
    let mut first = Box::pin(node.register());
    tokio::select! {
        done = &mut first => panic!("{done:?}"),
        () = provider.called(LIST, 1) => {}
    }
    let mut second = Box::pin(other.register());
    tokio::select! {
        done = &mut second => panic!("{done:?}"),
        () = provider.called(LIST, 2) => {}
    }
    one.add_permits(1);
    tokio::select! {
        done = &mut first => panic!("{done:?}"),
        () = provider.called(CREATE, 1) => {}
    }
    let third = node.register().await;
    assert!(matches!(third, Err(LinkError::InFlight { .. })), "{third:?}");
    creating.add_permits(1);
    assert!(first.await.unwrap().created);
    // The second caller's first check is out of date by now: it checks again before it creates the webhook.
    two.add_permits(1);
    let second = second.await.unwrap();
    assert!(!second.created && second.fingerprint == Some(of(&provider.secret())), "{second:?}");
    assert_eq!((provider.hooks().len(), provider.calls(CREATE)), (1, 1));
    assert_eq!(
        node.trail(&provider).await,
        ["registration.begun", "registration.done", "registration.begun", "intent.dropped"]
    );
}

async fn a_refused_registration_changes_nothing(fixture: Fixture) {
    let provider = Provider::start().await;
    let node = Node::new(&fixture, &provider, BLANK).await;
    provider.fails(LIST, Fault::Refuse(403));
    let error = node.register().await.unwrap_err();
    assert!(matches!(error, LinkError::Refused(_)), "{}", told(&error));
    assert_eq!(node.trail(&provider).await, [""; 0]);
    provider.fails(CREATE, Fault::Refuse(422));
    let error = node.register().await.unwrap_err();
    assert!(matches!(error, LinkError::Refused(_)), "{}", told(&error));
    assert_eq!(node.trail(&provider).await, ["registration.begun", "registration.refused"]);
    let link = node.link().await;
    assert!(link.intent.is_none() && link.webhook.is_none() && link.secrets.is_empty());
    assert!(node.register().await.unwrap().created);
}

async fn a_registration_whose_answer_is_lost_is_healed(fixture: Fixture) {
    for fault in [Fault::DoneBut(408), Fault::DoneBut(302), Fault::DoneBut(409), Fault::DoneBut(425)] {
        let (provider, another) = (Provider::start().await, crate::store::on_sqlite().await);
        let node = Node::new(&another, &provider, BLANK).await;
        provider.fails(CREATE, fault.clone());
        let error = node.register().await.unwrap_err();
        assert!(matches!(error, LinkError::Uncertain(_)), "{fault:?}: {}", told(&error));
        // A second call gets the webhook that exists.
        let again = node.register().await.unwrap();
        assert!(!again.created && again.fingerprint == Some(of(&provider.secret())), "{fault:?}: {again:?}");
        assert_eq!((provider.hooks().len(), provider.calls(CREATE), provider.calls(ROTATE)), (1, 1, 1), "{fault:?}");
        node.healed(&provider).await;
    }
    let provider = Provider::start().await;
    let node = Node::new(&fixture, &provider, BLANK).await;
    provider.fails(CREATE, Fault::CutAfter);
    let error = node.register().await.unwrap_err();
    assert!(matches!(error, LinkError::Uncertain(_)), "{}", told(&error));
    assert_eq!(node.link().await.intent.unwrap().kind, IntentKind::Register);
    node.keep();
    node.healed(&provider).await;
    let (link, hooks) = (node.link().await, provider.hooks());
    assert_eq!((link.webhook.unwrap().id, hooks.len(), provider.calls(CREATE)), (hooks[0].id.clone(), 1, 1));
    assert_eq!(
        node.trail(&provider).await,
        ["registration.begun", "registration.uncertain", "intent.taken_over", "registration.done"]
    );
    let again = node.register().await.unwrap();
    assert!(!again.created && again.notes.is_empty() && again.fingerprint == Some(of(&provider.secret())), "{again:?}");
}

async fn event_types_whose_answer_is_lost_are_looked_up(fixture: Fixture) {
    const UPDATE: &str = "PUT ";
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let events = || provider.hooks()[0].events.clone();
    for status in [302, 408, 409, 425, 500] {
        provider.fails(UPDATE, Fault::Refuse(status));
        let error = node.register().await.unwrap_err();
        assert!(matches!(error, LinkError::UpdateUnknown(_)), "{status}: {}", told(&error));
    }
    provider.fails(UPDATE, Fault::Refuse(403));
    let error = node.register().await.unwrap_err();
    assert!(matches!(error, LinkError::Refused(_)), "{}", told(&error));
    assert_eq!((events(), node.link().await.webhook), (vec!["payment.received".to_owned()], None), "nothing was done");
    // Carried out, but the answer was lost.
    provider.fails(UPDATE, Fault::DoneBut(408));
    let adopted = node.register().await.unwrap();
    assert!(!adopted.created && adopted.notes.iter().any(|note| note.contains("were added")), "{adopted:?}");
    assert_eq!(events(), ["payment.received", "invoice.status_changed"]);
    assert_eq!((provider.hooks().len(), provider.calls(CREATE)), (1, 0));
}

async fn a_registration_that_never_came_about_ends(fixture: Fixture) {
    let provider = Provider::start().await;
    let node = Node::new(&fixture, &provider, BLANK).await;
    provider.fails(CREATE, Fault::CutBefore);
    let error = node.register().await.unwrap_err();
    assert!(matches!(error, LinkError::Uncertain(_)), "{}", told(&error));
    node.keep();
    eventually("the intent has ended", async || node.link().await.intent.is_none()).await;
    assert_eq!(
        node.trail(&provider).await,
        ["registration.begun", "registration.uncertain", "intent.taken_over", "intent.dropped"]
    );
    assert!(node.lifecycle.stop(PATIENCE).await);
    assert_eq!((provider.hooks().len(), node.count("healed")), (0, 1));
    // A person who asks again does not wait for that.
    provider.fails(CREATE, Fault::CutBefore);
    let next = Node::on(node.store.clone(), &provider, BLANK).await;
    assert!(matches!(next.register().await, Err(LinkError::Uncertain(_))));
    assert!(next.register().await.unwrap().created);
    assert_eq!(provider.hooks().len(), 1);
}

async fn a_rotation_heals_a_registration(fixture: Fixture) {
    let provider = Provider::start().await;
    let node = Node::new(&fixture, &provider, BLANK).await;
    provider.fails(CREATE, Fault::CutAfter);
    assert!(matches!(node.register().await, Err(LinkError::Uncertain(_))));
    assert_eq!(node.rotate().await.unwrap(), of(&provider.secret()));
    node.healed(&provider).await;
    assert_eq!(node.link().await.webhook.unwrap().id, provider.hooks()[0].id);
    // If nothing was created, there is nothing to rotate.
    let bare = Provider::start().await;
    let another = crate::store::on_sqlite().await;
    let node = Node::new(&another, &bare, BLANK).await;
    bare.fails(CREATE, Fault::CutBefore);
    assert!(matches!(node.register().await, Err(LinkError::Uncertain(_))));
    let error = node.rotate().await.unwrap_err();
    assert!(matches!(error, LinkError::NotLinked(_)), "{error:?}");
    assert_eq!(node.link().await.intent, None);
}

async fn a_registration_ends_the_rotation_of_a_webhook_that_is_gone(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    provider.fails(ROTATE, Fault::CutAfter);
    assert!(matches!(node.rotate().await, Err(LinkError::Uncertain(_))));
    provider.inner.lock().unwrap().hooks.clear();
    assert!(matches!(node.rotate().await, Err(LinkError::Uncertain(_))), "a refusal proves nothing");
    let registered = node.register().await.unwrap();
    assert!(registered.created && registered.notes.iter().any(|note| note.contains("`webhook_id`")), "{registered:?}");
    node.healed(&provider).await;
    assert_eq!(
        node.trail(&provider).await[4..],
        ["registration.begun", "intent.dropped", "registration.begun", "registration.done"]
    );
}

async fn a_webhook_that_is_there_is_adopted(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    provider.inner.lock().unwrap().hooks[0].enabled = false;
    let node = Node::new(&fixture, &provider, BLANK).await;
    let adopted = node.register().await.unwrap();
    assert_eq!((adopted.webhook_id.as_str(), adopted.created, &adopted.fingerprint), (ID, false, &None));
    for word in ["invoice.status_changed", "rotate-secret", "disabled"] {
        assert!(adopted.notes.iter().any(|note| note.contains(word)), "{word}: {adopted:?}");
    }
    assert_eq!(provider.hooks()[0].events, ["payment.received", "invoice.status_changed"]);
    assert_eq!(node.trail(&provider).await, ["webhook.adopted"]);
    assert_eq!(node.link().await.webhook.unwrap().id, ID);
    node.rotate().await.unwrap();
    node.healed(&provider).await;
    assert_eq!(node.register().await.unwrap().notes.len(), 1, "only that it is disabled");

    // If the endpoint has a secret, the relay assumes that it is the webhook's, and says so.
    let provider = Provider::with_webhook().await;
    let another = crate::store::on_sqlite().await;
    let node = Node::new(&another, &provider, Setup { webhook_id: None, ..LINKED }).await;
    let adopted = node.register().await.unwrap();
    assert_eq!(adopted.fingerprint, Some(of(OLD)));
    assert!(adopted.notes.iter().any(|note| note.contains(of(OLD).as_str())), "{adopted:?}");
}

async fn a_webhook_that_is_there_twice_is_adopted_once(fixture: Fixture) {
    const SECOND: &str = "e5f6a7b8-0000-4000-8000-000000000002";
    let provider = Provider::with_webhook().await;
    provider.inner.lock().unwrap().hooks[0].enabled = false;
    provider.add(SECOND, "https://RELAY.example.com:443/webhooks/finkare", "whsec_second");
    let node = Node::new(&fixture, &provider, BLANK).await;
    let adopted = node.register().await.unwrap();
    assert_eq!((adopted.webhook_id.as_str(), adopted.created), (SECOND, false));
    assert!(adopted.notes.iter().any(|note| note.contains(ID)), "{adopted:?}");
}
