//! The OpenAPI document: the committed copy is the generated one, it is complete, and it matches the service's routes.
//!
//! `scripts/schemathesis` checks whether the answers have the documented shapes.

use std::collections::BTreeSet;

use finkare_relay::web::admin::openapi;
use serde_json::{Value, json};

use crate::support::{
    http,
    relay::{Backend, Home, TOKEN},
};

fn document() -> Value {
    serde_json::from_str(openapi::text()).expect("the document is JSON")
}

/// Path, method and description of every operation.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let all: Vec<_> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("a path has methods").iter();
            methods.map(|(method, operation)| (path.clone(), method.clone(), operation.clone()))
        })
        .collect();
    assert!(all.len() >= 28, "{} operations", all.len());
    all
}

/// Every value of this key, at any depth.
fn collect<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if name == key {
                    found.push(member);
                }
                collect(member, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        _ => {}
    }
}

#[test]
fn the_committed_copy_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == openapi::text(),
        "docs/openapi.json is not what the code says. Update it with: cargo run -- openapi > docs/openapi.json"
    );
}

#[test]
fn it_is_whole() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));

    let mut references = Vec::new();
    collect(&document, "$ref", &mut references);
    assert!(references.len() > 100, "{}", references.len());
    for reference in references {
        let pointer = reference.as_str().and_then(|text| text.strip_prefix('#')).expect("a reference within");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }

    let tags: BTreeSet<_> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].clone().to_string()).collect();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].to_string()), "{at}: its id is taken");
        assert!(tags.contains(&operation["tags"][0].to_string()), "{at}: an unknown tag");
        let summary = operation["summary"].as_str().unwrap_or_default();
        assert!(!summary.is_empty() && !summary.contains('\n'), "{at}: one line says what it does, not {summary:?}");
        let in_path = path.matches('{').count();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        assert_eq!(parameters.iter().filter(|parameter| parameter["in"] == "path").count(), in_path, "{at}");
        for parameter in &parameters {
            assert!(parameter["description"].as_str().is_some_and(|text| !text.is_empty()), "{at}: {parameter}");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let content: Vec<_> = response["content"].as_object().expect("an answer has a body").keys().collect();
            match status.as_str() {
                "200" | "201" | "202" => assert!(!content.contains(&&"application/problem+json".to_owned()), "{at}"),
                // The report says which check is not ready.
                "503" if path == "/readyz" => assert_eq!(content, ["application/json"]),
                _ => assert_eq!(content, ["application/problem+json"], "{at} {status}"),
            }
        }
        let is_guarded = path.starts_with("/api/v1/");
        assert_eq!(operation["security"] == json!([{"bearer": []}]), is_guarded, "{at}");
        assert_eq!(operation["responses"].get("401").is_some(), is_guarded, "{at}");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name} is not described");
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut described = Vec::new();
            collect(property, "description", &mut described);
            assert!(!described.is_empty(), "{name}.{field} is not described");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_there_and_asks_for_a_token_where_it_says_so() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("[[sinks]]\nname = \"file\"\ntype = \"file\"\npath = \"out.jsonl\"\n").await;
    let client = http();
    let served = client.get(format!("http://{}/openapi.json", relay.admin)).send().await.unwrap();
    assert_eq!(served.headers()["content-type"], "application/json");
    assert_eq!(served.text().await.unwrap(), openapi::text());

    let filled = |path: &str| {
        path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/")
    };
    for (path, method, operation) in operations(&document()) {
        let at = format!("{method} {path}");
        let url = format!("http://{}{}", relay.admin, filled(&path));
        let ask = |method: &str| client.request(method.to_uppercase().parse().unwrap(), &url);

        let answer = ask(&method).bearer_auth(TOKEN).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        assert!(operation["responses"].get(status.to_string()).is_some(), "{at}: {status} is not described: {text}");
        assert!(status != 405 && !text.contains(r#""code":"no_such_path""#), "{at}: {text}");

        let stranger = ask(&method).send().await.unwrap().status().as_u16();
        assert_eq!(stranger == 401, operation.get("security").is_some(), "{at}: {stranger} without a token");

        let other = ask("delete").bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(other.status(), 405, "{at}, but DELETE");
        let allowed = other.headers()["allow"].to_str().unwrap().to_owned();
        assert!(allowed.split(", ").any(|allowed| allowed.eq_ignore_ascii_case(&method)), "{at}: {allowed}");
    }
}

#[test]
fn a_command_prints_it_without_a_configuration() {
    let home = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_finkare-relay"));
    let output = command.current_dir(home.path()).env_clear().arg("openapi").output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), openapi::text());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "it writes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_get_problem_documents() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("[[sinks]]\nname = \"file\"\ntype = \"file\"\npath = \"out.jsonl\"\n").await;
    // Percent-encoded bytes that are not UTF-8 must reach the server: a client library would correct them.
    for (method, path) in [("GET", "events/%ff"), ("POST", "sinks/%c3%28/pause"), ("POST", "invoices/%ff/erase")] {
        let url = format!("http://{}/api/v1/{path}", relay.admin);
        let answer = http().request(method.parse().unwrap(), url).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (400, &"application/problem+json".parse().unwrap())
        );
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "bad_parameter", "{path}");
    }
    // serde would also fill a struct from a list.
    for body in [json!([60]), json!([]), json!([null, null, null])] {
        let (status, problem) = relay.try_post_json("/endpoints/production/rotate-secret", &body).await;
        assert_eq!((status, &problem["code"]), (422, &json!("bad_body")), "{body}");
    }
    // An empty body and `null` mean the same: both get as far as the check of the endpoint.
    for body in [json!(null), json!({})] {
        let (status, problem) = relay.try_post_json("/endpoints/production/rotate-secret", &body).await;
        assert_eq!((status, &problem["code"]), (422, &json!("endpoint_not_linked")), "{body}");
    }
}

/// The name of a schema is that of its type alone, and of two types with one name the later replaces the earlier in silence.
#[test]
fn no_two_types_are_one_schema() {
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut seen = std::collections::BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for derived in text.split("ToSchema)]").skip(1) {
                let (before, from) = ["struct ", "enum "]
                    .iter()
                    .filter_map(|word| derived.split_once(word))
                    .min_by_key(|(before, _)| before.len())
                    .expect("a type follows");
                let name = match before.split_once("schema(as = ") {
                    Some((_, other)) => other.split(')').next().unwrap(),
                    None => from.split(|c: char| !c.is_alphanumeric()).next().unwrap(),
                };
                // In a macro the name is that of its caller.
                if name.is_empty() {
                    continue;
                }
                let name = name.to_owned();
                if let Some(other) = seen.insert(name.clone(), path.clone()) {
                    panic!(
                        "`{name}` in {} and in {}: name one with `#[schema(as = …)]`",
                        other.display(),
                        path.display()
                    );
                }
            }
        }
    }
    assert!(seen.len() > 40 && seen.contains_key("PaymentDifference") && seen.contains_key("EventRow"), "{seen:?}");
}
