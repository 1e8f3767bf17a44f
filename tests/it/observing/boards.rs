//! The dashboard and the alerts use only metrics that a running service shows, and the documentation lists the alerts.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;

use crate::book::anchors;
use crate::support::{
    eventually,
    fake_finkare::{API_KEY, FakeFinkare},
    finkare::{Finkare, payment},
    http,
    relay::{Backend, Home, SECRET},
    target::{Reply, Target},
};

/// The labels that Prometheus itself adds to every series.
const OF_THE_SCRAPE: [&str; 2] = ["instance", "job"];

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Each metric with the values of each of its labels.
type Shown = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The metrics of a service that has had the usual traffic and was restarted: only then does it know at once when each
/// endpoint last received a delivery.
async fn shown() -> Shown {
    let home = Home::new(Backend::Sqlite).await;
    let target = Target::scripted(|_, _| Reply::Status(400, vec![])).await;
    let sinks = format!("[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\nevents = \"*\"\n", target.url());
    let provider = FakeFinkare::start().await;
    let endpoint = format!(
        "secret = \"{SECRET}\"\nsilence_alarm_hours = 1\napi_key = \"{API_KEY}\"\napi_url = \"{}\"",
        provider.api_url()
    );
    home.configure("", &endpoint, &sinks);
    let relay = home.start().await;
    let finkare = Finkare::of(&relay);
    let body = payment("i", 1);
    finkare.deliver(&body).await;
    finkare.deliver(&body).await;
    finkare.post(body, Some("forged")).await;
    relay.drained().await;
    assert_eq!(relay.try_post_json("/reconciliations", &serde_json::json!({})).await.0, 202);
    eventually("it is compared with Finkare", async || {
        relay.get("/reconciliations").await["data"][0]["state"] == "done"
    })
    .await;
    relay.terminate().await;
    let relay = home.start().await;
    let scrape = async || {
        let response = http().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap();
        response.text().await.unwrap()
    };
    eventually("the endpoints were looked at", async || {
        let text = scrape().await;
        text.contains("relay_endpoint_silent{") && text.contains("relay_last_delivery_timestamp_seconds{")
    })
    .await;
    let text = scrape().await;
    let mut shown = Shown::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let labels = shown.entry(name.to_owned()).or_default();
        for (label, _, value) in matchers(&line[name.len()..]).0 {
            labels.entry(label).or_default().insert(value);
        }
    }
    shown
}

/// Name, operator, value.
type Matcher = (String, String, String);

/// The label matchers that a text begins with, and what comes after them.
fn matchers(text: &str) -> (Vec<Matcher>, &str) {
    let Some(mut rest) = text.strip_prefix('{') else { return (Vec::new(), text) };
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ', '\n']);
        if let Some(after) = rest.strip_prefix('}') {
            return (found, after);
        }
        let quote = rest.find('"').unwrap_or_else(|| panic!("no value in {text}"));
        let (name, operator) = rest[..quote].split_at(rest.find(['=', '!']).expect("an operator"));
        let value = &rest[quote + 1..];
        let end = value.find('"').unwrap_or_else(|| panic!("a value without an end in {text}"));
        found.push((name.trim().to_owned(), operator.trim().to_owned(), value[..end].to_owned()));
        rest = &value[end + 1..];
    }
}

/// Checks one expression; answers its metrics and the labels of its result.
fn check(expression: &str, shown: &Shown) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut metrics, mut known) = (BTreeSet::new(), BTreeSet::from(OF_THE_SCRAPE.map(str::to_owned)));
    let mut rest = expression;
    while let Some(at) = rest.find("relay_") {
        let end = rest[at..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(rest.len(), |end| at + end);
        let name = &rest[at..end];
        let labels = shown.get(name).unwrap_or_else(|| panic!("{name} is not shown: {expression}"));
        known.extend(labels.keys().cloned());
        let (asked, after) = matchers(&rest[end..]);
        for (label, operator, value) in asked {
            if OF_THE_SCRAPE.contains(&label.as_str()) {
                continue;
            }
            let values = labels.get(&label).unwrap_or_else(|| panic!("{name} has no label {label}: {expression}"));
            let alternatives: Vec<_> = if operator.contains('~') { value.split('|').collect() } else { vec![&value] };
            for value in alternatives.into_iter().filter(|value| !value.starts_with('$')) {
                assert!(values.contains(value), "{name} has no {label}={value} but {values:?}: {expression}");
            }
        }
        metrics.insert(name.to_owned());
        rest = after;
    }
    let mut rest = expression;
    while let Some((_, after)) = rest.split_once("by (") {
        let (labels, after) = after.split_once(')').expect("a closing bracket");
        for label in labels.split(',').map(str::trim) {
            assert!(known.contains(label), "nothing has the label {label}: {expression}");
        }
        rest = after;
    }
    (metrics, known)
}

/// The labels that a text names between these brackets.
fn named<'t>(text: &'t str, open: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(open).skip(1).map(|rest| rest.split([' ', '}']).next().unwrap_or(rest))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_shows_every_metric_and_nothing_else() {
    let shown = shown().await;
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/finkare-relay.json")).unwrap();
    let mut asked = BTreeSet::new();
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let (metrics, labels) = check(target["expr"].as_str().unwrap(), &shown);
            assert!(!metrics.is_empty(), "{title}");
            for label in named(target["legendFormat"].as_str().unwrap(), "{{") {
                assert!(labels.contains(label), "{title}: {label}");
            }
            asked.extend(metrics);
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(definition) = variable["definition"].as_str() {
            let (metrics, labels) = check(definition, &shown);
            let label = definition.rsplit(", ").next().unwrap().trim_end_matches(')');
            assert!(!metrics.is_empty() && labels.contains(label), "{definition}");
        }
    }
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    // Of a histogram, the buckets are used.
    let metrics = shown.keys().filter(|name| !name.ends_with("_sum") && !name.ends_with("_count")).cloned();
    assert_eq!(asked, metrics.collect(), "on the dashboard, and shown by the service");
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_ask_for_what_is_shown_and_say_what_to_do() {
    let shown = shown().await;
    let rules: Value = serde_norway::from_str(&read("deploy/prometheus/alerts.yml")).unwrap();
    let page = "docs/guide/watch.md";
    let told = read(page);
    let mut names = BTreeSet::new();
    for rule in rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        let (metrics, labels) = check(rule["expr"].as_str().unwrap(), &shown);
        // A service cannot itself say whether it can be scraped.
        assert!(!metrics.is_empty() || name == "RelayDown", "{name}");
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        let annotations = rule["annotations"].as_object().unwrap();
        for key in ["summary", "description"] {
            let text = annotations[key].as_str().unwrap();
            assert!(!text.is_empty(), "{name}");
            for label in named(text, "$labels.") {
                assert!(labels.contains(label), "{name}: {label}");
            }
        }
        let runbook = annotations["runbook"].as_str().unwrap();
        let (file, anchor) = runbook.split_once('#').unwrap_or_else(|| panic!("{name}: {runbook}"));
        assert!(anchors(&read(file)).contains(anchor), "{name}: {file} has no heading for #{anchor}");
    }
    let section = told.split("\n## ").find(|section| section.starts_with("What to alert on")).unwrap();
    let told: BTreeSet<_> = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(told, names, "in {page}, and in alerts.yml");
    // The rules' own tests need Prometheus, but this test can check that each rule has one.
    let tests = read("deploy/prometheus/alerts_test.yml");
    for name in names {
        assert!(tests.contains(name), "{name} has no test in alerts_test.yml");
    }
}
