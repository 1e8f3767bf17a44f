//! The dashboard's pages in a real browser: Chromium, driven by chromedriver.
//!
//! A test starts a [`Browser`], opens a page in it as a person would, and has it looked at with [`Browser::check`]:
//! accessibility, a clean console, no shift, no scrolling to the side, a small size. The HTML as it was sent is collected
//! in [`markup::Markup`], which checks all pages of a test at once. [`harness`] proves that each of these checks notices what
//! it is for.
//!
//! # What it needs
//!
//! Chromium and chromedriver (Debian: `chromium`, `chromium-driver`) and at least one font; without them these tests are left
//! out, and say so. axe-core and the Nu HTML checker come from npm, by `scripts/test`, into `target/browser`; without them
//! (or without Java) that one check is left out. Nothing else is asked: the browser resolves no name, and so reaches
//! nothing but this machine.
//!
//! # Pictures
//!
//! [`Browser::screenshot`] writes into `target/browser/screenshots`, and with `RELAY_SCREENSHOTS=1`, as `scripts/screenshots`
//! sets it, into the book's folder `docs/images/dashboard`.

mod check;
mod driver;
mod harness;
mod markup;
mod pages;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use fantoccini::{Client, ClientBuilder, wd::WebDriverCompatibleCommand};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::support::variable;
use driver::{Driver, program};

/// Under `cargo test` the tests share a process; this many browsers run at a time then. `cargo nextest` has its own rule
/// for it, in `.config/nextest.toml`.
static AT_A_TIME: Semaphore = Semaphore::const_new(2);

/// A picture in the book is no larger than this, in bytes.
const LARGEST_PICTURE: usize = 150_000;

/// What a page is looked at with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    /// Of the window's inside, in CSS pixels.
    pub width: u32,
    pub height: u32,
    /// Whether it behaves as a phone does, which lays a page out on 980 pixels unless the page says otherwise.
    pub is_phone: bool,
}

impl View {
    pub(crate) const PHONE: Self = Self { width: 380, height: 800, is_phone: true };
    pub(crate) const DESKTOP: Self = Self { width: 1400, height: 900, is_phone: false };
}

/// The colours that a person has set the system to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// A browser with one window, and with a profile of its own.
pub(crate) struct Browser {
    /// For everything that `WebDriver` can do. Elements are found while scripts are off, too.
    pub client: Client,
    view: View,
    scheme: Scheme,
    runs_scripts: bool,
    driver: Driver,
    _permit: SemaphorePermit<'static>,
}

impl Browser {
    /// Starts a browser with the window of [`View::DESKTOP`] and light colours, that asks for pages in a language, as
    /// `Accept-Language` has it (`fr-FR,fr,en`). None where there is none on this machine; the test ends then.
    pub(crate) async fn start(languages: &str) -> Option<Self> {
        let chromium = program(&["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"], &[]);
        let chromedriver = program(&["chromedriver"], &["/usr/lib/chromium-browser", "/usr/lib/chromium"]);
        let (Some(chromium), Some(chromedriver)) = (chromium, chromedriver) else {
            eprintln!("skipped: Chromium or chromedriver is not installed (Debian: chromium, chromium-driver)");
            return None;
        };
        let permit = AT_A_TIME.acquire().await.expect("it is never closed");
        let driver = Driver::start(&chromedriver);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities(&chromium, languages));
        let client = builder.connect(&driver.url()).await.expect("Chromium starts");
        // The driver ends the session, by ending.
        client.persist().await.expect("it is asked of the client alone");
        let (view, scheme) = (View::DESKTOP, Scheme::Light);
        let mut browser = Self { client, view, scheme, runs_scripts: true, driver, _permit: permit };
        // So that it keeps what was sent.
        browser.devtools("Network.enable", json!({})).await;
        browser.look_through(view).await;
        browser.colours(scheme).await;
        Some(browser)
    }

    /// Opens a page, and waits until it has loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap_or_else(|error| panic!("{url} opens: {error}"));
    }

    /// Sets the size of the window. What was open before should be opened anew.
    pub(crate) async fn look_through(&mut self, view: View) {
        self.view = view;
        let metrics =
            json!({ "width": view.width, "height": view.height, "deviceScaleFactor": 1, "mobile": view.is_phone });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Sets the colours that the system prefers. Animations are always unwanted, so that nothing is caught half-way.
    pub(crate) async fn colours(&mut self, scheme: Scheme) {
        self.scheme = scheme;
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme.name() },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Whether pages run their scripts, from the next one on.
    pub(crate) async fn scripts(&mut self, run: bool) {
        self.runs_scripts = run;
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": !run })).await;
    }

    /// The HTML of the open page, as the server has sent it.
    pub(crate) async fn sent(&self) -> String {
        let tree = self.devtools("Page.getFrameTree", json!({})).await;
        // The request of a page has the id of its loader.
        let wanted = json!({ "requestId": tree["frameTree"]["frame"]["loaderId"] });
        let answer = self.devtools("Network.getResponseBody", wanted).await;
        answer["body"].as_str().expect("a page is text").to_owned()
    }

    /// Takes a picture of what the window shows.
    ///
    /// # Panics
    /// When the picture is for the book, and too large for it.
    pub(crate) async fn screenshot(&self, name: &str) {
        let is_for_the_book = variable("RELAY_SCREENSHOTS").is_some_and(|value| value == "1");
        let folder = if is_for_the_book {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images/dashboard")
        } else {
            assets().join("screenshots")
        };
        let size = self.picture(&folder.join(format!("{name}.png"))).await;
        assert!(
            !is_for_the_book || size <= LARGEST_PICTURE,
            "the picture {name} has {size} bytes, more than {LARGEST_PICTURE}: show less"
        );
    }

    /// Writes what the window shows into a file; answers its size.
    async fn picture(&self, file: &Path) -> usize {
        let answer = self.devtools("Page.captureScreenshot", json!({ "format": "png" })).await;
        let text = answer["data"].as_str().expect("a picture is text");
        let picture = base64::engine::general_purpose::STANDARD.decode(text).expect("it is Base64");
        std::fs::create_dir_all(file.parent().expect("it is in a folder")).expect("the folder can be made");
        std::fs::write(file, &picture).expect("the picture can be written");
        picture.len()
    }

    /// What the console and the network have complained about since the last time.
    async fn complaints(&self) -> Vec<Value> {
        let log = self.command(Extension { path: "se/log", body: json!({ "type": "browser" }) }).await;
        let Value::Array(entries) = log else { panic!("a log is a list: {log}") };
        entries.into_iter().filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING"))).collect()
    }

    /// A command of Chromium's own protocol, for what `WebDriver` does not have.
    pub(crate) async fn devtools(&self, name: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": name, "params": parameters });
        self.command(Extension { path: "goog/cdp/execute", body }).await
    }

    async fn command(&self, command: Extension) -> Value {
        let said = format!("{command:?}");
        self.client.issue_cmd(command).await.unwrap_or_else(|error| panic!("{said}: {error}"))
    }
}

/// How Chromium is started.
fn capabilities(chromium: &Path, languages: &str) -> Map<String, Value> {
    let arguments = [
        "--headless",
        // It only ever sees pages of this project; as root, and in a container, there is no sandbox.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-breakpad",
        "--hide-scrollbars",
        // Of all names, none is found. There is no way out of this machine, and nothing asks for one.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-default-apps",
        "--disable-domain-reliability",
        "--disable-extensions",
        "--disable-sync",
        "--no-first-run",
        "--force-color-profile=srgb",
    ];
    let options = json!({
        "binary": chromium,
        "args": arguments,
        "prefs": { "intl.accept_languages": languages },
    });
    let mut capabilities = Map::new();
    capabilities.insert("goog:chromeOptions".to_owned(), options);
    capabilities.insert("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" }));
    // Nothing here takes longer, unless it hangs.
    capabilities.insert("timeouts".to_owned(), json!({ "script": 30_000, "pageLoad": 30_000 }));
    capabilities
}

/// Where `scripts/test` puts what comes from npm, and the tests put their pictures: `browser` in cargo's target folder.
fn assets() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("browser")
}

/// A `POST` that `WebDriver`'s standard does not have.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}
