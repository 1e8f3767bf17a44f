//! The documentation says everything that an operator can set or watch, and nothing else.
//!
//! Each table of a section of the configuration stands under a heading with the section's name; its
//! rows are compared with `relay.example.toml`, which another test compares with the code. What only
//! invoicing sinks have stands in a table for all of them and in one for each type.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use finkare_relay::{
    config::VARIABLES,
    sinks::Kind,
    store::SinkStatus,
    telemetry::{DeliveryResult, Metrics, RotationResult},
};
use toml::{Table, Value};

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the tables under the heading that ends with `title`: what stands in backticks at
/// their beginning, and the rest.
fn rows(page: &str, title: &str) -> BTreeMap<String, String> {
    let is_it = |line: &str| line.starts_with('#') && line.trim_start_matches(['#', ' ']) == title;
    let mut section = page.lines().skip_while(|line| !is_it(line));
    assert!(section.next().is_some(), "no heading {title}");
    section
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

/// The page of all options and variables.
const CONFIGURATION: &str = "docs/configuration.md";
/// The table of the keys that all invoicing sinks have.
const INVOICING: &str = "Invoicing sinks";

/// The keys of each section of the example, those that are commented out included, with their values.
/// An invoicing sink is a section of its own, named after its type.
fn example() -> BTreeMap<String, BTreeMap<String, Value>> {
    let text: Vec<_> = read("relay.example.toml")
        .lines()
        .map(|line| {
            let option = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
            option.unwrap_or(line).to_owned()
        })
        .collect();
    let mut sections = BTreeMap::new();
    for (name, value) in text.join("\n").parse::<Table>().unwrap() {
        match value {
            Value::Table(table) => collect(&name, &format!("`[{name}]`"), table, &mut sections),
            Value::Array(tables) => {
                for table in tables {
                    let Value::Table(table) = table else { panic!("{name} is no list of tables") };
                    let kind = table.get("type").and_then(Value::as_str).filter(|kind| Kind::INVOICING.contains(kind));
                    let title = kind.map_or_else(|| format!("`[[{name}]]`"), |kind| format!("`{kind}`"));
                    collect(&name, &title, table, &mut sections);
                }
            }
            other => panic!("{name} = {other} stands in no section"),
        }
    }
    sections
}

fn collect(path: &str, title: &str, table: Table, sections: &mut BTreeMap<String, BTreeMap<String, Value>>) {
    for (key, value) in table {
        match value {
            // Written as a table with a head of its own.
            Value::Table(inner) if ["retry", "breaker"].contains(&key.as_str()) => {
                collect(path, &format!("`[{path}.{key}]`"), inner, sections);
            }
            value => {
                sections.entry(title.to_owned()).or_default().entry(key).or_insert(value);
            }
        }
    }
}

#[test]
fn every_option_is_in_its_sections_table() {
    let page = read(CONFIGURATION);
    let mut example = example();
    // Each invoicing sink shows its own keys, and some that all of them or all sinks have.
    let (of_all, common) = (rows(&page, "`[[sinks]]`"), rows(&page, INVOICING));
    assert!(common.keys().all(|key| !of_all.contains_key(key)), "in both tables: {common:?}");
    let mut shown_common: BTreeMap<String, Value> = BTreeMap::new();
    for kind in Kind::INVOICING {
        let options = example.get_mut(&format!("`{kind}`")).unwrap_or_else(|| panic!("no {kind} in the example"));
        for (key, value) in std::mem::take(options) {
            if common.contains_key(&key) {
                has_default(INVOICING, &key, &value, &common[&key]);
                shown_common.entry(key).or_insert(value);
            } else if matches!(key.as_str(), "name" | "type") {
                assert!(key != "type" || of_all["type"].contains(&format!("`{kind}`")), "{kind}");
            } else {
                options.insert(key, value);
            }
        }
    }
    example.insert(INVOICING.to_owned(), shown_common);
    assert!(example.len() >= 13, "{:?}", example.keys());
    for (title, options) in &example {
        let rows = rows(&page, title);
        let (shown, known): (BTreeSet<_>, BTreeSet<_>) = (rows.keys().collect(), options.keys().collect());
        assert_eq!(shown, known, "under {title} in {CONFIGURATION}, and in relay.example.toml");
        for (key, value) in options {
            has_default(title, key, value, &rows[key]);
        }
    }
}

/// A number in the example is the default, except where it stands for an option without one. So are those in a list or a
/// table of them.
fn has_default(title: &str, key: &str, value: &Value, row: &str) {
    match value {
        Value::Integer(number) => {
            let is_said = row.split(|c: char| !c.is_ascii_digit()).any(|shown| shown == number.to_string());
            assert!(row.contains("| none |") || is_said, "{title} {key}: {number} is not in: {row}");
        }
        Value::Array(values) if title == INVOICING => {
            for value in values {
                has_default(title, key, value, row);
            }
        }
        Value::Table(table) if title == INVOICING => {
            for value in table.values() {
                has_default(title, key, value, row);
            }
        }
        _ => {}
    }
}

#[test]
fn every_variable_is_in_the_table() {
    let rows = rows(&read(CONFIGURATION), "Environment");
    let known: BTreeSet<_> = VARIABLES.iter().map(|variable| variable.name).collect();
    assert_eq!(rows.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
}

#[test]
fn every_metric_is_in_the_table() {
    let metrics = Metrics::new();
    metrics.endpoint("e").observe(DeliveryResult::Accepted, Duration::ZERO);
    metrics.rotations("e").observe(RotationResult::Rotated);
    metrics.refused("e", "wrong_secret");
    metrics.set_silent("e", false);
    metrics.set_last_delivery("e", jiff::Timestamp::UNIX_EPOCH);
    metrics.sink("s").observe("delivered", Duration::ZERO);
    let status = SinkStatus { name: "s".into(), ..Default::default() };
    metrics.set_sink(&status, "active", jiff::Timestamp::UNIX_EPOCH);
    let text = metrics.render();
    // Each name with its labels, as the table writes it, and its type.
    let mut types = BTreeMap::new();
    let mut known = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            types.insert(name, kind);
        } else if let Some((sample, labels)) = line.split_once('{') {
            let ends = ["_bucket", "_count", "_sum", "_total", "_info"];
            let kind = ends.iter().find_map(|end| types.get(sample.strip_suffix(end)?)).or_else(|| types.get(sample));
            let name = ends[..3].iter().find_map(|end| sample.strip_suffix(end)).unwrap_or(sample);
            let labels: Vec<_> = labels
                .split('"')
                .step_by(2)
                .filter_map(|part| part.strip_suffix('=')?.trim_start_matches(',').into())
                .filter(|label| *label != "le")
                .collect();
            known.insert(format!("{name}{{{}}}", labels.join(",")), *kind.expect("every metric has a type"));
        }
    }
    let rows = rows(&read("docs/reference/metrics.md"), "Metrics");
    let shown: BTreeMap<_, _> =
        rows.iter().map(|(name, rest)| (name.clone(), rest.split(" | ").nth(1).unwrap_or_default())).collect();
    assert_eq!(shown, known);
    for result in text.lines().filter_map(|line| line.split_once("result=\"")?.1.split('"').next()) {
        assert!(rows.values().any(|row| row.contains(&format!("`{result}`"))), "{result}");
    }
}

/// The blocks of code on a page that deal with a signature: their language and their text.
fn samples(page: &str) -> Vec<(String, String)> {
    let mut samples = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let text: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        let text = text.join("\n");
        // What shows a request or a setting has no language that runs.
        if text.contains("hmac") && !matches!(language, "" | "toml" | "json" | "sh") {
            samples.push((language.to_owned(), text));
        }
    }
    samples
}

/// Calls the sample's `genuine` with each case: headers (`None` is missing), body, and whether it is genuine.
const PYTHON: &str = r#"
import json, sys
for case in json.load(sys.stdin):
    headers = {name: value for name, value in case["headers"].items() if value is not None}
    if case.get("null"):
        headers = dict(case["headers"])
    answer = genuine(headers, case["body"].encode())
    assert answer is case["genuine"], (case, answer)
print("all as expected")
"#;

#[test]
fn each_sample_takes_what_is_genuine_and_nothing_else() {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use finkare_relay::signature::standard_webhooks::Signer;
    use serde_json::json;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let now = finkare_relay::model::clock::now().as_second();
    let signer = Signer::new(&finkare_relay::model::secret::Secret::new(SECRET)).unwrap();
    let body = "{\"event\":\"payment.received\",\"é\":1}";
    let good = signer.sign("evt", now, body.as_bytes());
    let case = |id: Option<&str>, timestamp: Option<&str>, signature: Option<&str>, genuine: bool| {
        json!({
            "headers": {"webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature},
            "body": body, "genuine": genuine,
        })
    };
    let (id, time) = (Some("evt"), now.to_string());
    let time = Some(time.as_str());
    let two = format!("v1,bm9wZQ== {good}");
    let old = (now - 301).to_string();
    let old_signature = signer.sign("evt", now - 301, body.as_bytes());
    let mut cases = vec![
        case(id, time, Some(&good), true),
        case(id, time, Some(&two), true),
        case(id, Some(&old), Some(&old_signature), false),
        case(Some("other"), time, Some(&good), false),
    ];
    for odd in
        [None, Some(""), Some(" "), Some("x"), Some("é"), Some("\u{ffff}"), Some("v1,"), Some("v1,é"), Some(&good[3..])]
    {
        cases.push(case(id, time, odd, false));
        cases.push(case(odd, time, Some(&good), false));
        cases.push(case(id, odd, Some(&good), false));
    }
    let long = "9".repeat(5000);
    for odd in ["-1", "+1", "1.5", "1e9", "nan", "٣", "²", "0x10", long.as_str()] {
        cases.push(case(id, Some(odd), Some(&good), false));
    }
    cases.push(json!({"headers": {}, "body": body, "genuine": false}));
    let mut null = case(None, None, None, false);
    null["null"] = json!(true);
    cases.push(null);
    cases.push(json!({
        "headers": {"webhook-id": id, "webhook-timestamp": time, "webhook-signature": good},
        "body": "{}", "genuine": false,
    }));

    let samples = samples(&read("README.md"));
    assert!(!samples.is_empty(), "the README has a sample of how a signature is verified");
    assert_eq!(self::samples(&read("docs/guide/sinks/http.md")), samples, "the page and the README show the same");
    for (language, text) in samples {
        let (program, run) = match language.as_str() {
            "python" => ("python3", PYTHON),
            other => panic!("a sample in {other} is not run by this test: write how"),
        };
        let mut child = Command::new(program)
            .args(["-c", &format!("{text}\n{run}")])
            .env("ERP_SECRET", SECRET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program} is needed to run the documentation's samples, and cannot be started: {error}")
            });
        child.stdin.take().unwrap().write_all(json!(cases).to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && output.stdout == b"all as expected\n", "{language}: {told}");
    }
}
