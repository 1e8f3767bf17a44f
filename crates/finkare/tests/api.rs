//! The calls against the simulator: what a write may have done, what is a setting, and what is kept.

use std::{num::NonZeroU32, time::Duration};

use finkare::{
    AmountField, BulkImport, Client, Error, InvoiceFilter, InvoiceStatus, InvoiceUpdate, NewApiKey, NewDebtor,
    NewInvoice, NewWebhook, PageRequest, PaymentFilter, PaymentStatus, RevokeMethod, Secret, Settings, SettingsError,
    UpdateMethod, WorkflowAction,
};
use finkare_simulator::{Faults, InvoiceAmount, NewPayment, Options, Simulator, Variants};
use futures_util::{StreamExt, TryStreamExt};
use jiff::civil::date;
use serde_json::json;

async fn simulator() -> Simulator {
    Simulator::start(Options { seed: 1, ..Options::default() }).await.unwrap()
}

fn client_with(simulator: &Simulator, change: impl FnOnce(&mut Settings)) -> Client {
    let mut settings = Settings {
        api_url: Some(simulator.api_url()),
        retry_initial: Duration::from_millis(1),
        rate_limit: (NonZeroU32::new(100_000).unwrap(), Duration::from_secs(1)),
        ..Settings::new(Secret::new("fk_test_example"))
    };
    change(&mut settings);
    Client::new(settings).unwrap()
}

fn client(simulator: &Simulator) -> Client {
    client_with(simulator, |_| ())
}

fn new_invoice(number: &str) -> NewInvoice {
    let debtor = NewDebtor { name: "Lefebvre SARL".into(), ..NewDebtor::default() };
    NewInvoice::new(number, 75_000, date(2026, 3, 1), date(2026, 4, 1), debtor)
}

async fn count(client: &Client) -> u64 {
    let page = client.invoices().list(&InvoiceFilter::default(), PageRequest::default()).await.unwrap();
    page.pagination.total.unwrap()
}

#[tokio::test]
async fn an_invoice_that_may_have_been_created_is_created_once_under_its_key() {
    let simulator = simulator().await;
    let client = client(&simulator);
    for (idempotency, expected) in [(false, 2), (true, 3)] {
        simulator.set_variants(Variants { idempotency, ..Variants::default() }).unwrap();
        simulator.set_faults(Faults { lost_invoices: 1, ..Faults::default() }).unwrap();
        let create = async || {
            let key = format!("key-{idempotency}");
            client.invoices().idempotency_key(key).create(&new_invoice("FAC-1")).await
        };
        let error = create().await.unwrap_err();
        assert!(matches!(error, Error::Network { .. }) && error.may_have_happened(), "{error:?}");
        let answer = create().await.unwrap();
        assert_eq!(answer.data.invoice_number, "FAC-1");
        assert!(answer.request_id.unwrap().starts_with("req_") && answer.timestamp.is_some());
        assert_eq!(answer.message.as_deref(), Some("Invoice created"));
        assert_eq!(count(&client).await, expected, "idempotency: {idempotency}");
    }
}

#[tokio::test]
async fn calls_have_keys_of_their_own_and_retries_share_theirs() {
    let simulator = simulator().await;
    simulator.set_variants(Variants { idempotency: true, ..Variants::default() }).unwrap();
    let client = client(&simulator);
    for _ in 0..2 {
        simulator.set_faults(Faults { too_many_requests: 2, ..Faults::default() }).unwrap();
        client.invoices().create(&new_invoice("FAC-1")).await.unwrap();
    }
    assert_eq!(count(&client).await, 2, "two calls are two invoices");
    let without = client_with(&simulator, |settings| settings.idempotency_header = None);
    for _ in 0..2 {
        without.invoices().idempotency_key("same").create(&new_invoice("FAC-1")).await.unwrap();
    }
    assert_eq!(count(&client).await, 4, "the header is left out");
    for bad in ["", "a b", "é", "a\n", &"a".repeat(256)] {
        let error = client.invoices().idempotency_key(bad).create(&new_invoice("FAC-1")).await.unwrap_err();
        assert!(matches!(error, Error::Unusable { .. }), "{bad:?}: {error:?}");
    }
    assert_eq!(count(&client).await, 4);
}

#[tokio::test]
async fn an_amount_is_sent_in_the_field_of_the_setting_and_compared_with_the_answer() {
    let simulator = simulator().await;
    let amount = client(&simulator);
    let cents = client_with(&simulator, |settings| settings.amount_field = AmountField::AmountCents);
    let set = |invoice_amount| simulator.set_variants(Variants { invoice_amount, ..Variants::default() }).unwrap();
    for (variant, good, bad) in
        [(InvoiceAmount::Amount, &amount, &cents), (InvoiceAmount::AmountCents, &cents, &amount)]
    {
        set(variant);
        assert_eq!(good.invoices().create(&new_invoice("F")).await.unwrap().data.amount_cents, Some(75_000));
        let error = bad.invoices().create(&new_invoice("F")).await.unwrap_err();
        assert!(matches!(error, Error::Api { status: 400, .. }) && !error.may_have_happened(), "{error:?}");
        let import = BulkImport { invoices: vec![new_invoice("F")], ..BulkImport::default() };
        assert_eq!(good.invoices().bulk_import(&import).await.unwrap().data.imported, 1);
        bad.invoices().bulk_import(&import).await.unwrap_err();
    }
    set(InvoiceAmount::AmountEuros);
    let error = amount.invoices().create(&new_invoice("FAC-7")).await.unwrap_err();
    let text = error.to_string();
    assert!(error.may_have_happened() && text.contains("7500000 cents") && text.contains("FAC-7"), "{text}");

    let calls = simulator.counters().api_calls;
    for amount_cents in [0, -1] {
        let invoice = NewInvoice { amount_cents, ..new_invoice("F") };
        let import = BulkImport { invoices: vec![new_invoice("F"), invoice.clone()], ..BulkImport::default() };
        for error in [
            amount.invoices().create(&invoice).await.unwrap_err(),
            amount.invoices().bulk_import(&import).await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::Unusable { .. }), "{error:?}");
        }
    }
    assert_eq!(simulator.counters().api_calls, calls, "nobody was asked");
}

#[tokio::test]
async fn an_invoice_is_changed_and_cancelled_and_shows_what_it_was_created_with() {
    let simulator = simulator().await;
    let client = client(&simulator);
    let created = client.invoices().create(&new_invoice("FAC-1")).await.unwrap().data;
    assert_eq!((created.issue_date, created.due_date), (Some(date(2026, 3, 1)), Some(date(2026, 4, 1))));
    assert_eq!(created.debtor_name(), Some("Lefebvre SARL"));
    let update = InvoiceUpdate {
        notes: Some("litige".into()),
        metadata: json!({ "erp": 7 }).as_object().cloned(),
        ..InvoiceUpdate::default()
    };
    let changed = client.invoices().update(&created.id, &update).await.unwrap().data.unwrap();
    assert_eq!((&changed.other["notes"], &changed.other["metadata"]), (&json!("litige"), &json!({ "erp": 7 })));
    let cancelled = client.invoices().cancel(&created.id, "doublon").await.unwrap().data.unwrap();
    assert_eq!(cancelled.status, Some(InvoiceStatus::Other("cancelled".into())));
    assert_eq!(client.invoices().get(&created.id).await.unwrap().data, cancelled);
    let debtor = client.debtors().list(PageRequest::default()).await.unwrap().data.remove(0);
    assert_eq!(Some(&debtor.id), cancelled.debtor.unwrap().id.as_ref());
}

#[tokio::test]
async fn a_list_is_a_page_or_a_stream() {
    let simulator = simulator().await;
    let client = client(&simulator);
    let invoice = simulator.create_invoice(Some("F-1"), Some(5000)).unwrap();
    for cents in 1..=25 {
        let status = if cents % 5 == 0 { "pending" } else { "completed" };
        let payment = NewPayment { amount_cents: Some(cents), status: status.into(), ..NewPayment::default() };
        simulator.pay(invoice.id, payment).unwrap();
    }
    let filter = PaymentFilter { status: Some(PaymentStatus::Pending), ..PaymentFilter::default() };
    let page = client.payments().list(&filter, PageRequest { page: 2, limit: 3 }).await.unwrap();
    assert_eq!(page.data.iter().map(|payment| payment.amount_cents).collect::<Vec<_>>(), [10, 5]);
    let pagination = page.pagination;
    assert_eq!((pagination.page, pagination.limit, pagination.total), (Some(2), Some(3), Some(5)));
    assert!(page.unreadable.is_empty() && page.rows() == 2 && page.request_id.is_some());

    let calls = || simulator.counters().api_calls;
    let before = calls();
    let mut all = client.payments().list_all(10);
    assert_eq!(calls(), before, "nothing is asked for before it is wanted");
    assert_eq!(all.next().await.unwrap().unwrap().amount_cents, 25);
    assert_eq!(calls(), before + 1);
    let rest: Vec<i64> = all.map_ok(|payment| payment.amount_cents).try_collect().await.unwrap();
    assert_eq!(rest, (1..25).rev().collect::<Vec<i64>>());
    assert_eq!(calls(), before + 3);
    // It owns what it needs, and may move to another task.
    let moved = client.payments().list_matching(&filter, 2);
    assert_eq!(tokio::spawn(moved.count()).await.unwrap(), 5);

    for bad in [PageRequest { page: 0, limit: 1 }, PageRequest { page: 1, limit: 0 }] {
        assert!(matches!(client.payments().list(&filter, bad).await, Err(Error::Unusable { .. })));
    }
    assert!(matches!(client.invoices().list_all(0).collect().await, Err(Error::Unusable { .. })));
    let short = client_with(&simulator, |settings| settings.max_pages = 2);
    let error = short.payments().list_all(10).collect().await.unwrap_err();
    assert!(error.to_string().contains("after 2 pages"), "{error}");
    // A failed page ends the stream.
    simulator.set_faults(Faults { api_errors: 1, ..Faults::default() }).unwrap();
    let mut failing = client.payments().list_all(10);
    assert!(failing.next().await.unwrap().is_err() && failing.next().await.is_none());
}

#[tokio::test]
async fn what_nobody_documents_is_a_setting() {
    let simulator = simulator().await;
    simulator
        .set_variants(Variants {
            invoices_path: "/factures".into(),
            import_path: "/factures/import".into(),
            cancel_path: "/factures/{id}/annuler".into(),
            invoice_path: "/facture/{id}".into(),
            debtors_path: "/clients".into(),
            debtor_path: "/client/{id}".into(),
            workflow_path: "/facture/{id}/workflow".into(),
            trigger_path: "/facture/{id}/workflow/run".into(),
            api_keys_path: "/keys".into(),
            rotate_key_path: "/keys/{id}/new".into(),
            revoke_key_path: "/keys/{id}/revoke".into(),
            revoke_method: finkare_simulator::RevokeMethod::Post,
            update_method: finkare_simulator::UpdateMethod::Patch,
            ..Variants::default()
        })
        .unwrap();
    let client = client_with(&simulator, |settings| {
        let paths = &mut settings.paths;
        paths.invoices = "/factures".into();
        paths.invoices_bulk = "/factures/import".into();
        paths.cancel_invoice = "/factures/{id}/annuler".into();
        paths.invoice = "/facture/{id}".into();
        paths.debtors = "/clients".into();
        paths.debtor = "/client/{id}".into();
        paths.workflow = "/facture/{id}/workflow".into();
        paths.trigger_workflow = "/facture/{id}/workflow/run".into();
        paths.api_keys = "/keys".into();
        paths.rotate_api_key = "/keys/{id}/new".into();
        paths.revoke_api_key = "/keys/{id}/revoke".into();
        settings.revoke_method = RevokeMethod::Post;
        settings.update_method = UpdateMethod::Patch;
    });
    let invoice = client.invoices().create(&new_invoice("F")).await.unwrap().data;
    let import = BulkImport { invoices: vec![new_invoice("G")], auto_start_workflow: Some(false) };
    client.invoices().bulk_import(&import).await.unwrap();
    client.invoices().update(&invoice.id, &InvoiceUpdate::default()).await.unwrap();
    let debtor = client.debtors().list_all(1).next().await.unwrap().unwrap();
    assert_eq!(client.debtors().get(&debtor.id).await.unwrap().data, debtor);
    assert_eq!(client.workflow().status(&invoice.id).await.unwrap().data.current_step.unwrap(), "relance_email_1");
    let action = WorkflowAction::Escalate;
    let told = client.workflow().trigger_action(&invoice.id, &action, Some("x")).await.unwrap().data;
    assert_eq!((&told["action"], &told["currentStep"]), (&json!("escalate"), &json!("relance_email_2")));
    let key = NewApiKey { name: "x".into(), scopes: vec!["invoices:read".into()], tier: None };
    let id = client.api_keys().create(&key).await.unwrap().data.id.unwrap();
    client.api_keys().rotate(&id).await.unwrap();
    client.api_keys().revoke(&id).await.unwrap();
    client.invoices().cancel(&invoice.id, "x").await.unwrap();

    for (name, path) in [("debtor", "/debtors"), ("debtors", "/debtors/{id}"), ("api_keys", "keys")] {
        let mut settings = Settings::new(Secret::new("fk_test_a"));
        match name {
            "debtor" => settings.paths.debtor = path.into(),
            "debtors" => settings.paths.debtors = path.into(),
            _ => settings.paths.api_keys = path.into(),
        }
        let error = Client::new(settings).unwrap_err();
        assert!(matches!(error, SettingsError::Path { .. } | SettingsError::ListPath { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("`paths.{name}`")), "{error}");
    }
}

#[tokio::test]
async fn an_error_says_whom_to_ask_and_holds_no_secret() {
    let simulator = simulator().await;
    let client = client(&simulator);
    let error = client.invoices().get("invalid-uuid").await.unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(404), Some("RES_001")));
    assert!(error.request_id().unwrap().starts_with("req_"));
    let created = client.webhooks().create(&NewWebhook::new("https://x.example/h", ["a"])).await.unwrap().data;
    let key = NewApiKey { name: "x".into(), scopes: vec!["a".into()], tier: None };
    let key = client.api_keys().create(&key).await.unwrap().data;
    let shown = format!("{created:?} {key:?} {client:?} {:?}", Settings::new(Secret::new("fk_test_example")));
    for secret in [created.secret.expose(), key.api_key.expose(), "fk_test_example"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let nowhere = client_with(&simulator, |settings| settings.api_url = Some("http://127.0.0.1:9".parse().unwrap()));
    let error = nowhere.webhooks().list().await.unwrap_err();
    assert_eq!((error.status(), error.request_id(), error.may_have_happened()), (None, None, false));
}
