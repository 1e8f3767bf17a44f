//! What every page has to keep to, whatever it shows.

use std::{fs, path::PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Browser, Scheme, assets};

/// What the first visit of a page may transfer, in bytes: the page, its style, its script, its pictures.
const LARGEST_PAGE: u64 = 100_000;

/// The rules of axe-core that a page has to pass: WCAG 2.0 to 2.2, levels A and AA, and what is good practice beyond.
const RULES: [&str; 7] = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"];

#[derive(Deserialize)]
struct Measured {
    url: String,
    status: u16,
    width: u32,
    content_width: u32,
    reaching: Vec<String>,
    shifts: Vec<Shift>,
    loaded: Vec<Loaded>,
}

#[derive(Deserialize)]
struct Shift {
    value: f64,
    elements: Vec<String>,
}

#[derive(Deserialize)]
struct Loaded {
    url: String,
    bytes: u64,
}

#[derive(Deserialize)]
struct Finding {
    rule: String,
    impact: Option<String>,
    help: String,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    target: String,
    message: String,
}

impl Browser {
    /// Fails unless the open page, which was answered with 200, is as a page has to be; says all that is wrong with it.
    pub(crate) async fn check(&mut self) {
        self.check_answered_with(200).await;
    }

    /// Like [`Browser::check`], for a page that says that something is not there, or not allowed.
    pub(crate) async fn check_answered_with(&mut self, status: u16) {
        let problems = self.problems(status).await;
        if problems.is_empty() {
            return;
        }
        let url = self.client.current_url().await.map_or_else(|error| error.to_string(), String::from);
        // By the page's name and the process, because tests run at the same time.
        let page: String = url.chars().map(|one| if one.is_ascii_alphanumeric() { one } else { '-' }).collect();
        let picture = assets().join("failed").join(format!("{page}-{}.png", std::process::id()));
        self.picture(&picture).await;
        panic!("{url} at {:?}, seen in {}:\n- {}", self.view, picture.display(), problems.join("\n- "));
    }

    /// All that is wrong with the open page; empty if nothing is.
    ///
    /// What moves counts since the page was opened, also when a person has asked for it: a test checks a page before it
    /// presses anything there. The complaints are those since the last time, so that what was only passed through is included.
    pub(super) async fn problems(&mut self, status: u16) -> Vec<String> {
        let complaints = self.complaints().await;
        // Measuring takes a script, which does not run where scripts are off. The page's own, which it has not run while it
        // was loaded, it does not run now.
        if !self.runs_scripts {
            self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": false })).await;
        }
        let measured = self.client.execute_async(include_str!("check.js"), vec![]).await.expect("the page is measured");
        let measured: Measured = serde_json::from_value(measured).expect("check.js answers this");
        let mut problems = self.problems_in(&measured, status);
        problems.extend(complaints.iter().filter_map(|entry| complaint(entry, &measured.url, status)));
        problems.extend(self.inaccessible().await);
        if !self.runs_scripts {
            self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
        }
        problems
    }

    fn problems_in(&self, measured: &Measured, status: u16) -> Vec<String> {
        let mut problems = vec![];
        if measured.status != status {
            problems.push(format!("answered with {}, not with {status}", measured.status));
        }
        let wanted = self.view.width;
        if measured.width > wanted {
            problems.push(format!(
                "laid out {} px wide in a window of {wanted} px: it has no <meta name=\"viewport\">, or its content is wider",
                measured.width
            ));
        }
        if measured.content_width > measured.width {
            let (content, reaching) = (measured.content_width, measured.reaching.join(", "));
            problems
                .push(format!("scrolls to the side: {content} px in a window of {wanted} px, because of {reaching}"));
        }
        for Shift { value, elements } in &measured.shifts {
            problems.push(format!("shifts by {value:.4} while it loads: {}", elements.join(", ")));
        }
        let size: u64 = measured.loaded.iter().map(|one| one.bytes).sum();
        if size > LARGEST_PAGE {
            let parts: Vec<String> = measured.loaded.iter().map(|one| format!("{} {}", one.url, one.bytes)).collect();
            problems.push(format!("transfers {size} bytes, more than {LARGEST_PAGE}: {}", parts.join(", ")));
        }
        let origin = |url: &str| url::Url::parse(url).map(|url| url.origin());
        let mut elsewhere: Vec<&str> = measured.loaded.iter().map(|one| one.url.as_str()).collect();
        elsewhere.retain(|url| origin(url) != origin(&measured.url));
        elsewhere.dedup();
        problems.extend(elsewhere.iter().map(|url| format!("loads something from elsewhere: {url}")));
        problems
    }

    /// What axe-core finds, in the colours that are set, and of the contrast in the others.
    async fn inaccessible(&mut self) -> Vec<String> {
        let Some(axe) = axe() else {
            eprintln!("skipped: axe-core is not installed (scripts/test installs it with npm)");
            return vec![];
        };
        let axe = fs::read_to_string(axe).expect("axe-core can be read");
        self.client.execute(&axe, vec![]).await.expect("axe-core loads");
        let here = self.scheme;
        let other = if here == Scheme::Light { Scheme::Dark } else { Scheme::Light };
        let mut problems = self.found_by_axe(json!(RULES)).await;
        self.colours(other).await;
        problems.extend(self.found_by_axe(Value::Null).await);
        self.colours(here).await;
        problems
    }

    async fn found_by_axe(&self, rules: Value) -> Vec<String> {
        let answer = self.client.execute_async(include_str!("axe.js"), vec![rules]).await.expect("axe-core runs");
        assert!(answer["error"].is_null(), "axe-core gave up: {answer}");
        let findings: Vec<Finding> = serde_json::from_value(answer["findings"].clone()).expect("axe.js answers this");
        let in_colours = format!("with {} colours", self.scheme.name());
        let text = |Finding { rule, impact, help, nodes }: Finding| {
            let nodes: Vec<String> =
                nodes.iter().map(|node| format!("    {}: {}", node.target, node.message)).collect();
            let impact = impact.unwrap_or_default();
            format!("{help} [axe: {rule}, {impact}], {in_colours}:\n{}", nodes.join("\n"))
        };
        findings.into_iter().map(text).collect()
    }
}

/// What an entry of the browser's log complains about; none when it only says that the page was answered as was expected.
fn complaint(entry: &Value, url: &str, status: u16) -> Option<String> {
    let (message, source) =
        (entry["message"].as_str().unwrap_or_default(), entry["source"].as_str().unwrap_or_default());
    let answered = format!("{url} - Failed to load resource: the server responded with a status of {status} ");
    let is_expected = status >= 400 && source == "network" && message.starts_with(&answered);
    (!is_expected).then(|| format!("the console complains ({source}): {message}"))
}

/// axe-core, if it was installed.
pub(super) fn axe() -> Option<PathBuf> {
    Some(assets().join("node_modules/axe-core/axe.min.js")).filter(|file| file.is_file())
}
