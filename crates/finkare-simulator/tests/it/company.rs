//! Invoices, debtors, workflows and API keys: what the vendor's page does with them, on the most likely paths.

use finkare_simulator::{InvoiceAmount, Options, RevokeMethod, Secret, Simulator, UpdateMethod, Variants};
use serde_json::{Value, json};

use crate::scene::{alone, call, http};

/// The invoice of the vendor's page.
fn new_invoice() -> Value {
    json!({
        "invoiceNumber": "FAC-2026-042", "amount": 285_000, "issueDate": "2026-02-15", "dueDate": "2026-03-15",
        "debtor": {
            "name": "Martin Consulting SAS", "email": "direction@martin-consulting.fr", "phone": "+33678901234",
            "siret": "83965478200012",
        },
    })
}

#[tokio::test]
async fn an_invoice_is_created_shown_changed_and_cancelled() {
    let simulator = alone(Options::default()).await;
    let created = call(&simulator, "POST", "/invoices", new_invoice()).await;
    assert_eq!(created.status, 201);
    let data = &created.body["data"];
    assert_eq!((&data["amountCents"], &data["status"]), (&json!(285_000), &json!("in_recovery")));
    assert_eq!((&data["issueDate"], &data["dueDate"]), (&json!("2026-02-15"), &json!("2026-03-15")));
    let one = format!("/invoices/{}", data["id"].as_str().unwrap());
    assert_eq!(call(&simulator, "GET", &one, Value::Null).await.body["data"], *data);

    let debtors = call(&simulator, "GET", "/debtors", Value::Null).await.body;
    assert_eq!((&debtors["data"][0], &debtors["pagination"]["total"]), (&data["debtor"], &json!(1)));
    let debtor = format!("/debtors/{}", data["debtor"]["id"].as_str().unwrap());
    assert_eq!(call(&simulator, "GET", &debtor, Value::Null).await.body["data"], data["debtor"]);
    assert_eq!(call(&simulator, "GET", "/debtors/1", Value::Null).await.status, 404);

    let mut second = new_invoice();
    second["debtor"]["name"] = json!("Martin Consulting");
    call(&simulator, "POST", "/invoices", second).await;
    let debtors = call(&simulator, "GET", "/debtors", Value::Null).await.body;
    assert_eq!(debtors["pagination"]["total"], 1, "the SIRET is the debtor's");

    for (method, change) in [("PUT", json!({"notes": "litige"})), ("PATCH", json!({"metadata": {"erp": 7}}))] {
        assert_eq!(call(&simulator, method, &one, change).await.status, 200);
    }
    let changed = call(&simulator, "GET", &one, Value::Null).await.body;
    assert_eq!((&changed["data"]["notes"], &changed["data"]["metadata"]), (&json!("litige"), &json!({"erp": 7})));

    let cancel = format!("{one}/cancel");
    assert_eq!(call(&simulator, "POST", &cancel, json!({"reason": " "})).await.status, 400);
    let cancelled = call(&simulator, "POST", &cancel, json!({"reason": "Paiement reçu directement"})).await;
    assert_eq!((cancelled.status, &cancelled.body["data"]["status"]), (200, &json!("cancelled")));
    for (method, path) in [("PUT", "/invoices/1"), ("POST", "/invoices/1/cancel"), ("GET", "/invoices/bulk")] {
        assert_eq!(call(&simulator, method, path, json!({"reason": "x"})).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_bad_invoice_is_refused_and_of_an_import_all_or_none() {
    let simulator = alone(Options::default()).await;
    let with = |name: &str, value: Value| {
        let mut invoice = new_invoice();
        invoice[name] = value;
        invoice
    };
    let bad = [
        with("amount", json!(0)),
        with("amount", json!(-5)),
        with("amount", json!(28.5)),
        with("amount", json!(null)),
        with("invoiceNumber", json!(" ")),
        with("dueDate", json!("2026-02-14")),
        with("issueDate", json!("15/02/2026")),
        with("debtor", json!({"name": ""})),
        with("debtor", json!(null)),
    ];
    for invoice in &bad {
        assert_eq!(call(&simulator, "POST", "/invoices", invoice.clone()).await.status, 400, "{invoice}");
        let import = json!({"invoices": [new_invoice(), invoice]});
        assert_eq!(call(&simulator, "POST", "/invoices/bulk", import).await.status, 400, "{invoice}");
    }
    let many: Vec<Value> = (0..101).map(|_| new_invoice()).collect();
    for import in [json!({"invoices": []}), json!({"invoices": many})] {
        assert_eq!(call(&simulator, "POST", "/invoices/bulk", import).await.status, 400);
    }
    let total = async || call(&simulator, "GET", "/invoices", Value::Null).await.body["pagination"]["total"].clone();
    assert_eq!(total().await, 0);
    let import = json!({"invoices": many[..100], "autoStartWorkflow": true});
    let imported = call(&simulator, "POST", "/invoices/bulk", import).await;
    assert_eq!((imported.status, &imported.body["data"]), (201, &json!({"imported": 100})));
    assert_eq!(total().await, 100);
}

#[tokio::test]
async fn the_amount_of_an_invoice_has_several_readings() {
    let simulator = alone(Options::default()).await;
    let (amount, cents) = (json!({"amount": 2}), json!({"amountCents": 2}));
    for (variant, sent, expected) in [
        (InvoiceAmount::Amount, &amount, json!(2)),
        (InvoiceAmount::Amount, &cents, json!(null)),
        (InvoiceAmount::AmountCents, &cents, json!(2)),
        (InvoiceAmount::AmountCents, &amount, json!(null)),
        (InvoiceAmount::Either, &amount, json!(2)),
        (InvoiceAmount::Either, &cents, json!(2)),
        (InvoiceAmount::AmountEuros, &amount, json!(200)),
    ] {
        simulator.set_variants(Variants { invoice_amount: variant, ..Variants::default() }).unwrap();
        let mut invoice = new_invoice();
        let fields = invoice.as_object_mut().unwrap();
        fields.remove("amount");
        fields.extend(sent.as_object().unwrap().clone());
        let created = call(&simulator, "POST", "/invoices", invoice).await;
        assert_eq!(created.body["data"]["amountCents"], expected, "{variant:?} {sent}");
    }
}

#[tokio::test]
async fn a_workflow_moves_on_when_it_is_triggered() {
    let simulator = alone(Options::default()).await;
    let invoice = simulator.create_invoice(None, None).unwrap();
    let path = format!("/workflow/invoice/{}", invoice.id);
    let trigger = format!("{path}/trigger");
    let step = async || call(&simulator, "GET", &path, Value::Null).await.body["data"]["currentStep"].clone();
    assert_eq!(step().await, "relance_email_1");
    for (body, expected) in [
        (Value::Null, "relance_email_2"),
        (json!({"action": "pause"}), "relance_email_2"),
        (json!({"action": "escalate", "reason": "x"}), "relance_sms_1"),
    ] {
        let answer = call(&simulator, "POST", &trigger, body).await;
        assert_eq!((answer.status, &answer.body["data"]["currentStep"]), (200, &json!(expected)));
        assert_eq!(step().await, expected);
    }
    assert_eq!(call(&simulator, "POST", &trigger, json!({"action": "odd"})).await.status, 400);
    assert_eq!(call(&simulator, "GET", "/workflow/invoice/1", Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_key_works_until_it_is_replaced_or_revoked() {
    let simulator = alone(Options { api_keys: vec![Secret::new("fk_live_a")], ..Options::default() }).await;
    let ask = async |simulator: &Simulator, key: &str, method: &str, path: &str, body: Value| {
        let url = format!("{}{path}", simulator.api_url());
        let request = http().request(method.parse().unwrap(), url).header("X-API-Key", key).json(&body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["data"].clone())
    };
    let new = json!({"name": "Integration ERP", "scopes": ["invoices:read"], "tier": "pro"});
    let (status, created) = ask(&simulator, "fk_live_a", "POST", "/api-keys", new).await;
    let (id, first) = (created["id"].as_str().unwrap(), created["apiKey"].as_str().unwrap());
    assert!(status == 201 && first.starts_with("fk_test_"), "{status} {first}");
    let works = async |key: &str| ask(&simulator, key, "GET", "/webhooks", Value::Null).await.0 == 200;
    assert!(works(first).await && !works("fk_test_other").await);

    let (_, rotated) = ask(&simulator, "fk_live_a", "POST", &format!("/api-keys/{id}/rotate"), Value::Null).await;
    let second = rotated["apiKey"].as_str().unwrap();
    assert!(works(second).await && !works(first).await);
    let (_, listed) = ask(&simulator, "fk_live_a", "GET", "/api-keys", Value::Null).await;
    assert_eq!((&listed[0]["name"], listed[0].get("apiKey")), (&json!("Integration ERP"), None));

    let variants = Variants { revoke_method: RevokeMethod::Post, ..Variants::default() };
    simulator.set_variants(variants).unwrap();
    assert_eq!(ask(&simulator, "fk_live_a", "DELETE", &format!("/api-keys/{id}"), Value::Null).await.0, 405);
    assert_eq!(ask(&simulator, "fk_live_a", "POST", &format!("/api-keys/{id}"), Value::Null).await.0, 200);
    assert!(!works(second).await);
    for bad in [json!({"name": "", "scopes": ["a"]}), json!({"name": "a", "scopes": []}), json!({"name": "a"})] {
        assert_eq!(ask(&simulator, "fk_live_a", "POST", "/api-keys", bad).await.0, 400);
    }
}

#[tokio::test]
async fn every_path_that_is_not_documented_can_be_another() {
    let simulator = alone(Options::default()).await;
    simulator
        .set_variants(Variants {
            invoices_path: "/factures".into(),
            import_path: "/factures/import".into(),
            cancel_path: "/factures/{id}/annuler".into(),
            debtors_path: "/clients".into(),
            debtor_path: "/client/{id}".into(),
            workflow_path: "/invoices/{id}/workflow".into(),
            trigger_path: "/invoices/{id}/workflow/run".into(),
            api_keys_path: "/keys".into(),
            rotate_key_path: "/keys/{id}/new".into(),
            revoke_key_path: "/keys/{id}".into(),
            update_method: UpdateMethod::Patch,
            ..Variants::default()
        })
        .unwrap();
    let created = call(&simulator, "POST", "/factures", new_invoice()).await.body;
    let id = created["data"]["id"].as_str().unwrap();
    let debtor = created["data"]["debtor"]["id"].as_str().unwrap();
    for (method, path, status) in [
        ("GET", "/factures".to_owned(), 200),
        ("GET", "/clients".to_owned(), 200),
        ("GET", format!("/client/{debtor}"), 200),
        ("GET", format!("/invoices/{id}/workflow"), 200),
        ("POST", format!("/invoices/{id}/workflow/run"), 200),
        ("PUT", format!("/invoices/{id}"), 405),
        ("PATCH", format!("/invoices/{id}"), 200),
        ("GET", "/keys".to_owned(), 200),
        ("GET", "/invoices".to_owned(), 404),
        ("GET", "/debtors".to_owned(), 404),
        ("GET", "/api-keys".to_owned(), 404),
        ("GET", format!("/workflow/invoice/{id}"), 404),
    ] {
        assert_eq!(call(&simulator, method, &path, json!({})).await.status, status, "{method} {path}");
    }
    let cancelled = call(&simulator, "POST", &format!("/factures/{id}/annuler"), json!({"reason": "x"})).await;
    assert_eq!(cancelled.status, 200);
    let import = json!({"invoices": [new_invoice()]});
    assert_eq!(call(&simulator, "POST", "/factures/import", import).await.status, 201);
    let bad = Variants { invoices_path: "/invoices/{id}".into(), ..Variants::default() };
    assert!(simulator.set_variants(bad).unwrap_err().to_string().contains("`invoices_path`"));
}
