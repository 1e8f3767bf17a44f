//! The documentation lists everything that an operator can monitor, and nothing else.
//!
//! The options are on a page that is generated from the code (`docs/configuration.md`). A test in `src/config` compares
//! it with the committed copy.

use std::{collections::BTreeMap, path::Path, time::Duration};

use finkare_relay::{
    model::reconciliation::{NewReport, Report, ReportId, ReportState},
    store::SinkStatus,
    telemetry::{DeliveryResult, Metrics, RotationResult},
};

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the tables under the heading that ends with `title`: the text in backticks at the beginning of each row,
/// and the rest.
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
    let day = jiff::civil::date(2026, 10, 1);
    let asked = NewReport {
        id: ReportId::generate(),
        endpoint: "e".into(),
        since: day,
        until: day,
        fill: false,
        actor: "tests".into(),
    };
    let report = Report {
        asked,
        state: ReportState::Done,
        started_at: jiff::Timestamp::UNIX_EPOCH,
        finished_at: Some(jiff::Timestamp::UNIX_EPOCH),
        sums: BTreeMap::new(),
        counts: BTreeMap::new(),
        unreadable: 0,
        problem: None,
        summary: None,
    };
    metrics.set_reconciliation(&report, jiff::Timestamp::UNIX_EPOCH);
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

/// The code blocks on a page that handle a signature, each with its language and its text.
fn samples(page: &str) -> Vec<(String, String)> {
    let mut samples = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let text: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        let text = text.join("\n");
        // Blocks that show a request or a setting have no language that can run.
        if text.contains("hmac") && !matches!(language, "" | "toml" | "json" | "sh") {
            samples.push((language.to_owned(), text));
        }
    }
    samples
}

/// Calls the sample's `genuine` with each case: the headers (`None` is a missing header), the body, and whether it is
/// genuine.
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
