//! Protection of the admin listener and of the process's memory against others.

use std::{os::unix::fs::MetadataExt, path::Path};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    http,
    relay::{Backend, Home, Relay, SECRET, TOKEN},
};

const NO_SINK: &str = "[[sinks]]\nname = \"none\"\ntype = \"stdout\"\nevents = [\"never.sent\"]\n";
const ROUTES: [&str; 6] = ["/metrics", "/openapi.json", "/healthz", "/readyz", "/api/v1/events", "/nowhere"];

/// Sends exactly these header lines; answers the status and the problem's code.
async fn ask(relay: &Relay, path: &str, lines: &[String]) -> (u16, Value) {
    let mut stream = TcpStream::connect(relay.admin).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{}\r\n", lines.concat());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    (status, problem["code"].clone())
}

fn host(name: &str) -> String {
    format!("host: {name}\r\n")
}

/// A service on Postgres whose admin listener requires no token.
pub(crate) async fn without_a_token(home: &Home, admin: &str) -> Relay {
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[store]\nurl = \"{}\"\n{admin}\n\
         [[endpoints]]\nname = \"production\"\npath = \"/hook\"\nsecret = \"{SECRET}\"\n{NO_SINK}",
        home.store_url()
    );
    std::fs::write(home.path("relay.toml"), text).unwrap();
    home.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_only_this_machine_is_let_in() {
    let home = Home::new(Backend::Postgres).await;
    let relay = without_a_token(&home, "[admin]\nhosts = [\"relay.internal\"]").await;
    let own = relay.admin.to_string();
    for path in ROUTES {
        let expected = if path == "/nowhere" { 404 } else { 200 };
        for name in [own.as_str(), "localhost", "[::1]:8081", "relay.internal:8081"] {
            assert_eq!(ask(&relay, path, &[host(name)]).await.0, expected, "{path} of {name}");
        }
        for name in ["evil.example", "10.0.0.1", "relay", "localhost.evil.example", ""] {
            assert_eq!(ask(&relay, path, &[host(name)]).await, (403, json!("unknown_host")), "{path} of {name}");
        }
        assert_eq!(ask(&relay, path, &[]).await, (403, json!("unknown_host")), "{path} of nothing");
        for header in [
            "Forwarded: for=203.0.113.7",
            "X-Forwarded-For: 203.0.113.7",
            "X-Forwarded-Host: relay.example",
            "X-Forwarded-Proto: https",
            "X-Real-IP: 127.0.0.1",
            "Via: 1.1 proxy",
        ] {
            let asked = ask(&relay, path, &[host(&own), format!("{header}\r\n")]).await;
            assert_eq!(asked, (403, json!("forwarded")), "{path} with {header}");
        }
        for site in ["cross-site", "same-site"] {
            let asked = ask(&relay, path, &[host(&own), format!("sec-fetch-site: {site}\r\n")]).await;
            assert_eq!(asked, (403, json!("cross_site")), "{path} from {site}");
        }
        let origin = ask(&relay, path, &[host(&own), "origin: http://127.0.0.1:3000\r\n".into()]).await;
        assert_eq!(origin, (403, json!("cross_site")), "{path}");
    }
    // The same for requests that change something.
    let pause = http().post(format!("http://{own}/api/v1/sinks/none/pause"));
    let answer = pause.header("x-forwarded-for", "203.0.113.7").send().await.unwrap();
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "forwarded");
    assert!(problem["detail"].as_str().unwrap().contains("RELAY_ADMIN_TOKEN"), "{problem}");
    let sinks = http().get(format!("http://{own}/api/v1/sinks")).send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(sinks["data"][0]["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_every_route_looks_at_its_host() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve(NO_SINK).await;
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    for path in ROUTES {
        let expected = if path == "/nowhere" { 404 } else { 200 };
        // `relay` is the usual name of a container, under which Prometheus scrapes it without a token.
        for name in [relay.admin.to_string().as_str(), "localhost:8081", "10.0.0.1:8081", "relay:8081"] {
            assert_eq!(ask(&relay, path, &[host(name), token.clone()]).await.0, expected, "{path} of {name}");
        }
        for name in ["evil.example", "relay.evil.example:8081"] {
            let asked = ask(&relay, path, &[host(name), token.clone()]).await;
            assert_eq!(asked, (403, json!("unknown_host")), "{path} of {name}");
        }
        let asked =
            ask(&relay, path, &[host("localhost"), token.clone(), "sec-fetch-site: cross-site\r\n".into()]).await;
        assert_eq!(asked, (403, json!("cross_site")), "{path}");
        // A proxy in front of the listener belongs to the operator.
        let asked =
            ask(&relay, path, &[host("localhost"), token.clone(), "x-forwarded-for: 10.0.0.7\r\n".into()]).await;
        assert_eq!(asked.0, expected, "{path}");
    }
    assert_eq!(ask(&relay, "/metrics", &[host("relay:9090")]).await.0, 200);
    assert_eq!(ask(&relay, "/api/v1/events", &[host("relay:9090")]).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_no_path_no_name_and_no_version() {
    let home = Home::new(Backend::Postgres).await;
    let endpoint = format!("secret = \"{SECRET}\"\nsilence_alarm_hours = 1");
    home.configure("", &endpoint, NO_SINK);
    let relay = home.start().await;
    let url: url::Url = home.store_url().parse().unwrap();
    let database = url.path().trim_start_matches('/').to_owned();
    let get = async |address: std::net::SocketAddr, path: &str| {
        let answer = http().get(format!("http://{address}{path}")).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(get(relay.public, "/healthz").await, (200, json!({"status": "ok"})));
    assert_eq!(get(relay.admin, "/healthz").await.1["version"], env!("CARGO_PKG_VERSION"));
    // The schema is removed: the error contains versions and names.
    let mut database_itself = PgConnection::connect(home.store_url()).await.unwrap();
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version > 1").execute(&mut database_itself).await.unwrap();
    crate::support::eventually("it is seen", async || get(relay.admin, "/readyz").await.0 == 503).await;
    let (status, report) = get(relay.public, "/readyz").await;
    let store = json!({"name": "store", "ready": false, "detail": "the store accepts no deliveries now"});
    let ready = |name: &str| json!({"name": name, "ready": true});
    assert_eq!((status, &report), (503, &json!({"ready": false, "checks": [store, ready("queue"), ready("service")]})));
    let (_, told) = get(relay.admin, "/readyz").await;
    let detail = told["checks"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("version"), "{detail}");
    assert!(!report.to_string().contains(&database) && !report.to_string().contains("production"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_is_closed_to_others_of_the_same_user() {
    // Root may read everything; only another user can show whether the memory is protected.
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let home = Home::new(Backend::Sqlite).await;
    home.configure("", &format!("secret = \"{SECRET}\""), NO_SINK);
    let mut command = home.command();
    command.arg("serve");
    if is_root {
        use std::os::unix::{fs::chown, process::CommandExt};
        const NOBODY: u32 = 65_534;
        chown(home.directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        chown(home.path("relay.toml"), Some(NOBODY), Some(NOBODY)).unwrap();
        // The binary may be in a directory that only root can read.
        let binary = home.path("finkare-relay");
        std::fs::copy(env!("CARGO_BIN_EXE_finkare-relay"), &binary).unwrap();
        let mut copied = std::process::Command::new(&binary);
        copied
            .current_dir(home.directory.path())
            .env_clear()
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        copied.arg("serve").stdin(std::process::Stdio::null()).uid(NOBODY).gid(NOBODY);
        command = copied;
    }
    let relay = Relay::start(command).await;
    let proc = Path::new("/proc").join(relay.pid().to_string());
    let limits = std::fs::read_to_string(proc.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // The files of a process that is not dumpable belong to root (proc(5), /proc/pid), so its own user cannot read
    // them.
    for file in ["environ", "mem", "maps"] {
        assert_eq!(std::fs::metadata(proc.join(file)).unwrap().uid(), 0, "{file}");
    }
    let (status, _) = relay.terminate().await;
    assert!(status.success(), "it works all the same");
}
