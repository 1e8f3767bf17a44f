//! Whether the pages are valid HTML, by the Nu HTML checker, which is the W3C's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{Browser, assets, driver::program};

/// The pages of a test. They are checked together, because Java takes longer to start than to check a page.
#[derive(Default)]
pub(crate) struct Markup {
    /// A name for messages, and the HTML.
    pages: Vec<(String, String)>,
}

impl Markup {
    /// Keeps the page that is open in a browser, as it was sent.
    pub(crate) async fn keep(&mut self, browser: &Browser) {
        let url = browser.client.current_url().await.expect("a page is open");
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        self.add(&format!("{}{query}", url.path()), &browser.sent().await);
    }

    /// Keeps a page under a name.
    pub(crate) fn add(&mut self, name: &str, html: &str) {
        self.pages.push((name.to_owned(), html.to_owned()));
    }

    /// Fails unless all pages are valid.
    pub(crate) fn check(self) {
        let problems = self.problems();
        assert!(problems.is_empty(), "not valid HTML:\n- {}", problems.join("\n- "));
    }

    /// Everything that is an error; empty if nothing is, or if the checker is not here.
    pub(super) fn problems(self) -> Vec<String> {
        let (Some(java), Some(checker)) = (program(&["java"], &[]), checker()) else {
            eprintln!(
                "skipped: Java or the Nu HTML checker is not installed (scripts/test installs the latter with npm)"
            );
            return vec![];
        };
        if self.pages.is_empty() {
            return vec![];
        }
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let file = |number: usize| folder.path().join(format!("{number}.html"));
        for (number, (_, html)) in self.pages.iter().enumerate() {
            fs::write(file(number), html).expect("the page can be written");
        }
        let output = Command::new(java)
            .args(["-Xmx512m", "-Xss1m", "-jar"])
            .arg(checker)
            .args(["--format", "json", "--stdout", "--exit-zero-always"])
            .args((0..self.pages.len()).map(file))
            .output()
            .expect("Java starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the Nu HTML checker gave up: {complaint}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("it was asked for JSON");
        let messages = report["messages"].as_array().expect("a report has a list");
        // The rest are warnings, which are a matter of taste, and notes.
        let errors = messages.iter().filter(|message| message["type"] != "info");
        errors.map(|message| self.text(message)).collect()
    }

    fn text(&self, message: &Value) -> String {
        let field = |name: &str| message[name].as_str().unwrap_or_default();
        let number = Path::new(field("url")).file_stem().and_then(|name| name.to_str()?.parse::<usize>().ok());
        let name = number.and_then(|number| self.pages.get(number)).map_or(field("url"), |(name, _)| name);
        format!("{name}, line {}: {}\n    {}", message["lastLine"], field("message"), field("extract").trim())
    }
}

/// The checker, if it was installed.
pub(super) fn checker() -> Option<PathBuf> {
    Some(assets().join("node_modules/vnu-jar/build/dist/vnu.jar")).filter(|file| file.is_file())
}
