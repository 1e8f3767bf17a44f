//! `[outgoing]`: calls use a proxy or trust a private authority only if that is configured; then all calls do.

use std::{
    ffi::OsString,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use bytes::Bytes;
use finkare_relay::{
    config::{self, Config},
    model::{
        clock,
        dispatch::{Outcome, Trigger},
        id::{DispatchId, EventId},
    },
    sinks::Message,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::json;

use crate::support::{
    PATIENCE,
    finkare::{Finkare, payment},
    forward_proxy::{ForwardProxy, Manner},
    receiver::{Answer, Receiver},
    relay::{Backend, Home},
    target::Target,
};

/// A configuration with this section and sinks at this address; Finkare's API is there too, if it speaks TLS.
fn configured(outgoing: &str, target: &str, variables: &[(&str, &str)]) -> Config {
    // Every test may be the first one in its process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    let api = if target.starts_with("https:") { target } else { "https://api.invalid" };
    let text = format!(
        "[outgoing]\n{outgoing}\n[[endpoints]]\nname = \"e\"\npath = \"/e\"\nsecret = \"whsec_a\"\napi_key = \"fk_test_a\"\n\
         api_url = \"{api}\"\n[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{target}/hook\"\n\
         [[sinks]]\nname = \"books\"\ntype = \"fastfaktura\"\nlive = false\nbase_url = \"{target}\"\napi_key = \"ffk_a\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let lookup =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
    config::load(Some(&file), &lookup).unwrap_or_else(|problems| panic!("{problems}"))
}

async fn deliver(config: &Config) -> Outcome {
    let message = Message {
        event_id: EventId::generate(),
        dispatch_id: DispatchId(1),
        endpoint: "e".to_owned(),
        event_type: "payment.received".to_owned(),
        invoice_id: None,
        received_at: clock::now(),
        content_type: None,
        payload: Bytes::from_static(b"{}"),
        attempt: 1,
        trigger: Trigger::Event,
        trace: None,
        resolved: None,
    };
    let sink = config.sinks[0].kind.build(PATIENCE, || unreachable!("it is no invoicing sink")).unwrap();
    sink.deliver(&message).await
}

fn reason(outcome: &Outcome) -> &str {
    let Outcome::Retry { reason, .. } = outcome else { panic!("{outcome:?}") };
    reason
}

fn proxy(proxy: &ForwardProxy) -> String {
    format!("proxy = \"{}\"", proxy.url())
}

/// A target that answers everything with an empty list, and a proxy in front of it.
async fn behind(manner: Manner) -> (Receiver, ForwardProxy) {
    let target = Receiver::start(|_| Answer::with(200, "content-type: application/json\r\n", "{\"data\":[]}")).await;
    let proxy = ForwardProxy::to(address(&target), manner).await;
    (target, proxy)
}

fn address(target: &Receiver) -> SocketAddr {
    target.url("").trim_start_matches("http://").trim_end_matches('/').parse().unwrap()
}

// --- plain HTTP

#[tokio::test]
async fn every_call_goes_through_the_configured_proxy() {
    let (target, forward) = behind(Manner::Serves).await;
    // A name that does not exist: only the proxy can reach it.
    let config = configured(&proxy(&forward), "http://erp.invalid", &[]);
    assert_eq!(deliver(&config).await, Outcome::Delivered);
    // The books were called, whatever the sink makes of the answer.
    let _ = config.sinks[1].kind.check(PATIENCE).await;
    assert!(target.received().len() >= 2);
    // The server behind this proxy speaks no TLS, so only the tunnel is opened.
    let client = ::finkare::Client::new(config.endpoints[0].api().unwrap()).unwrap();
    assert!(!client.webhooks().list().await.unwrap_err().may_have_happened());
    let asked = forward.asked();
    assert_eq!(asked[0], "POST http://erp.invalid/hook HTTP/1.1");
    assert!(asked[1].starts_with("GET http://erp.invalid/"), "{asked:?}");
    assert_eq!(asked.last().unwrap(), "CONNECT api.invalid:443 HTTP/1.1");
}

/// An address of this machine that is not recognised as local: local addresses are always called directly.
fn elsewhere(target: SocketAddr) -> String {
    format!("http://0.0.0.0:{}", target.port())
}

#[tokio::test]
async fn variables_of_the_environment_are_ignored_unless_the_configuration_says_so() {
    let (target, forward) = behind(Manner::Serves).await;
    let (url, there) = (forward.url(), elsewhere(address(&target)));
    let variables = [("HTTP_PROXY", url.as_str()), ("HTTPS_PROXY", &url), ("ALL_PROXY", &url)];
    assert_eq!(deliver(&configured("", &there, &variables)).await, Outcome::Delivered);
    assert_eq!((forward.asked().len(), target.received().len()), (0, 1));
    let config = configured("proxy = \"environment\"", &there, &variables);
    assert_eq!(deliver(&config).await, Outcome::Delivered);
    assert_eq!((forward.asked().len(), target.received().len()), (1, 2));
}

#[tokio::test]
async fn hosts_of_no_proxy_and_this_machine_are_called_directly() {
    let (target, forward) = behind(Manner::Serves).await;
    let (port, there) = (address(&target).port(), elsewhere(address(&target)));
    let with = |direct: &str| format!("{}\nno_proxy = [\"erp.internal\", \"{direct}\"]", proxy(&forward));
    for direct in ["0.0.0.0", "0.0.0.0/8", "*"] {
        assert_eq!(deliver(&configured(&with(direct), &there, &[])).await, Outcome::Delivered, "{direct}");
    }
    for host in ["127.0.0.1", "localhost"] {
        let config = configured(&proxy(&forward), &format!("http://{host}:{port}"), &[]);
        assert_eq!(deliver(&config).await, Outcome::Delivered, "{host}");
    }
    let url = forward.url();
    let variables = [("HTTP_PROXY", url.as_str()), ("NO_PROXY", "0.0.0.0, erp.internal")];
    let config = configured("proxy = \"environment\"", &there, &variables);
    assert_eq!(deliver(&config).await, Outcome::Delivered);
    assert_eq!((forward.asked().len(), target.received().len()), (0, 6));

    // Longer than a name may be: a direct call fails in every network.
    let long = format!("{}.invalid", "x".repeat(64));
    let (target, direct) = (format!("http://erp.{long}"), ["invalid", ".invalid", &long, "*"]);
    for direct in direct {
        let outcome = deliver(&configured(&with(direct), &target, &[])).await;
        assert!(reason(&outcome).contains("cannot be resolved"), "{direct}: {outcome:?}");
    }
    assert_eq!(forward.asked().len(), 0);
    for other in ["nvalid", "rp.invalid", "internal"] {
        assert_eq!(deliver(&configured(&with(other), &target, &[])).await, Outcome::Delivered, "{other}");
    }
    assert_eq!(forward.asked().len(), 3);
}

#[tokio::test]
async fn a_proxy_gets_its_login_and_no_one_sees_it() {
    // us@er:p/ss
    let manner = Manner::Asks("proxy-authorization: Basic dXNAZXI6cC9zcw==");
    let (target, forward) = behind(manner).await;
    let with = |login: &str| format!("proxy = \"http://{login}@{}\"", forward.address);
    for scheme in ["http", "https"] {
        let config = configured(&with("us%40er:other"), &format!("{scheme}://erp.invalid"), &[]);
        let outcome = deliver(&config).await;
        let shown = format!("{outcome:?} {config:?}");
        assert!(!shown.contains("other"), "{shown}");
        match scheme {
            "https" => assert!(reason(&outcome).contains("the proxy asks for a user and a password"), "{outcome:?}"),
            _ => assert!(matches!(&outcome, Outcome::Rejected { reason } if reason.contains("407")), "{outcome:?}"),
        }
    }
    assert_eq!(target.received().len(), 0);
    let config = configured(&with("us%40er:p%2Fss"), "http://erp.invalid", &[]);
    assert_eq!(deliver(&config).await, Outcome::Delivered);
    assert!(!target.received()[0].has("proxy-authorization") || forward.asked().len() == 3);
}

// --- TLS

/// The option for an authority that no system knows. This authority has signed the certificate of [`tls_server`], for
/// `erp.invalid` and `localhost`.
fn authority() -> String {
    format!("ca_file = \"{}/tests/it/outgoing_tls/ca.crt\"", env!("CARGO_MANIFEST_DIR"))
}

/// A server over TLS that answers every request with an empty list; it stops with the test's process.
fn tls_server() -> SocketAddr {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("outgoing_tls/server.key")).unwrap();
    let certificate = CertificateDer::from_pem_slice(include_bytes!("outgoing_tls/server.crt")).unwrap();
    let config =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tls = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(tls, stream);
            let mut bytes = Vec::new();
            let mut chunk = [0; 4096];
            // A client that rejects the certificate ends the connection here. The requests of these tests have small
            // bodies or none.
            while !bytes.windows(4).any(|four: &[u8]| four == b"\r\n\r\n") {
                match stream.read(&mut chunk) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => bytes.extend_from_slice(&chunk[..read]),
                }
            }
            if !bytes.is_empty() {
                let body = "{\"data\":[]}";
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
                let _ = write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_only_if_it_is_named() {
    let url = format!("https://localhost:{}", tls_server().port());
    let refused = deliver(&configured("", &url, &[])).await;
    assert!(reason(&refused).contains("certificate is not trusted"), "{refused:?}");
    assert!(reason(&refused).contains("`outgoing.ca_file`"), "{refused:?}");
    let config = configured(&authority(), &url, &[]);
    assert_eq!(deliver(&config).await, Outcome::Delivered);
    let client = ::finkare::Client::new(config.endpoints[0].api().unwrap()).unwrap();
    assert!(client.webhooks().list().await.unwrap().data.is_empty());
    // The authority vouches only for the names in its certificates.
    let config = configured(&authority(), &url.replace("localhost", "127.0.0.1"), &[]);
    assert!(reason(&deliver(&config).await).contains("for another name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_tls_goes_through_a_tunnel() {
    let server = tls_server();
    let forward = ForwardProxy::to(server, Manner::Serves).await;
    let outgoing = format!("{}\n{}", proxy(&forward), authority());
    let config = configured(&outgoing, "https://erp.invalid:4433", &[]);
    assert_eq!(deliver(&config).await, Outcome::Delivered);
    let client = ::finkare::Client::new(config.endpoints[0].api().unwrap()).unwrap();
    assert!(client.webhooks().list().await.unwrap().data.is_empty());
    // The proxy sees the targets of the calls, but not their content.
    assert_eq!(forward.asked(), vec!["CONNECT erp.invalid:4433 HTTP/1.1"; 2]);
}

#[tokio::test]
async fn a_proxy_that_fails_is_named_and_the_request_never_left() {
    let (target, forward) = behind(Manner::Refuses(403)).await;
    let config = configured(&proxy(&forward), "https://erp.invalid", &[]);
    let outcome = deliver(&config).await;
    assert!(reason(&outcome).contains("did not open a connection to it"), "{outcome:?}");
    // A port that was free a moment ago.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config_nobody = configured(&format!("proxy = \"http://{nobody}\""), "https://erp.invalid", &[]);
    let outcome = deliver(&config_nobody).await;
    assert!(reason(&outcome).contains("the proxy cannot be reached"), "{outcome:?}");
    let config_plain = configured(&format!("proxy = \"http://{nobody}\""), "http://erp.invalid", &[]);
    let outcome = deliver(&config_plain).await;
    assert!(reason(&outcome).contains("the proxy of `outgoing.proxy`"), "{outcome:?}");
    // A call that was certainly not sent is distinguished from one with an unknown outcome, also behind a proxy.
    for config in [config, config_nobody] {
        let client = ::finkare::Client::new(config.endpoints[0].api().unwrap()).unwrap();
        let error = client.webhooks().rotate_secret("w").await.unwrap_err();
        assert!(!error.may_have_happened(), "{error:?}");
    }
    assert_eq!(target.received().len(), 0);
}

// --- the whole service

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_sends_calls_on_another_way() {
    let target = Target::start().await;
    let forward = ForwardProxy::to(target.address, Manner::Serves).await;
    let home = Home::new(Backend::Sqlite).await;
    let url = elsewhere(target.address);
    let sink = format!("[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{url}/hooks\"\n");
    home.configure("", &format!("secret = \"{}\"", crate::support::relay::SECRET), &sink);
    let mut command = home.command();
    // These variables are meant for other programs: without the option they are ignored.
    command.arg("serve").env("HTTP_PROXY", forward.url()).env("ALL_PROXY", forward.url());
    let relay = crate::support::relay::Relay::start(command).await;
    let finkare = Finkare::of(&relay);
    assert_eq!(finkare.deliver(&payment("i", 1)).await.status, 200);
    relay.drained().await;
    assert_eq!((target.arrivals().len(), forward.asked().len()), (1, 0));

    let direct = std::fs::read_to_string(home.path("relay.toml")).unwrap();
    for (outgoing, through) in [(proxy(&forward), 1_usize), ("proxy = \"environment\"".to_owned(), 2)] {
        std::fs::write(home.path("relay.toml"), format!("{direct}[outgoing]\n{outgoing}\n")).unwrap();
        let answer = relay.post("/reload").await;
        assert_eq!(answer["changes"]["sinks"]["changed"], json!(["erp"]), "{answer}");
        assert_eq!(finkare.deliver(&payment("i", 1)).await.status, 200);
        relay.drained().await;
        assert_eq!((target.arrivals().len(), forward.asked().len()), (1 + through, through));
    }
    // A configuration that cannot be used changes nothing.
    std::fs::write(home.path("relay.toml"), format!("{direct}[outgoing]\nca_file = \"nowhere.pem\"\n")).unwrap();
    let (status, answer) = relay.try_post("/reload").await;
    assert_eq!(status, 422, "{answer}");
    assert!(answer["problems"].to_string().contains("outgoing.ca_file"), "{answer}");
}
