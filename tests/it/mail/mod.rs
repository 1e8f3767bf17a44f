//! The sink `email` against a real mail server, aiosmtpd; the mails are read by a library that is not the one that wrote
//! them.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use mail_parser::MessageParser;
use serde_json::{Value, json};

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, Relay},
};

mod postfix;

const PASSWORD: &str = "pass/word-of-the-mailbox";

/// A running mail server.
pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
    said: Arc<Mutex<Vec<Value>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A Python that has aiosmtpd: `scripts/test` installs Debian's package, for Debian's Python.
fn python() -> &'static str {
    let has = |python: &str| {
        let found = Command::new(python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    };
    ["/usr/bin/python3", "python3"]
        .into_iter()
        .find(|python| has(python))
        .expect("aiosmtpd is missing (Debian, Ubuntu: python3-aiosmtpd); scripts/test installs it")
}

impl Server {
    pub(crate) fn start(tls: &str, login: bool) -> Self {
        Self::start_with(tls, login, "")
    }

    /// `greeting` is `closed` for a server that wants nothing of us.
    fn start_with(tls: &str, login: bool, greeting: &str) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
        let mut command = Command::new(python());
        command.arg(format!("{folder}/mail/server.py")).args(["--tls", tls, "--greeting", greeting]);
        command.args(["--cert", &format!("{folder}/outgoing_tls/server.crt")]);
        command.args(["--key", &format!("{folder}/outgoing_tls/server.key")]);
        if login {
            command.args(["--user", "relais", "--password", PASSWORD]);
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let said = Arc::<Mutex<Vec<Value>>>::default();
        let heard = said.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { process, port, said }
    }

    /// What was said of this kind.
    pub(crate) fn said(&self, what: &str) -> Vec<Value> {
        let said = self.said.lock().unwrap();
        said.iter().filter(|line| !line[what].is_null()).cloned().collect()
    }

    pub(crate) async fn mails(&self, number: usize) -> Vec<String> {
        eventually("the mails arrive", async || self.said("data").len() >= number).await;
        self.said("data").iter().map(|line| line["data"].as_str().unwrap().to_owned()).collect()
    }
}

/// `authority` says whether the private authority of the server's certificate is trusted.
fn sink(url: &str, to: &[&str], authority: bool, more: &str) -> String {
    let outgoing = format!("[outgoing]\nca_file = \"{}/tests/it/outgoing_tls/ca.crt\"\n", env!("CARGO_MANIFEST_DIR"));
    format!(
        "{}[[sinks]]\nname = \"mail\"\ntype = \"email\"\nsmtp_url = \"{url}\"\nfrom = \"Relais <relais@example.fr>\"\nto = {}\n\
         retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n{more}\n",
        if authority { outgoing.as_str() } else { "" },
        json!(to)
    )
}

async fn with(sinks: &str) -> (Home, Relay) {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve(sinks).await;
    (home, relay)
}

async fn only_dispatch(relay: &Relay) -> Value {
    let mut rows = relay.all("/dispatches").await;
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

async fn ends_as(relay: &Relay, state: &str) -> Value {
    eventually(state, async || only_dispatch(relay).await["state"] == state).await;
    only_dispatch(relay).await
}

async fn deliver(relay: &Relay) -> String {
    let answer = Finkare::of(relay).deliver(&payment("facture-1", 150_000)).await;
    assert_eq!(answer.status, 200);
    answer.id()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_a_mail_in_french() {
    let server = Server::start("none", false);
    let (_home, relay) =
        with(&sink(&format!("smtp://localhost:{}", server.port), &["compta@example.fr", "chef@example.fr"], false, ""))
            .await;
    let id = deliver(&relay).await;
    let mails = server.mails(1).await;
    ends_as(&relay, "delivered").await;
    let mail = MessageParser::default().parse(mails[0].as_bytes()).unwrap();
    assert_eq!(mail.subject(), Some("Paiement reçu\u{a0}: 1\u{202f}500,00\u{a0}€"));
    assert_eq!(mail.message_id(), Some(format!("{id}@example.fr").as_str()));
    let to: Vec<_> = mail.to().unwrap().iter().filter_map(|one| one.address()).collect();
    assert_eq!(to, ["compta@example.fr", "chef@example.fr"]);
    assert!(mail.body_text(0).unwrap().contains("Montant\u{a0}: 1\u{202f}500,00\u{a0}€"));
    assert!(mail.body_html(0).unwrap().contains("<td>1\u{202f}500,00\u{a0}€</td>"));
    assert_eq!(server.said("data")[0]["to"], json!(["compta@example.fr", "chef@example.fr"]), "one message to both");
    // A replay is the same mail.
    relay.post(&format!("/events/{id}/replay")).await;
    let mails = server.mails(2).await;
    let again = MessageParser::default().parse(mails[1].as_bytes()).unwrap();
    assert_eq!((again.message_id(), again.date()), (mail.message_id(), mail.date()));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_starttls_and_tls_the_login_is_encrypted() {
    for (tls, scheme, more) in [("starttls", "smtp", "?tls=required"), ("implicit", "smtps", "")] {
        let server = Server::start(tls, tls == "starttls");
        let login = if tls == "starttls" { "relais:pass%2Fword-of-the-mailbox@" } else { "" };
        let url = format!("{scheme}://{login}localhost:{}{more}", server.port);
        let (home, relay) = with(&sink(&url, &["compta@example.fr"], true, "language = \"en\"")).await;
        let check = home.command().arg("check").output().unwrap();
        let told = String::from_utf8(check.stdout).unwrap();
        assert!(check.status.success(), "{told}");
        assert!(told.contains("no mail was sent"), "{told}");
        eventually("the check is seen", async || !server.said("noop").is_empty()).await;
        assert_eq!((server.said("noop").len(), server.said("mail").len()), (1, 0), "a check begins no mail");
        deliver(&relay).await;
        server.mails(1).await;
        let begun = &server.said("mail")[0];
        assert_eq!((&begun["tls"], &begun["login"]), (&true.into(), &(tls == "starttls").into()));
        assert!(relay.log().find(PASSWORD).is_none() && !told.contains(PASSWORD));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_as_it_must_be_gets_no_password() {
    // No STARTTLS where it is required; a certificate that nobody vouches for; a certificate for another name.
    for (tls, url, authority, expected) in [
        ("none", "smtp://u:secret-1@localhost:PORT?tls=required", true, "does not offer STARTTLS"),
        ("starttls", "smtp://u:secret-1@localhost:PORT?tls=required", false, "UnknownIssuer"),
        ("implicit", "smtps://u:secret-1@127.0.0.1:PORT", true, "not valid for name"),
    ] {
        let server = Server::start(tls, true);
        let (home, relay) =
            with(&sink(&url.replace("PORT", &server.port.to_string()), &["compta@example.fr"], authority, "")).await;
        deliver(&relay).await;
        eventually("it was tried", async || only_dispatch(&relay).await["attempts"].as_u64().unwrap() >= 1).await;
        let dispatch = only_dispatch(&relay).await;
        let reason = dispatch["last_error"].as_str().unwrap().to_owned();
        assert!(reason.contains(expected) && !reason.contains("secret-1"), "{reason}");
        assert_ne!(dispatch["state"], "dead", "it may be repaired: {reason}");
        assert_eq!((server.said("auth").len(), server.said("mail").len()), (0, 0), "{reason}");
        assert!(!home.command().arg("check").output().unwrap().status.success());
        assert!(!relay.log().contains("secret-1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_pauses_the_sink_and_shows_no_password() {
    let server = Server::start("none", true);
    let url = format!("smtp://relais:wrong-secret-1@127.0.0.1:{}", server.port);
    let (_home, relay) = with(&sink(&url, &["compta@example.fr"], false, "")).await;
    deliver(&relay).await;
    eventually("it is paused", async || relay.sink("mail").await["state"] == "paused").await;
    let reason = relay.sink("mail").await.to_string();
    assert!(reason.contains("did not accept the login") && reason.contains("535"), "{reason}");
    assert!(!reason.contains("wrong-secret-1") && !relay.log().contains("wrong-secret-1"), "{reason}");
    assert_eq!(only_dispatch(&relay).await["state"], "pending", "no mail is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_nothing_of_us_pauses_the_sink() {
    for (greeting, from, expected) in [
        ("closed", "relais@example.fr", "your address is on a list"),
        ("", "refused@example.fr", "refused the sender refused@example.fr"),
    ] {
        let server = Server::start_with("none", false, greeting);
        let url = format!("smtp://127.0.0.1:{}", server.port);
        let sinks = sink(&url, &["compta@example.fr"], false, "").replace("relais@example.fr", from);
        let (_home, relay) = with(&sinks).await;
        deliver(&relay).await;
        eventually("it is paused", async || relay.sink("mail").await["state"] == "paused").await;
        let dispatch = only_dispatch(&relay).await;
        let reason = dispatch["last_error"].as_str().unwrap();
        assert!(reason.contains(expected) && reason.contains("sinks resume"), "{reason}");
        assert_eq!(dispatch["state"], "pending", "no mail is lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_whose_answer_is_lost_is_sent_again_as_the_same() {
    let server = Server::start("none", false);
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let (_home, relay) = with(&sink(&url, &["lost@example.fr"], false, "")).await;
    let id = deliver(&relay).await;
    assert_eq!(ends_as(&relay, "delivered").await["attempts"], 2);
    let ids: Vec<String> = server
        .mails(2)
        .await
        .iter()
        .map(|mail| MessageParser::default().parse(mail.as_bytes()).unwrap().message_id().unwrap().to_owned())
        .collect();
    assert_eq!(ids, [format!("{id}@example.fr"), format!("{id}@example.fr")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn permanent_answers_are_dead_and_temporary_ones_retried() {
    let server = Server::start("none", false);
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let (_home, relay) = with(&sink(&url, &["refused@example.fr"], false, "")).await;
    deliver(&relay).await;
    let dead = ends_as(&relay, "dead").await;
    let reason = dead["last_error"].as_str().unwrap();
    assert!(reason.contains("refused the recipient refused@example.fr") && reason.contains("550"), "{reason}");

    let (_home, relay) = with(&sink(&url, &["full@example.fr"], false, "")).await;
    deliver(&relay).await;
    assert!(ends_as(&relay, "dead").await["last_error"].as_str().unwrap().contains("mailbox full"));

    // Greylisting: nobody gets it before all can, and then each once.
    let before = server.said("data").len();
    let (_home, relay) = with(&sink(&url, &["compta@example.fr", "later@example.fr"], false, "")).await;
    deliver(&relay).await;
    let delivered = ends_as(&relay, "delivered").await;
    assert_eq!(delivered["attempts"], 2);
    let mails = server.said("data");
    assert_eq!((mails.len() - before, &mails[before]["to"]), (1, &json!(["compta@example.fr", "later@example.fr"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_who_is_refused_among_several_is_told() {
    let server = Server::start("none", false);
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let (_home, mut relay) = with(&sink(&url, &["refused@example.fr", "compta@example.fr"], false, "")).await;
    deliver(&relay).await;
    let delivered = ends_as(&relay, "delivered").await;
    let remark = delivered["last_error"].as_str().unwrap();
    assert!(remark.contains("refused@example.fr") && remark.contains("the other recipient has the mail"), "{remark}");
    assert_eq!(server.said("data")[0]["to"], json!(["compta@example.fr"]));
    relay.wait_for_line("delivered, but not to every recipient").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relays_own_events_are_mailed_and_a_preview_sends_nothing() {
    let server = Server::start("none", false);
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let more = "events = [\"relay.*\"]\n[[sinks]]\nname = \"out\"\ntype = \"stdout\"";
    let (home, relay) = with(&sink(&url, &["ops@example.fr"], false, more)).await;
    std::fs::write(
        home.path("held.json"),
        json!({"event": "relay.held", "data": {"sink": "compta", "count": 2, "reason": "x"}}).to_string(),
    )
    .unwrap();
    let shown = home.command().args(["try", "--sink", "mail", "--event", "held.json"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("Subject: 2 événements attendent une décision (compta)"), "{shown}");
    assert_eq!(server.said("mail").len(), 0);
    relay.post("/sinks/out/pause").await;
    let mails = server.mails(1).await;
    let mail = MessageParser::default().parse(mails[0].as_bytes()).unwrap();
    assert_eq!(mail.subject(), Some("La destination out est en pause"));
}
