//! Booking without an account: `simulate --books` and `pay`, beside a running service.

use serde_json::Value;

use crate::support::{
    eventually, http,
    relay::{Backend, Home, Relay, TOKEN},
    simulated::{Simulated, program, run},
};

/// Runs a command against the service.
async fn operate(home: &Home, relay: &Relay, arguments: &[&str]) -> String {
    let mut command = home.command();
    command.args(arguments).args(["--admin-url", &format!("http://{}", relay.admin)]);
    command.env("RELAY_ADMIN_TOKEN", TOKEN).env("RUST_LOG", "off");
    let (exit, said, complained) = run(command).await;
    assert_eq!(exit, 0, "{arguments:?}: {said}{complained}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_booked_in_the_books_that_are_shown() {
    for (system, name) in [("facturation_pro", "Facturation.PRO"), ("efactori", "eFactori")] {
        // The service comes first, since the simulator has to know where it listens.
        let home = Home::new(Backend::Sqlite).await;
        home.configure("", "api_key = \"fk_test_simulator\"\napi_url = \"http://127.0.0.1:1\"", "");
        let relay = home.start().await;
        let deliver_to = format!("http://{}", relay.public);
        let finkare = Simulated::start(&[
            "--deliver-to",
            &deliver_to,
            "--books",
            system,
            "--books-listen",
            "127.0.0.1:0",
            "--fault",
            "repeats=1",
        ]);
        // What it prints is pasted as it is.
        let sink = finkare.said["books"]["sink"].as_str().unwrap();
        let endpoint = format!("api_key = \"fk_test_simulator\"\napi_url = \"{}\"", finkare.url());
        home.configure("", &endpoint, sink);
        relay.post("/reload").await;
        let url = "https://relay.example/webhooks/finkare";
        operate(&home, &relay, &["register", "--endpoint", "production", "--url", url]).await;
        let (exit, said, _) = finkare.pay(&["--amount", "1 500,00", "--invoice", "F-2026-042", "--json"]).await;
        assert_eq!(exit, 0, "{said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        let payment = &said["payments"][0];
        assert_eq!(
            (&payment["amount_cents"], &payment["invoice_number"], &payment["webhooks"]),
            (&Value::from(150_000), &Value::from("F-2026-042"), &Value::from(1)),
            "{said}"
        );
        let id = payment["id"].as_str().unwrap();
        let list = ["bookings", "list", "--payment-id", id];
        eventually("it is booked", async || operate(&home, &relay, &list).await.contains("booked")).await;
        relay.drained().await;
        let page = finkare.page().await;
        for part in
            [&format!("The stand-in of {name}: 1 payment on 1 invoice."), "1500.00 EUR", "No call broke the rules"]
        {
            assert!(page.contains(part), "{system}: `{part}` is not in:\n{page}");
        }
        assert_eq!(page.matches(id).count(), 1, "delivered twice, booked once:\n{page}");

        // More than is due is for a person.
        let (exit, said, complained) = finkare.pay(&["--amount-cents", "2000", "--invoice", "F-2026-042"]).await;
        assert_eq!(exit, 0, "{complained}");
        assert!(said.contains("of 20.00 EUR by sepa_debit, invoice F-2026-042: announced to 1 webhook"), "{said}");
        assert!(complained.contains("finkare-relay events list"), "{complained}");
        eventually("it is held", async || !relay.all("/dispatches?sink=books&state=held").await.is_empty()).await;
        let held = relay.all("/dispatches?sink=books&state=held").await;
        let reason = held[0]["last_error"].as_str().unwrap();
        assert!(reason.contains("20.00 EUR") && reason.contains("F-2026-042"), "{reason}");
        assert!(finkare.page().await.contains(": 1 payment on 1 invoice."));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paying_says_what_is_missing() {
    let finkare = Simulated::start(&[]);
    let (exit, said, complained) = finkare.pay(&["--count", "3", "--method", "card"]).await;
    assert_eq!(exit, 0, "{complained}");
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(said.lines().all(|line| line.contains("EUR by card, ") && line.ends_with("announced to nobody")), "{said}");
    assert!(
        complained.contains("No webhook is registered") && complained.contains("finkare-relay register"),
        "{complained}"
    );

    let pay = async |arguments: &[&str]| {
        let mut command = program();
        command.arg("pay").args(arguments);
        run(command).await
    };
    // No program may listen on this port.
    let (exit, _, complained) = pay(&["--to", "http://127.0.0.1:1"]).await;
    assert!(exit == 1 && complained.contains("finkare-relay simulate") && complained.contains("--to"), "{complained}");
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("").await;
    let (exit, _, complained) = pay(&["--to", &format!("http://{}", relay.public)]).await;
    assert!(exit == 1 && complained.contains("is no simulated Finkare (it answered HTTP 404)"), "{complained}");
    for wrong in [["--amount", "1500.5"], ["--amount", "0"], ["--amount-cents", "0"], ["--method", "barter"]] {
        let (exit, _, complained) = pay(&wrong).await;
        assert_eq!(exit, 2, "{wrong:?}: {complained}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_books_have_names() {
    for (arguments, words) in [
        (&["--books", "facturation_pro", "--books-fault", "nothing=1"][..], "`nothing`; known are: errors, "),
        (&["--books", "facturation_pro", "--books-fault", "errors=often"], "`often` is no number of calls"),
        (&["--books", "sage"], "facturation_pro, efactori"),
        (&["--books-fault", "errors=1"], "--books"),
    ] {
        let mut command = program();
        command.arg("simulate").args(arguments);
        let (exit, _, complained) = run(command).await;
        assert!(exit == 2 && complained.contains(words), "{arguments:?}: {complained}");
    }
    let more = ["--books", "facturation_pro", "--books-listen", "127.0.0.1:0", "--books-fault", "errors=1"];
    let finkare = Simulated::start(&more);
    let ask = async || {
        let url = format!("{}/account.json", finkare.said["books"]["url"].as_str().unwrap());
        http().get(url).send().await.unwrap().status().as_u16()
    };
    assert_eq!((ask().await, ask().await), (503, 401), "the fault is for one call");
}
