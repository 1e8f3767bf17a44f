//! Several replicas, and a database that is unavailable: on Postgres, or with a lease that must last.

use std::{sync::Arc, time::Duration};

use finkare_relay::{
    link::LinkError,
    model::{intent::IntentState, secret::Secret},
    store::postgres::PostgresStore,
};

use super::{
    OLD, ROTATE,
    node::{LINKED, Node, Setup, of},
    provider::Provider,
};
use crate::support::{self, PATIENCE, eventually, proxy};

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_rotate_at_once_ask_finkare_once() {
    let fixture = crate::store::on_postgres().await;
    let provider = Provider::with_webhook().await;
    let (one, two) = (Node::new(&fixture, &provider, LINKED).await, Node::new(&fixture, &provider, LINKED).await);
    let hold = provider.holds(ROTATE);
    let mut first = Box::pin(one.rotate());
    tokio::select! {
        done = &mut first => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    let error = two.rotate().await.unwrap_err();
    assert!(matches!(&error, LinkError::InFlight { actor, .. } if actor == "tests"), "{error:?}");
    hold.add_permits(1);
    first.await.unwrap();
    assert_eq!(provider.calls(ROTATE), 1);
    // The other replica reads the store before it refuses.
    two.verify(&provider.secret()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_kept_up_for_as_long_as_finkare_thinks() {
    let fixture = crate::store::on_postgres().await;
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let hold = provider.holds(ROTATE);
    let mut rotating = Box::pin(node.rotate());
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    let begun = tokio::time::Instant::now();
    // Longer than a lease: without renewals the intent would count as unknown by then.
    eventually("a lease and a half have passed", async || begun.elapsed() > Duration::from_secs(12)).await;
    assert_eq!(node.link().await.intent.unwrap().state, IntentState::InFlight);
    hold.add_permits(1);
    rotating.await.unwrap();
    node.healed(&provider).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_followed_once_by_two_replicas() {
    let database = support::postgres::database().await;
    let provider = Provider::with_webhook().await;
    let node = async || {
        let store = PostgresStore::connect(&database.secret(), 4).await.unwrap();
        Node::on(Arc::new(store), &provider, Setup { rotate_every: Some(Duration::from_hours(24)), ..LINKED }).await
    };
    let (one, two) = (node().await, node().await);
    one.keep();
    two.keep();
    // An earlier secret.
    let behind = sqlx::PgPool::connect(&database.url()).await.unwrap();
    sqlx::query("UPDATE secrets SET created_at = created_at - 100000000000").execute(&behind).await.unwrap();
    one.store.wakeups().link_changed();
    two.store.wakeups().link_changed();
    provider.called(ROTATE, 1).await;
    one.healed(&provider).await;
    for node in [&one, &two] {
        assert!(node.lifecycle.stop(PATIENCE).await && !node.lifecycle.failed());
    }
    assert_eq!(provider.calls(ROTATE), 1);
    assert_eq!(one.count("rotated") + two.count("rotated"), 1);
    assert_eq!(one.trail(&provider).await, ["rotation.begun", "rotation.done"]);
    assert_eq!(
        one.store.list_audit(&finkare_relay::store::AuditFilter::default(), 1).await.unwrap().rows[0].actor,
        "schedule"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_outlives_a_database_that_is_away() {
    let database = support::postgres::database().await;
    let real = url::Url::parse(&database.url()).unwrap();
    let address =
        tokio::net::lookup_host((real.host_str().unwrap(), real.port().unwrap())).await.unwrap().next().unwrap();
    let way = proxy::Proxy::to(address).await;
    let mut through = real.clone();
    through.set_port(Some(way.address.port())).unwrap();
    through.set_host(Some("127.0.0.1")).unwrap();
    let store = PostgresStore::connect(&Secret::new(through.as_str()), 4).await.unwrap();
    let provider = Provider::with_webhook().await;
    let node = Node::on(Arc::new(store), &provider, LINKED).await;
    let hold = provider.holds(ROTATE);
    let mut rotating = Box::pin(node.rotate());
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    way.set(proxy::Way::Cut);
    hold.add_permits(1);
    let given = async || provider.secret() != OLD;
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = eventually("Finkare has switched", given) => {}
    }
    // The first try to store the secret, and every call before the database is back.
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = eventually("the store has failed", async || node.store.ready().await.is_err()) => {}
    }
    way.set(proxy::Way::Open);
    let rotated = rotating.await.unwrap();
    assert_eq!(rotated, of(&provider.secret()));
    assert_eq!(provider.calls(ROTATE), 1);
    node.healed(&provider).await;
}
