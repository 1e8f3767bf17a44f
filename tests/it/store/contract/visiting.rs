//! Who may look at the dashboard: sessions, and links for people without a token.

use finkare_relay::{
    model::{
        audit::NewAudit,
        guest::{GuestLinkId, GuestPage},
    },
    store::{
        AuditFilter,
        sessions::{Hash, MOST_OF_LINK, MOST_OF_TOKEN, NewLink, NewSession, Owner},
    },
};

use super::{Duration, Store};
use crate::{store::Fixture, support::eventually};

const HOUR: Duration = Duration::from_hours(1);

/// The hash of a secret of the tests.
fn hash(number: u16) -> Hash {
    let mut hash = [7; 32];
    hash[..2].copy_from_slice(&number.to_be_bytes());
    hash
}

fn of_token(id: u16, name: &str) -> NewSession {
    let of = Owner::Token { name: name.to_owned(), mark: hash(1000) };
    NewSession { id_hash: hash(id), of, idle: HOUR, lasts: HOUR * 12, replaces: None }
}

fn of_link(id: u16, link: u16) -> NewSession {
    NewSession { of: Owner::Link(hash(link)), ..of_token(id, "") }
}

fn link(id: u16, endpoint: &str, lasts: Duration) -> NewLink {
    NewLink {
        id: GuestLinkId::generate(),
        id_hash: hash(id),
        token_name: "admin".into(),
        token_mark: hash(1000),
        endpoint: endpoint.into(),
        pages: vec![GuestPage::Payments, GuestPage::Statement],
        label: Some("Cabinet Durand".into()),
        lasts,
    }
}

fn audit(action: &'static str) -> NewAudit {
    NewAudit::new("admin", action, "link/x")
}

async fn actions(store: &dyn Store) -> Vec<String> {
    let page = store.list_audit(&AuditFilter::default(), 50).await.unwrap();
    page.rows.into_iter().map(|entry| entry.action).collect()
}

pub(crate) async fn a_session_is_found_until_it_ends(on: &Fixture) {
    let (store, other) = (on.open().await, on.open().await);
    assert!(store.session(&hash(1)).await.unwrap().is_none());
    assert!(store.begin_session(&of_token(1, "marie"), Some(audit("session.began"))).await.unwrap());
    let found = other.session(&hash(1)).await.unwrap().unwrap();
    assert_eq!((found.token_name.as_str(), found.token_mark, found.link.is_none()), ("marie", hash(1000), true));
    assert!(!found.is_due, "it was noted just now");
    store.note_session(&hash(1)).await.unwrap();
    assert!(other.end_session(&hash(1), Some(audit("session.ended"))).await.unwrap());
    assert!(store.session(&hash(1)).await.unwrap().is_none());
    assert!(!store.end_session(&hash(1), Some(audit("session.ended"))).await.unwrap(), "it had ended");
    assert_eq!(actions(&*store).await, ["session.ended", "session.began"], "what did not happen leaves no entry");
    // Another one of the same browser takes its place.
    store.begin_session(&of_token(2, "marie"), None).await.unwrap();
    store.begin_session(&NewSession { replaces: Some(hash(2)), ..of_token(3, "marie") }, None).await.unwrap();
    assert!(store.session(&hash(2)).await.unwrap().is_none() && store.session(&hash(3)).await.unwrap().is_some());
}

pub(crate) async fn a_session_ends_by_itself(on: &Fixture) {
    let store = on.open().await;
    let short = Duration::from_millis(1);
    store.begin_session(&NewSession { idle: short, ..of_token(1, "idle") }, None).await.unwrap();
    store.begin_session(&NewSession { lasts: short, ..of_token(2, "long") }, None).await.unwrap();
    store.begin_session(&of_token(3, "other"), None).await.unwrap();
    for ended in [1, 2] {
        eventually("it has ended", async || store.session(&hash(ended)).await.unwrap().is_none()).await;
        // To use it does not bring it back.
        store.note_session(&hash(ended)).await.unwrap();
        assert!(store.session(&hash(ended)).await.unwrap().is_none());
    }
    assert!(store.session(&hash(3)).await.unwrap().is_some());
    // Beginning a session has deleted the first two, or this does.
    store.purge_sessions().await.unwrap();
    assert_eq!(store.purge_sessions().await.unwrap(), 0);
    assert!(store.session(&hash(3)).await.unwrap().is_some());
}

pub(crate) async fn a_link_lets_visitors_in_until_it_ends(on: &Fixture) {
    let store = on.open().await;
    assert!(!store.begin_session(&of_link(1, 500), None).await.unwrap(), "there is no such link");
    let (acme, beta) = (link(500, "acme", HOUR), link(501, "beta", HOUR));
    for made in [&acme, &beta] {
        assert!(store.make_link(made, audit("link.created")).await.unwrap().is_some());
    }
    let found = store.link_by_hash(&hash(500)).await.unwrap().unwrap();
    assert_eq!(found, store.link_by_id(acme.id).await.unwrap().unwrap());
    assert_eq!((found.endpoint.as_str(), found.pages.as_slice()), ("acme", acme.pages.as_slice()));
    assert_eq!((found.label.as_deref(), found.seen_at), (Some("Cabinet Durand"), None));
    // A link is no session, and a session no link.
    assert!(store.session(&hash(500)).await.unwrap().is_none());
    assert!(store.begin_session(&of_link(1, 500), None).await.unwrap());
    assert!(store.link_by_hash(&hash(1)).await.unwrap().is_none());
    let visitor = store.session(&hash(1)).await.unwrap().unwrap();
    assert_eq!(visitor.link.unwrap().id, acme.id);

    let of = async |endpoints: Option<&[String]>| -> Vec<GuestLinkId> {
        let page = store.guest_links(endpoints, None, 10).await.unwrap();
        page.rows.into_iter().map(|link| link.id).collect()
    };
    assert_eq!(of(None).await, [beta.id, acme.id], "the newest first");
    assert_eq!(of(Some(&["acme".into()])).await, [acme.id]);
    assert!(of(Some(&[])).await.is_empty());
    let page = store.guest_links(None, None, 1).await.unwrap();
    assert!(page.more && page.rows[0].id == beta.id);
    assert_eq!(store.guest_links(None, Some(beta.id), 1).await.unwrap().rows[0].id, acme.id);

    assert!(store.revoke_link(acme.id, audit("link.revoked")).await.unwrap());
    assert!(store.session(&hash(1)).await.unwrap().is_none(), "its visitors are out");
    assert!(store.link_by_hash(&hash(500)).await.unwrap().is_none());
    assert!(!store.revoke_link(acme.id, audit("link.revoked")).await.unwrap());
    assert_eq!(actions(&*store).await, ["link.revoked", "link.created", "link.created"]);

    // One that is over lets nobody in, and whoever is in, is out.
    store.make_link(&link(502, "acme", Duration::from_millis(1)), audit("link.created")).await.unwrap();
    eventually("it is over", async || store.link_by_hash(&hash(502)).await.unwrap().is_none()).await;
    assert!(!store.begin_session(&of_link(2, 502), None).await.unwrap());
    assert_eq!(of(None).await, [beta.id]);
}

pub(crate) async fn nobody_fills_the_table(on: &Fixture) {
    let store = on.open().await;
    store.make_link(&link(500, "acme", HOUR), audit("link.created")).await.unwrap();
    let alone = u16::try_from(MOST_OF_LINK).unwrap();
    store.begin_session(&of_token(0, "marie"), None).await.unwrap();
    for visitor in 1..=alone + 1 {
        assert!(store.begin_session(&of_link(visitor, 500), None).await.unwrap());
    }
    assert!(store.session(&hash(1)).await.unwrap().is_none(), "the one that was not used for longest is gone");
    assert!(
        store.session(&hash(2)).await.unwrap().is_some() && store.session(&hash(alone + 1)).await.unwrap().is_some()
    );
    let most = u16::try_from(MOST_OF_TOKEN).unwrap();
    for session in 0..=most {
        store.begin_session(&of_token(600 + session, "busy"), None).await.unwrap();
    }
    assert!(store.session(&hash(600)).await.unwrap().is_none() && store.session(&hash(601)).await.unwrap().is_some());
    assert!(store.session(&hash(0)).await.unwrap().is_some(), "sessions of other tokens stay");
}
