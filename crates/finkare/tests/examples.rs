//! Every example, run as a program of its own against the simulator, and what it prints.

use std::{
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use finkare_simulator::{NewPayment, Options, Simulator, Variants};
use tokio::process::Command;

/// More than any example needs.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where cargo puts the example. It builds the examples together with the tests.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(|deps| deps.parent()).unwrap();
    let program = target.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "{} is not built: cargo build -p finkare --examples", program.display());
    program
}

async fn run(command: &mut Command) -> Output {
    let running = command.kill_on_drop(true).stdin(Stdio::null()).output();
    tokio::time::timeout(PATIENCE, running).await.expect("it ends").unwrap()
}

/// What an example prints; it must succeed.
async fn printed(simulator: &Simulator, name: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program(name));
    command.args(arguments).env_clear();
    command.env("FINKARE_API_KEY", "fk_test_example").env("FINKARE_API_URL", simulator.api_url().as_str());
    let output = run(&mut command).await;
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{name}: {out}{err}");
    assert!(!(out.contains("whsec_") || out.contains("fk_")), "{name} prints a secret: {out}");
    out
}

async fn simulator() -> Simulator {
    Simulator::start(Options { seed: 1, ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn invoices_are_listed_from_page_to_page() {
    let simulator = simulator().await;
    for number in 1..=51 {
        simulator.create_invoice(Some(&format!("F-{number}")), Some(100 * number + 5)).unwrap();
    }
    let disputed = simulator.create_invoice(Some("F-52"), Some(7)).unwrap();
    simulator.set_status(disputed.id, "in_dispute").unwrap();
    let out = printed(&simulator, "invoices_list", &[]).await;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "50 of Some(51) invoices");
    assert_eq!((lines[1], lines[2]), ("F-52 — 0.07 EUR", "F-51 — 51.05 EUR"));
    assert_eq!((lines.len(), lines[52]), (53, "F-1 — 1.05 EUR"));
}

#[tokio::test]
async fn an_invoice_is_created_once_however_often_it_is_sent() {
    let simulator = simulator().await;
    simulator.set_variants(Variants { idempotency: true, ..Variants::default() }).unwrap();
    let out = printed(&simulator, "invoices_create", &[]).await;
    assert!(out.starts_with("FAC-2026-042 is ") && out.trim_end().len() == "FAC-2026-042 is ".len() + 36, "{out}");
    assert_eq!(printed(&simulator, "invoices_create", &[]).await, out, "it is the same invoice");
    let listed = printed(&simulator, "invoices_list", &[]).await;
    assert_eq!(listed, "1 of Some(1) invoices\nFAC-2026-042 — 2850.00 EUR\n");
    let debtors = printed(&simulator, "debtors", &[]).await;
    assert_eq!(debtors, "Martin Consulting SAS, 83965478200012\n");
}

#[tokio::test]
async fn invoices_are_imported_at_once() {
    let simulator = simulator().await;
    assert_eq!(printed(&simulator, "invoices_bulk_import", &[]).await, "2 of 2 invoices imported\n");
    let debtors = printed(&simulator, "debtors", &[]).await;
    assert_eq!(debtors, "Moreau Industries SA, no SIRET\nLefebvre SARL, no SIRET\n");
}

#[tokio::test]
async fn an_invoice_is_cancelled() {
    let simulator = simulator().await;
    let invoice = simulator.create_invoice(None, None).unwrap();
    assert_eq!(printed(&simulator, "invoices_cancel", &[&invoice.id.to_string()]).await, "Invoice cancelled\n");
    let listed = printed(&simulator, "invoices_list", &[]).await;
    assert!(listed.starts_with("0 of Some(0) invoices"), "{listed}");
}

#[tokio::test]
async fn payments_are_listed() {
    let simulator = simulator().await;
    let invoice = simulator.create_invoice(Some("F-1"), Some(5000)).unwrap();
    for (cents, method, status) in
        [(2000, "card", "completed"), (1000, "card", "failed"), (3000, "bank_transfer", "completed")]
    {
        let payment = NewPayment { amount_cents: Some(cents), method: method.into(), status: status.into() };
        simulator.pay(invoice.id, payment).unwrap();
    }
    assert_eq!(
        printed(&simulator, "payments", &[]).await,
        "3000 cents by bank_transfer, completed\n2000 cents by card, completed\n\
         3 payments of its invoice, 0 unreadable\nthe same: true\n"
    );
}

#[tokio::test]
async fn a_webhook_is_created_changed_rotated_and_deleted() {
    let simulator = Simulator::start(Options {
        seed: 1,
        // Nobody answers, so the first attempt of the ping is open for as long as the example runs.
        retry_waits: vec![PATIENCE],
        deliver_to: Some("http://127.0.0.1:9".parse().unwrap()),
        variants: Variants { ping: true, ..Variants::default() },
        ..Options::default()
    });
    let simulator = simulator.await.unwrap();
    let out = printed(&simulator, "webhooks", &[]).await;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[..3],
        ["created, secret [redacted]", "Webhook de production, enabled: true", "rotated, changed: true"]
    );
    assert!(lines[3].starts_with("ping — pending (") && lines[3].ends_with(" tentatives)"), "{out}");
    assert_eq!(lines[4..], ["0 webhooks are left"]);
    assert_eq!(simulator.counters().rotations, 1);
}

#[tokio::test]
async fn a_workflow_is_triggered() {
    let simulator = simulator().await;
    let invoice = simulator.create_invoice(None, None).unwrap();
    let out = printed(&simulator, "workflow", &[&invoice.id.to_string()]).await;
    assert_eq!(out, "relance_email_1\nrelance_email_2\n");
}

#[tokio::test]
async fn an_api_key_is_created_replaced_and_revoked() {
    let simulator = simulator().await;
    assert_eq!(
        printed(&simulator, "api_keys", &[]).await,
        "created, key [redacted]\nrotated, changed: true\n\
         Integration ERP: invoices:read, invoices:write, payments:read\n0 keys are left\n"
    );
}

#[tokio::test]
async fn errors_are_told_apart() {
    let simulator = simulator().await;
    assert_eq!(
        printed(&simulator, "errors", &[]).await,
        "Code: RES_001\nMessage: Resource not found\nStatus: 404\nRequest id: true\n\
         Network error: Finkare could not be reached for creating an invoice\nCause: true\nIt may have happened: false\n"
    );
}

#[tokio::test]
async fn a_delivery_is_checked() {
    let body = r#"{"event":"payment.received"}"#;
    let signature = finkare::signature::sign(&finkare::Secret::new("whsec_example"), body.as_bytes());
    for (header, body, out, reason) in [
        (signature.as_str(), body, "200 {\"received\":true}\n", ""),
        (signature.as_str(), "{}", "401 {\"error\":\"Invalid signature\"}\n", "fits none of the endpoint's secrets"),
        (&"x".repeat(64), body, "401 {\"error\":\"Invalid signature\"}\n", "not hexadecimal"),
    ] {
        let output = run(Command::new(program("receive")).args([header, body])).await;
        assert_eq!(String::from_utf8(output.stdout).unwrap(), out);
        assert!(String::from_utf8(output.stderr).unwrap().contains(reason), "{reason}");
    }
}

#[tokio::test]
async fn an_example_without_a_key_says_which_variable_is_missing() {
    let output = run(Command::new(program("invoices_list")).env_clear()).await;
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && err.contains("FINKARE_API_KEY"), "{err}");
}

#[test]
fn every_example_is_run() {
    let here = include_str!("examples.rs");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 11, "{names:?}");
    for name in names {
        assert!(here.contains(&format!("\"{name}\"")), "no test runs the example {name}");
    }
}
