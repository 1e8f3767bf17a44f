//! A company's relay on an ordinary day: payments in the books, one that waits for a decision, one that was given up, a sink
//! that is paused, a refused delivery; and a second company beside it.

use serde_json::Value;

use crate::support::{
    eventually,
    finkare::{payment, sign},
    http,
    relay::{Backend, Home, Relay, TOKEN},
    simulated::Simulated,
    target::{Reply, Target},
};

/// The tokens of the scene, by role; [`LIMITED`] is an operator of the endpoint `acme` alone.
pub(crate) const ADMIN: &str = TOKEN;
pub(crate) const OPERATOR: &str = "the-token-of-an-operator";
pub(crate) const VIEWER: &str = "the-token-of-a-viewer";
pub(crate) const LIMITED: &str = "the-token-of-acme-alone";
/// An admin of the endpoint `acme` alone.
pub(crate) const LIMITED_ADMIN: &str = "the-token-of-acme-s-admin";

/// The secret of the second company's endpoint.
const BETA: &str = "whsec_YmV0YQ==";

/// A running relay with its surroundings.
pub(crate) struct Scene {
    pub relay: Relay,
    pub home: Home,
    pub finkare: Simulated,
    /// What `erp` and `crm` lead to: `erp` accepts everything, `crm` rejects everything.
    _targets: [Target; 2],
}

impl Scene {
    pub(crate) async fn new(backend: Backend) -> Self {
        let targets = [Target::start().await, Target::start().await];
        targets[1].script(|_, _| Reply::Status(422, vec![]));
        let home = Home::new(backend).await;
        let configure = |api: &str, books: &str| {
            let text = format!(
                r#"[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[store]
url = "{store}"
[admin]
tokens = [
  {{ name = "tests", role = "admin", token = "{ADMIN}" }},
  {{ name = "operator", role = "operator", token = "{OPERATOR}" }},
  {{ name = "viewer", role = "viewer", token = "{VIEWER}" }},
  {{ name = "acme-admin", role = "admin", endpoints = ["acme"], token = "{LIMITED_ADMIN}" }},
  {{ name = "acme-only", role = "operator", endpoints = ["acme"], token = "{LIMITED}" }},
]
[[endpoints]]
name = "acme"
path = "/webhooks/finkare"
api_key = "fk_test_simulator"
api_url = "{api}"
[[endpoints]]
name = "beta"
path = "/webhooks/beta"
secret = "{BETA}"
{books}
[[sinks]]
name = "erp"
type = "http"
url = "{erp}"
endpoints = ["acme"]
[[sinks]]
name = "crm"
type = "http"
url = "{crm}"
endpoints = ["acme"]
events = ["invoice.status_changed"]
[[sinks]]
name = "beta-archive"
type = "file"
path = "beta.jsonl"
endpoints = ["beta"]
"#,
                store = home.store_url(),
                erp = targets[0].url(),
                crm = targets[1].url(),
            );
            std::fs::write(home.path("relay.toml"), text).unwrap();
        };
        // The service comes first, since the simulated Finkare has to know where it listens.
        configure("http://127.0.0.1:1", "");
        let relay = home.start().await;
        let deliver_to = format!("http://{}", relay.public);
        let more = ["--deliver-to", &deliver_to, "--books", "facturation_pro", "--books-listen", "127.0.0.1:0"];
        let finkare = Simulated::start(&more);
        let books =
            finkare.said["books"]["sink"].as_str().unwrap().trim_end().to_owned() + "\nendpoints = [\"acme\"]\n";
        configure(&finkare.url(), &books);
        relay.post("/reload").await;
        let url = serde_json::json!({ "url": "https://relay.example/webhooks/finkare" });
        let (status, said) = relay.try_post_json("/endpoints/acme/register", &url).await;
        assert_eq!(status, 200, "{said}");

        let scene = Self { relay, home, finkare, _targets: targets };
        // Before the pause it has worked.
        scene.pay("1 500,00").await;
        eventually("it is booked", async || !scene.relay.all("/bookings?state=booked").await.is_empty()).await;
        scene.relay.drained().await;
        scene.relay.post("/sinks/erp/pause").await;
        // More than is due is for a person.
        scene.pay("20").await;
        eventually("it is held", async || scene.relay.sink("books").await["held"] == 1).await;
        let (exit, _, complained) = scene.finkare.pay(&["--amount", "99,90", "--invoice", "F-2026-043"]).await;
        assert_eq!(exit, 0, "{complained}");
        eventually("it waits", async || scene.relay.sink("erp").await["pending"] == 2).await;
        // The other company's payment, and a delivery that is not genuine.
        let body = payment("F-BETA", 4200);
        let at_beta = format!("http://{}/webhooks/beta", scene.relay.public);
        let signature = sign(BETA, &body);
        let answer = http().post(&at_beta).header("x-finkare-signature", signature).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        for path in ["/webhooks/finkare", "/webhooks/beta"] {
            let url = format!("http://{}{path}", scene.relay.public);
            let forged =
                http().post(url).header("x-finkare-signature", "0".repeat(64)).body("{}").send().await.unwrap();
            assert_eq!(forged.status(), 401);
        }
        eventually("the refusals are explained", async || {
            let refusals = scene.relay.all("/refusals").await;
            refusals.len() == 2 && refusals.iter().all(|refusal| refusal["examined"] == true)
        })
        .await;
        eventually("the books have it", async || scene.relay.all("/bookings?state=booked").await.len() == 2).await;
        scene
    }

    async fn pay(&self, amount: &str) {
        let (exit, said, complained) = self.finkare.pay(&["--amount", amount, "--invoice", "F-2026-042"]).await;
        assert_eq!(exit, 0, "{said}{complained}");
    }

    /// Where the dashboard stands.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.relay.admin)
    }

    /// Signs in over HTTP.
    pub(crate) async fn sign_in(&self, token: &str, language: &str) -> Person {
        Person::sign_in(&self.relay, token, language).await
    }

    /// The number of the dispatch that waits for a decision.
    pub(crate) async fn held(&self) -> i64 {
        self.relay.all("/dispatches?state=held").await[0]["id"].as_i64().unwrap()
    }

    /// The newest event of an endpoint.
    pub(crate) async fn event_of(&self, endpoint: &str) -> String {
        let events: Value = self.relay.get(&format!("/events?endpoint={endpoint}")).await;
        events["data"][0]["id"].as_str().unwrap().to_owned()
    }
}

/// Somebody with a browser that has no scripts.
pub(crate) struct Person {
    base: String,
    language: String,
    client: reqwest::Client,
    /// What the browser sends back.
    pub cookie: String,
    /// What stands in every form.
    pub form_token: String,
}

impl Person {
    pub(crate) async fn sign_in(relay: &Relay, token: &str, language: &str) -> Self {
        let base = format!("http://{}", relay.admin);
        let mut person = Self {
            base,
            language: language.to_owned(),
            client: http(),
            cookie: String::new(),
            form_token: String::new(),
        };
        let answer = person.post("/ui/login", &[("token", token), ("next", "/ui/")]).await;
        assert_eq!(answer.status(), 303, "{}", answer.text().await.unwrap());
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        cookie.split(';').next().unwrap().clone_into(&mut person.cookie);
        let page = person.page("/ui/").await;
        let token = page.split("name=\"form_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        token.expect("a page has a form for signing out").clone_into(&mut person.form_token);
        person
    }

    /// Comes by a link.
    pub(crate) async fn by_link(relay: &Relay, path: &str, language: &str) -> Self {
        let base = format!("http://{}", relay.admin);
        let (cookie, form_token) = (String::new(), String::new());
        let mut person = Self { base, language: language.to_owned(), client: http(), cookie, form_token };
        let answer = person.get(path).await;
        assert_eq!(answer.status(), 303, "{}", answer.text().await.unwrap());
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        cookie.split(';').next().unwrap().clone_into(&mut person.cookie);
        person
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        request.header("accept-language", &self.language).header("cookie", &self.cookie)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.request(reqwest::Method::GET, path).send().await.unwrap()
    }

    /// `GET` of a form with these fields.
    pub(crate) async fn get_with(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        self.request(reqwest::Method::GET, path).query(fields).send().await.unwrap()
    }

    /// The HTML of a page that is there.
    pub(crate) async fn page(&self, path: &str) -> String {
        let answer = self.get(path.split('#').next().unwrap()).await;
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    /// Sends a form as a browser does from one of the pages.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("form_token", &self.form_token).extend_pairs(fields);
        let request = self.request(reqwest::Method::POST, path);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = request.header("origin", &self.base).header("sec-fetch-site", "same-origin");
        request.body(form.finish()).send().await.unwrap()
    }
}
