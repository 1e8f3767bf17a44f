//! Templates of `http` sinks: errors are reported before an event comes, with the place where the template failed.

use serde_json::{Value, json};

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, SECRET},
    target::Target,
};

fn sink(target: &Target, template: &str) -> String {
    format!("[[sinks]]\nname = \"chat\"\ntype = \"http\"\nurl = \"{}\"\ntemplate = '''{template}'''\n", target.url())
}

/// The usual first attempt at a template.
const USUAL: &str = r#"{"text": "Payment for {{ payload.data.invoiceId }}"}"#;
/// The correct template.
const RIGHT: &str = r#"{"text": {{ "Payment for " ~ payload.data.invoiceId }}}"#;

fn run(home: &Home, arguments: &[&str]) -> (i32, String) {
    let output = home.command().args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_found_by_check_and_by_try() {
    let home = Home::new(Backend::Sqlite).await;
    let target = Target::start().await;
    std::fs::write(home.path("event.json"), payment("F \"1\"", 15000)).unwrap();
    for (template, told, at) in [
        (
            USUAL,
            r#"{"text": {{ "before " ~ payload.data.invoiceId ~ " after" }}}"#,
            "line 1, column 26 of the template",
        ),
        ("{\n  \"n\": {{ event.id | eurs }}\n}", "there is no filter `eurs`", "line 2, column"),
        (r#"{"n": {{ paylod.data.invoiceId }}}"#, "no event has `paylod.data.invoiceId`", ""),
        (r#"{"n": {{ event.typ }}}"#, "`event` has id, type, endpoint, invoice_id, received_at", ""),
        (r#"{"n": {{ event.id }}"#, "its result is not JSON from line 1", ""),
    ] {
        home.configure("", &format!("secret = \"{SECRET}\""), &sink(&target, template));
        let (status, text) = run(&home, &["check"]);
        let line = text.lines().find(|line| line.starts_with("FAIL") && line.contains("sink chat")).unwrap_or_default();
        assert!(status == 1 && line.contains("`template` cannot work") && line.contains(told), "{template}: {text}");
        assert!(line.contains(at), "{template}: {line}");
        let (status, text) = run(&home, &["try", "--sink", "chat", "--event", "event.json"]);
        assert!(status == 1 && text.contains("`template` cannot make a body from it"), "{template}: {text}");
    }
    // The place of the error, and the text that was made before it.
    home.configure("", &format!("secret = \"{SECRET}\""), &sink(&target, USUAL));
    let (_, text) = run(&home, &["try", "--sink", "chat", "--event", "event.json"]);
    for part in [
        "line 1, column 26 of the template",
        "at        payload.data.invoiceId",
        "it made   {\"text\": \"Payment for \n",
    ] {
        assert!((text.clone() + "\n").contains(part), "`{part}` is not in {text}");
    }
    let (_, text) = run(&home, &["try", "--sink", "chat", "--event", "event.json", "--json"]);
    let answer: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let broken = &answer["would_get"]["broken"];
    assert_eq!((&broken["line"], &broken["column"]), (&json!(1), &json!(26)), "{answer}");
    assert_eq!(
        (&broken["excerpt"], &broken["made"]),
        (&json!("payload.data.invoiceId"), &json!("{\"text\": \"Payment for "))
    );

    home.configure("", &format!("secret = \"{SECRET}\""), &sink(&target, RIGHT));
    let (status, text) = run(&home, &["check"]);
    assert!(status == 0 && !text.contains("cannot work"), "{text}");
    let (status, text) = run(&home, &["try", "--sink", "chat", "--event", "event.json"]);
    assert!(status == 0 && text.contains(r#"{"text": "Payment for F \"1\""}"#), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_says_how_to_write_it() {
    let home = Home::new(Backend::Sqlite).await;
    let target = Target::start().await;
    let mut relay = home.serve(&sink(&target, USUAL)).await;
    relay.wait_for_line("template: cannot work, and events would be held").await;
    Finkare::of(&relay).deliver(&payment("i", 15000)).await;
    eventually("it is held", async || relay.all("/dispatches?state=held").await.len() == 1).await;
    let reason = relay.all("/dispatches").await[0]["last_error"].as_str().unwrap().to_owned();
    for part in [
        "line 1, column 26 of the template",
        r#"such as {"text": {{ "before " ~ payload.data.invoiceId ~ " after" }}}"#,
        "(`try` shows its result)",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(target.arrivals().is_empty());

    // A correct template, also for a value in an address.
    let query = r#"{"text": {{ "before " ~ payload.data.invoiceId ~ " after" }}, "url": {{ "https://x.example/?q=" ~ (payload.data.invoiceId | urlencode) }}}"#;
    home.configure("", &format!("secret = \"{SECRET}\""), &sink(&target, query));
    relay.signal("HUP");
    relay.wait_for_line("the configuration was reloaded").await;
    Finkare::of(&relay).deliver(&payment("F 1/2&é", 15000)).await;
    eventually("it has arrived", async || target.arrivals().len() == 1).await;
    let body: Value = serde_json::from_slice(&target.arrivals()[0].body).unwrap();
    assert_eq!(body, json!({"text": "before F 1/2&é after", "url": "https://x.example/?q=F%201/2%26%C3%A9"}));
}
