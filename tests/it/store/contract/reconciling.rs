//! Reconciliations: one at a time for each endpoint, whoever makes it; each step once; each payment filled once.

use finkare::{PaidAt, Payment};
use finkare_relay::{
    model::{
        audit::NewAudit,
        id::LeaseToken,
        reconciliation::{Difference, DifferenceKind, NewReport, ReportId, ReportState},
    },
    store::reconciliations::{Asked, Filled, Filling, Step},
};

use super::{EventFilter, EventId, Store, all_dispatches, clock, secs, sink};
use crate::store::Fixture;

fn audit() -> NewAudit {
    NewAudit::new("ops", "reconciliation.begun", "endpoint/main")
}

fn wanted(endpoint: &str, actor: &str) -> NewReport {
    NewReport {
        id: ReportId::generate(),
        endpoint: endpoint.into(),
        since: jiff::civil::date(2026, 10, 1),
        until: jiff::civil::date(2026, 10, 31),
        fill: true,
        actor: actor.into(),
    }
}

async fn ask(store: &dyn Store, new: &NewReport) -> Asked {
    store.ask_reconciliation(new, None, audit()).await.unwrap()
}

/// Begins a reconciliation of `main`, and takes it.
async fn taken(store: &dyn Store) -> (ReportId, LeaseToken) {
    let new = wanted("main", "ops");
    assert_eq!(ask(store, &new).await, Asked::Begun);
    let token = LeaseToken::generate();
    let pass = store.take_reconciliation(&["main".into()], token, secs(60)).await.unwrap().unwrap();
    assert_eq!((pass.report.asked.id, pass.token, pass.progress.as_str()), (new.id, token, ""));
    (new.id, token)
}

fn payment(id: &str, invoice: &str, cents: i64) -> Payment {
    Payment {
        id: id.into(),
        invoice_id: invoice.into(),
        amount_cents: cents,
        currency: Some("EUR".into()),
        status: "completed".into(),
        method: Some("card".into()),
        paid_at: Some(PaidAt::On(jiff::civil::date(2026, 10, 5))),
        other: serde_json::Map::new(),
    }
}

fn difference(payment: &str) -> Difference {
    Difference {
        kind: DifferenceKind::NeverAnnounced,
        payment_id: Some(payment.into()),
        invoice_id: Some("i1".into()),
        amount_cents: Some(1500),
        currency: Some("EUR".into()),
        paid_at: Some("2026-10-05".into()),
        sink: None,
        detail: "Finkare has a payment of Durand SARL".into(),
        event_id: None,
    }
}

fn filling(event: &str, payment: &str) -> Filling {
    Filling {
        event_id: EventId::of_payment("main", event, clock::now()),
        endpoint: "main".into(),
        payment_id: payment.into(),
        invoice_id: "i1".into(),
        amount_cents: 1500,
        at: clock::now(),
        payload: br#"{"event":"payment.received","data":{"invoiceId":"i1","amountCents":1500}}"#.to_vec(),
        sinks: vec![sink("erp")],
    }
}

pub(crate) async fn one_runs_at_a_time_for_each_endpoint(on: &Fixture) {
    let store = on.open().await;
    let (first, second) = (wanted("main", "ops"), wanted("main", "schedule"));
    assert_eq!(ask(&*store, &first).await, Asked::Begun);
    assert_eq!(ask(&*store, &second).await, Asked::Running(first.id));
    assert_eq!(ask(&*store, &wanted("other", "ops")).await, Asked::Begun);
    assert_eq!(store.reconciliations(Some(&["main".into()]), None, 10).await.unwrap().rows.len(), 1);

    let token = LeaseToken::generate();
    store.take_reconciliation(&["main".into()], token, secs(60)).await.unwrap().unwrap();
    assert!(store.finish_reconciliation(first.id, token, None).await.unwrap());
    let done = store.reconciliation(first.id).await.unwrap().unwrap();
    assert_eq!((done.state, done.problem.as_deref(), done.differences()), (ReportState::Done, None, 0));
    assert!(done.finished_at.is_some_and(|at| at >= done.started_at));
    assert_eq!(store.last_reconciliations().await.unwrap().len(), 1);

    // A schedule that is asked by several replicas begins one.
    assert_eq!(store.ask_reconciliation(&second, Some(secs(3600)), audit()).await.unwrap(), Asked::Begun);
    store.take_reconciliation(&["main".into()], token, secs(60)).await.unwrap().unwrap();
    assert!(store.finish_reconciliation(second.id, token, Some("Finkare refused the key")).await.unwrap());
    let failed = store.reconciliation(second.id).await.unwrap().unwrap();
    assert_eq!((failed.state, failed.problem.as_deref()), (ReportState::Failed, Some("Finkare refused the key")));
    let again = wanted("main", "schedule");
    let asked = store.ask_reconciliation(&again, Some(secs(3600)), audit()).await.unwrap();
    assert!(matches!(asked, Asked::Recent { wait } if wait <= secs(3600) && wait > secs(3500)), "{asked:?}");
    assert_eq!(ask(&*store, &wanted("main", "ops")).await, Asked::Begun, "a person is not made to wait");
}

pub(crate) async fn a_pass_is_its_holders_until_its_lease_ends(on: &Fixture) {
    let store = on.open().await;
    let (id, mine) = taken(&*store).await;
    let theirs = LeaseToken::generate();
    let endpoints = ["main".to_owned()];
    assert_eq!(store.take_reconciliation(&endpoints, theirs, secs(60)).await.unwrap(), None);
    assert!(store.renew_reconciliation(id, mine, secs(60)).await.unwrap());
    assert!(!store.renew_reconciliation(id, theirs, secs(60)).await.unwrap());
    let step = Step { progress: "half".into(), ..Step::default() };
    assert!(!store.step_reconciliation(id, theirs, &step).await.unwrap(), "it is not theirs");
    assert!(store.step_reconciliation(id, mine, &step).await.unwrap());

    store.release_reconciliation(id, mine, secs(0), Some("Finkare does not answer")).await.unwrap();
    let pass = store.take_reconciliation(&endpoints, theirs, secs(60)).await.unwrap().unwrap();
    assert_eq!((pass.report.asked.id, pass.progress.as_str()), (id, "half"), "it goes on where it was");
    assert_eq!(pass.report.problem.as_deref(), Some("Finkare does not answer"));
    assert!(!store.step_reconciliation(id, mine, &step).await.unwrap(), "it was taken over");
    assert!(!store.finish_reconciliation(id, mine, None).await.unwrap());
    assert!(store.finish_reconciliation(id, theirs, None).await.unwrap());
    assert_eq!(store.take_reconciliation(&endpoints, mine, secs(60)).await.unwrap(), None, "it is done");
}

pub(crate) async fn a_step_that_is_stored_twice_is_one(on: &Fixture) {
    let store = on.open().await;
    let (id, token) = taken(&*store).await;
    let read = Step {
        payments: vec![payment("p1", "i1", 1500), payment("p2", "i2", 900)],
        invoices: vec!["i3".into()],
        unreadable: Some(1),
        progress: "read".into(),
        ..Step::default()
    };
    let found = Step { differences: (0, vec![difference("p1")]), progress: "found".into(), ..Step::default() };
    for step in [&read, &read, &found] {
        assert!(store.step_reconciliation(id, token, step).await.unwrap());
    }
    assert_eq!(store.payments_read(id).await.unwrap(), 2);
    assert_eq!(store.invoices_to_reconcile(id, "", 10).await.unwrap(), ["i1", "i2", "i3"]);
    assert_eq!(store.invoices_to_reconcile(id, "i1", 1).await.unwrap(), ["i2"]);
    let kept = store.payments_to_reconcile(id, &["i1".into()]).await.unwrap();
    assert_eq!(kept, [payment("p1", "i1", 1500)]);
    assert_eq!(store.differences(id, -1, 10).await.unwrap(), [(0, difference("p1"))]);
    let event = EventId::generate();
    assert!(store.note_filled(id, token, 0, (event, "it was filled"), "filled").await.unwrap());
    let (_, filled) = store.differences(id, -1, 10).await.unwrap().remove(0);
    assert_eq!((filled.event_id, filled.detail.as_str()), (Some(event), "it was filled"));

    // What was kept for making it goes; what was found stays, and names nobody after an erasure.
    assert!(store.finish_reconciliation(id, token, None).await.unwrap());
    assert_eq!(store.payments_read(id).await.unwrap(), 0);
    let report = store.reconciliation(id).await.unwrap().unwrap();
    assert_eq!((report.differences(), report.unreadable), (1, 1));
    store.erase_invoice("i1", NewAudit::new("ops", "invoice.erased", "invoice/i1")).await.unwrap();
    let (_, erased) = store.differences(id, -1, 10).await.unwrap().remove(0);
    assert_eq!((erased.detail.as_str(), erased.amount_cents), ("erased", Some(1500)));
}

pub(crate) async fn a_payment_is_filled_once_whoever_fills_it(on: &Fixture) {
    let store = on.open().await;
    let first = filling("p1", "p1");
    assert_eq!(store.fill_payment(&first).await.unwrap(), Filled::Made(first.event_id));
    assert_eq!(store.fill_payment(&first).await.unwrap(), Filled::Already(first.event_id));
    // The same payment under another id: a clock was changed, or its date at Finkare.
    let later = filling("p1-later", "p1");
    assert_eq!(store.fill_payment(&later).await.unwrap(), Filled::Already(first.event_id));

    let second = filling("p2", "p2");
    let (one, other) = (on.open().await, on.open().await);
    let (one, other) = tokio::join!(one.fill_payment(&second), other.fill_payment(&second));
    let mut both = [one.unwrap(), other.unwrap()];
    both.sort_by_key(|filled| matches!(filled, Filled::Already(_)));
    assert_eq!(both, [Filled::Made(second.event_id), Filled::Already(second.event_id)]);

    assert_eq!(store.list_events(&EventFilter::default(), 10).await.unwrap().rows.len(), 2);
    assert_eq!(all_dispatches(&*store).await.len(), 2, "one for each");
    assert_eq!(store.assignment(first.event_id).await.unwrap().unwrap().payment_id, "p1");
}
