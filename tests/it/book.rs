//! The book and the other documents: every link has a target, every page is in the summary, and the examples on the
//! pages match the program.
//!
//! `readme` compares the names of options, variables and metrics, and `observing` those of log lines and alerts.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use finkare_relay::config;
use standardwebhooks::Webhook;

use crate::support::{
    eventually,
    relay::Relay,
    target::{Reply, Target},
};

/// The length that fits on GitHub's first screens, and that a reader is willing to read.
const README_LINES: usize = 250;
const README_BYTES: usize = 12 * 1024;

/// Folders without documents of this project.
const NOT_OURS: [&str; 5] = [".git", "target", "node_modules", "data", "__pycache__"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    let path = root().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder with this ending, as paths from the root.
fn files(folder: &str, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_str().expect("our names are UTF-8");
            if entry.is_dir() && !NOT_OURS.contains(&name) {
                folders.push(entry);
            } else if entry.is_file() && name.ends_with(end) {
                found.push(entry.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The pages of the book.
fn pages() -> Vec<String> {
    files("docs", ".md").into_iter().filter(|page| page != "docs/SUMMARY.md").collect()
}

/// The text without its blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The blocks of code in this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(found) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if found == language {
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

/// The texts in backticks, and the line without them.
fn code_spans(line: &str) -> (Vec<&str>, String) {
    let (mut spans, mut rest) = (Vec::new(), String::new());
    for (number, part) in line.split('`').enumerate() {
        if number % 2 == 1 { spans.push(part) } else { rest.push_str(part) }
    }
    (spans, rest)
}

/// The anchor that GitHub and mdbook make from a heading, for the part after `#` of a link to this document.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let slug = |heading: &str| {
        let letters = heading.trim().chars().filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            _ => letter.is_alphanumeric().then_some(letter),
        });
        letters.collect::<String>().to_lowercase()
    };
    prose(text).filter(|line| line.starts_with('#')).map(|line| slug(line.trim_start_matches('#'))).collect()
}

/// The targets of a document's links, as they are written.
fn links(text: &str) -> Vec<String> {
    let without_code: Vec<String> = prose(text).map(|line| code_spans(line).1).collect();
    let text = without_code.join("\n");
    text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{} leads out of the repository", path.display()),
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn every_link_and_anchor_leads_somewhere() {
    let mut documents = files("", ".md");
    // The frame of docs/configuration.md: its links are relative to the generated page.
    documents.retain(|document| document != "src/config/page.md");
    assert!(documents.len() > 60, "{documents:?}");
    let mut count = 0;
    let mut wrong = Vec::new();
    for document in &documents {
        for link in links(&read(document)) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(file, at)| (file, Some(at)));
            let here = Path::new(document);
            let target = if file.is_empty() { here.to_owned() } else { plain(&here.with_file_name(file)) };
            if !root().join(&target).exists() {
                wrong.push(format!("{document}: {link}: there is no such file"));
            } else if document.starts_with("docs/") && !target.starts_with("docs") {
                wrong.push(format!("{document}: {link}: the web pages of the book hold docs/ alone"));
            } else if document.starts_with("docs/") && document != "docs/SUMMARY.md" && target.ends_with("README.md") {
                wrong
                    .push(format!("{document}: {link}: a README is its folder's page in the book: link to the folder"));
            } else if let Some(anchor) = anchor
                && !anchors(&read(target.to_str().unwrap())).contains(anchor)
            {
                wrong.push(format!("{document}: {link}: there is no such heading"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 200, "{count} links");
}

#[test]
fn every_page_is_in_the_summary_once_and_has_a_title() {
    let mut listed: Vec<_> = links(&read("docs/SUMMARY.md")).iter().map(|link| format!("docs/{link}")).collect();
    listed.sort();
    assert_eq!(listed, pages(), "in docs/SUMMARY.md, and in docs/");
    for page in listed {
        let text = read(&page);
        let titles = prose(&text).filter(|line| line.starts_with("# ")).count();
        assert!(text.starts_with("# ") && titles == 1, "{page} begins with its title, the only heading of its rank");
    }
}

#[test]
fn the_accountants_pages_need_no_terminal() {
    let pages: Vec<_> = pages().into_iter().filter(|page| page.starts_with("docs/comptable/")).collect();
    assert_eq!(pages.len(), 4, "{pages:?}");
    for page in pages {
        let text = read(&page);
        assert!(!text.contains("```") && !text.contains("finkare-relay"), "{page} shows a command");
    }
}

#[test]
fn the_readme_is_short() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= README_LINES, "README.md has {} lines", readme.lines().count());
    assert!(readme.len() <= README_BYTES, "README.md has {} bytes", readme.len());
}

/// Names of tests, functions, options and source files that a page cites in backticks.
#[test]
fn what_a_page_cites_is_in_the_code() {
    let folders: Vec<_> =
        ["src", "tests", "crates", "bench"].into_iter().filter(|folder| root().join(folder).is_dir()).collect();
    let sources: Vec<_> = folders.iter().flat_map(|folder| files(folder, ".rs")).collect();
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let texts: Vec<_> = sources.iter().filter(|file| *file != "tests/it/book.rs").map(|file| read(file)).collect();
    let known: BTreeSet<&str> = texts.iter().flat_map(|text| text.split(|letter| !is_of_name(letter))).collect();
    let mut wrong = Vec::new();
    let beside = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(str::to_owned);
    for page in pages().into_iter().chain(beside) {
        // A decision describes the state on its day.
        let is_decision = page.starts_with("docs/decisions/");
        let text = read(&page);
        for line in prose(&text) {
            for span in code_spans(line).0 {
                let is_name = span.split('_').count() > 2
                    && span.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
                if is_name && !known.contains(span) {
                    wrong.push(format!("{page}: `{span}` is nowhere in the code"));
                }
                let is_file = span.split_once('.').is_some_and(|(_, end)| end == "rs") && !is_decision;
                let ends = format!("/{span}");
                if is_file && !sources.iter().any(|file| file == span || file.ends_with(&ends)) {
                    wrong.push(format!("{page}: there is no file `{span}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The codes at the beginning of the rows below a heading.
fn codes(page: &str, title: &str) -> BTreeSet<String> {
    let section = page.split("\n## ").find(|section| section.starts_with(title));
    let section = section.unwrap_or_else(|| panic!("no heading {title}"));
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    cells.flat_map(|cell| code_spans(cell).0).map(str::to_owned).collect()
}

#[test]
fn every_error_code_has_its_row() {
    let page = read("docs/reference/error-codes.md");
    // The document of the API names each code in backticks, beside the members that some problems have.
    let members = ["checks", "endpoints", "finkare", "problems", "retry_in_secs", "target_id"];
    let document: serde_json::Value = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let mut of_api = BTreeSet::from(["no_such_path", "method_not_allowed"].map(str::to_owned));
    for call in document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values()) {
        for (status, answer) in call["responses"].as_object().unwrap() {
            if status.starts_with(['4', '5']) {
                of_api.extend(code_spans(answer["description"].as_str().unwrap()).0.into_iter().map(str::to_owned));
            }
        }
    }
    of_api.retain(|code| !members.contains(&code.as_str()));
    assert_eq!(codes(&page, "The admin API"), of_api, "under \"The admin API\", and in docs/openapi.json");

    // A problem of the receiver has a status and a code, or only the code if the status is 503.
    let receiver = read("src/web/receive.rs");
    let mut of_receiver: BTreeSet<String> =
        ["no_such_path", "method_not_allowed", "internal", "task_failed"].map(str::to_owned).into();
    for begin in ["Problem::unavailable(", "Problem::new("] {
        for made in receiver.split(begin).skip(1) {
            let code = made.split('"').nth(1).unwrap();
            of_receiver.insert(code.to_owned());
        }
    }
    assert_eq!(codes(&page, "The public listener"), of_receiver, "under \"The public listener\", and in the code");
    let failures = read("src/cli/failure.rs");
    for code in codes(&page, "Commands").iter().filter(|code| *code != "code") {
        assert!(failures.contains(&format!("\"{code}\"")), "{code} is no code of a command");
    }
}

#[test]
fn every_call_of_the_api_has_its_row() {
    let page = read("docs/reference/api.md");
    let spans: Vec<_> = page.lines().filter(|line| line.starts_with("| ")).flat_map(|row| code_spans(row).0).collect();
    let calls = spans.into_iter().filter(|span| span.starts_with("GET ") || span.starts_with("POST "));
    let shown: BTreeSet<_> = calls.map(|call| call.split('?').next().unwrap().to_owned()).collect();
    let document: serde_json::Value = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let mut known = BTreeSet::new();
    for (path, calls) in document["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/api/v1").unwrap_or(path);
        known.extend(calls.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    assert_eq!(shown, known, "in docs/reference/api.md, and in docs/openapi.json");
}

/// The values of the samples' variables, by the endings of their names.
fn variable(name: &str) -> Option<OsString> {
    let value = match name {
        _ if name.ends_with("FINKARE_API_KEY") || name.ends_with("FINKARE_KEY") => "fk_live_0123456789abcdef",
        "SMTP_URL" => "smtps://relay:password@mail.example.fr",
        "SLACK_URL" => "https://hooks.slack.com/services/T0/B0/0123456789abcdef",
        "OPS_TOKEN" => "the-token-of-the-operators",
        "LEROY_TOKEN" => "the-token-of-the-bakery-leroy",
        "ERP_SECRET" => SECRET,
        _ if name.starts_with("RELAY_") || name.ends_with("_FILE") => return None,
        _ if ["_API_KEY", "_API_ID", "_KEY", "_UUID", "_AUTHORIZATION"].iter().any(|end| name.ends_with(end)) => {
            "0123456789abcdef"
        }
        _ => return None,
    };
    Some(value.into())
}

/// The output of `whsec_$(openssl rand -base64 32)`.
const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn every_configuration_that_is_shown_can_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("relay.toml");
    let token = directory.path().join("tiime-token");
    fs::write(&token, "token").unwrap();
    let authority =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, include_bytes!("sinks/untrusted/ca.der"));
    let authority = format!("-----BEGIN CERTIFICATE-----\n{authority}\n-----END CERTIFICATE-----\n");
    fs::write(directory.path().join("company-ca.pem"), authority).unwrap();
    let mut count = 0;
    for page in pages().into_iter().chain(["README.md".to_owned()]) {
        for block in blocks(&read(&page), "toml") {
            // A sample of single options belongs to an HTTP sink.
            let text = if block.contains("[[") {
                block.clone()
            } else {
                format!(
                    "[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"https://erp.example\"\nenrich = true\n{block}"
                )
            };
            let text = text.replace("/etc/finkare-relay/tiime-token", token.to_str().unwrap());
            fs::write(&file, text).unwrap();
            let config = config::load(Some(&file), &variable);
            let config = config.unwrap_or_else(|problems| panic!("{page}: {problems}\n{block}"));
            assert!(!config.sinks.is_empty() || !config.endpoints.is_empty(), "{page}: {block}");
            count += 1;
        }
    }
    assert!(count >= 12, "{count} samples");
}

/// The samples in Rust are the library's own, which are compiled as its documentation.
#[test]
fn samples_in_rust_are_those_of_the_library() {
    let compiled = blocks(&read("crates/finkare/README.md"), "rust,no_run");
    let mut count = 0;
    for page in pages() {
        for block in blocks(&read(&page), "rust") {
            assert!(compiled.contains(&block), "{page}: nothing compiles this sample:\n{block}");
            count += 1;
        }
    }
    assert!(count >= 1, "{count} samples");
}

/// The README's `relay.toml`.
fn minimal() -> String {
    let samples = blocks(&read("README.md"), "toml");
    assert_eq!(samples.len(), 1, "the README shows one configuration");
    samples.into_iter().next().unwrap()
}

/// The program in this folder, without the caller's environment.
fn program(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finkare-relay"));
    command.current_dir(directory).env_clear().env("TMPDIR", directory).stdin(Stdio::null());
    command
}

async fn run(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_minimal_configuration_of_the_readme_starts_the_service() {
    let text = minimal();
    assert!(text.lines().count() <= 6, "{text}");
    let first = blocks(&read("docs/start/ten-minutes.md"), "toml").into_iter().next().unwrap();
    assert_eq!(first, text, "in the README, and on the page of the first ten minutes");

    let target = Target::start().await;
    let directory = tempfile::tempdir().unwrap();
    let url = text.split('"').find(|part| part.starts_with("http://")).expect("the sink has a URL");
    fs::write(directory.path().join("relay.toml"), text.replace(url, &target.url())).unwrap();
    let mut serve = program(directory.path());
    serve.arg("serve").env("RELAY_LISTEN", "127.0.0.1:0").env("RELAY_ADMIN_LISTEN", "127.0.0.1:0");
    serve.env("ERP_SECRET", SECRET);
    let relay = Relay::start(serve).await;
    let mut send = program(directory.path());
    send.args(["send", "payment.received"]).env("RELAY_LISTEN", relay.public.to_string()).env("ERP_SECRET", SECRET);
    let said = run(send).await;
    assert!(said.starts_with("payment.received: 200 "), "{said}");
    eventually("the event arrives", async || target.arrivals().len() == 1).await;
    let arrival = target.arrivals().remove(0);
    let genuine = Webhook::new(SECRET).unwrap().verify(&arrival.body, &arrival.headers);
    genuine.unwrap_or_else(|error| panic!("{error:?}: {arrival:?}"));
}

/// A line with a placeholder for everything that differs from run to run: ids, times, addresses, measured values.
fn steady(line: &str) -> String {
    let varies =
        |word: &str| word.contains("://") || word.contains('[') || word.bytes().any(|byte| byte.is_ascii_digit());
    let words: Vec<_> = line.split_whitespace().map(|word| if varies(word) { "#" } else { word }).collect();
    words.join(" ")
}

/// The commands in the transcripts of a page, with their answers; shortened lines are left out.
fn transcript(page: &str) -> Vec<(String, Vec<String>)> {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for block in blocks(&read(page), "text") {
        for line in block.lines().filter(|line| !line.is_empty()) {
            if let Some(command) = line.strip_prefix("$ ") {
                commands.push((command.to_owned(), Vec::new()));
            } else if let Some((_, answer)) = commands.last_mut() {
                answer.push(steady(line));
            }
        }
    }
    commands
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_ten_minutes_go_as_the_page_tells() {
    let commands = transcript("docs/start/ten-minutes.md");
    let target = Target::scripted(|_, _| Reply::Status(404, vec![])).await;
    let directory = tempfile::tempdir().unwrap();
    let ((serve, started), rest) = commands.split_first().unwrap();
    assert_eq!(serve, "finkare-relay serve");
    let mut command = program(directory.path());
    command.arg("serve").env("RELAY_LISTEN", "127.0.0.1:0").env("RELAY_ADMIN_LISTEN", "127.0.0.1:0");
    command.env("RELAY_LOG_FORMAT", "pretty");
    let mut relay = Relay::spawn(command);
    relay.wait_for_line("look at it:").await;
    let said = relay.log().replace(env!("CARGO_BIN_EXE_finkare-relay"), "finkare-relay");
    // Each line begins with its time, which the page leaves out. In this test the admin listener is also not at its
    // usual address.
    let lines: Vec<_> = said.lines().map(|line| steady(line.split_once(' ').unwrap().1)).collect();
    let lines: Vec<_> = lines.iter().map(|line| line.replace(" --admin-url #", "")).collect();
    assert_eq!(&lines, started);
    let address = |name: &str| {
        let rest = said.split_once(&format!(" {name}=127.0.0.1:")).expect("it says where it listens").1;
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        format!("127.0.0.1:{port}")
    };
    let (public, admin) = (address("public"), address("admin"));
    for (line, answer) in rest {
        let arguments: Vec<_> = line.split_whitespace().skip(1).collect();
        if arguments == ["check"] {
            let text = minimal();
            let url = text.split('"').find(|part| part.starts_with("http://")).unwrap();
            fs::write(directory.path().join("relay.toml"), text.replace(url, &target.url())).unwrap();
        }
        let seen = Mutex::new(String::new());
        // The sinks' list shows the last delivery with a delay.
        let is_as_told = async || {
            let mut command = program(directory.path());
            command.args(&arguments).env("RELAY_LISTEN", &public).env("RELAY_ADMIN_LISTEN", &admin);
            command.env("ERP_SECRET", SECRET);
            let said = run(command).await;
            let lines: Vec<_> = said.lines().map(steady).collect();
            *seen.lock().unwrap() = said;
            lines == *answer
        };
        if arguments.contains(&"list") {
            eventually(line, is_as_told).await;
        } else {
            assert!(is_as_told().await, "{line} answered\n{}\nand the page says {answer:#?}", seen.lock().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_says_what_the_page_shows() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = program(directory.path());
    demo.arg("demo");
    let said = run(demo).await;
    let said: Vec<_> = said.lines().map(steady).collect();
    let mut rest = said.iter();
    let shown = blocks(&read("docs/start/demo.md"), "text").remove(0);
    for line in shown.lines().filter(|line| !line.is_empty()).map(steady) {
        assert!(rest.any(|said| *said == line), "not said, or not in this order: {line}\n{}", said.join("\n"));
    }
}

#[test]
fn the_local_finkare_says_what_the_page_shows() {
    let commands = transcript("docs/start/simulator.md");
    let (line, shown) = &commands[0];
    let arguments: Vec<_> = line.split_whitespace().skip(1).collect();
    let directory = tempfile::tempdir().unwrap();
    let mut command = program(directory.path());
    command.args(&arguments).args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let said: Vec<_> = lines.filter(|line| !line.is_empty()).map(|line| steady(&line)).take(shown.len()).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(&said, shown);
}

/// Another test plays an operator's afternoon and keeps every answer.
#[test]
fn registering_and_rotating_answer_as_the_pages_show() {
    let kept = files("tests/it/snapshots", "__from_nothing_to_a_rotation.snap");
    assert_eq!(kept.len(), 1, "{kept:?}");
    let kept = read(&kept[0]);
    let kept: BTreeSet<_> = kept.lines().map(steady).collect();
    let mut shown = BTreeMap::new();
    for page in ["docs/guide/register.md", "docs/guide/rotate.md"] {
        for (command, answer) in
            transcript(page).into_iter().filter(|(command, _)| command.starts_with("finkare-relay"))
        {
            for line in answer {
                assert!(kept.contains(&line), "{page}: {command}: {line}");
                shown.insert(line, page);
            }
        }
    }
    assert!(shown.len() >= 3, "{shown:?}");
}

/// The arguments of this project's commands in a line of a shell.
fn commands_of(line: &str) -> Vec<Vec<String>> {
    let line = line.split(" #").next().unwrap();
    let shown = line.split("finkare-relay ").skip(1).filter(|rest| !rest.contains(['…', '[', '$', '<']));
    shown
        .map(|rest| {
            let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
            for letter in rest.chars() {
                match (quote, letter) {
                    (None, '|' | ';' | '&' | '>') => break,
                    (None, '\'' | '"') => quote = Some(letter),
                    (Some(open), letter) if open == letter => quote = None,
                    (None, ' ') => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
                    (_, letter) => word.push(letter),
                }
            }
            words.extend(Some(word).filter(|word| !word.is_empty()));
            words
        })
        .collect()
}

/// A value for a placeholder, if its kind is checked.
fn filled(arguments: &[String]) -> Vec<String> {
    let is_dispatch = arguments.first().is_some_and(|first| first == "dispatches");
    let fill = |word: &String| match word.as_str() {
        "ID" if is_dispatch => "1".to_owned(),
        "ID" | "EVENT_ID" => uuid::Uuid::nil().to_string(),
        "TIME" => "2026-11-01T00:00:00Z".to_owned(),
        "N" => "1".to_owned(),
        _ => word.clone(),
    };
    arguments.iter().map(fill).collect()
}

#[test]
fn every_command_that_is_shown_is_understood() {
    let directory = tempfile::tempdir().unwrap();
    let mut shown = BTreeSet::new();
    for document in files("", ".md").into_iter().filter(|document| !document.starts_with("docs/decisions/")) {
        let text = read(&document);
        for line in prose(&text) {
            let spans = code_spans(line).0;
            let spans = spans.into_iter().filter(|span| span.starts_with("finkare-relay "));
            shown.extend(spans.flat_map(commands_of).map(|command| (command, document.clone())));
        }
        for block in blocks(&text, "sh") {
            shown.extend(block.lines().flat_map(commands_of).map(|command| (command, document.clone())));
        }
    }
    assert!(shown.len() > 60, "{}", shown.len());
    let mut wrong = Vec::new();
    for (command, document) in shown {
        // Help is shown only after all arguments before it were understood.
        let output = program(directory.path()).args(filled(&command)).arg("--help").output().unwrap();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            wrong.push(format!("{document}: finkare-relay {}\n{said}", command.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The subcommands of this command, as its help lists them.
fn commands_below(directory: &Path, command: &[String]) -> Vec<Vec<String>> {
    let output = program(directory).args(command).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let list = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap());
    // Continuation lines are indented further.
    let names = list.lines().filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let names = names.map(|line| line.split(' ').next().unwrap().to_owned()).filter(|name| name != "help");
    names.map(|name| [command, &[name]].concat()).collect()
}

#[test]
fn every_command_has_its_row() {
    let directory = tempfile::tempdir().unwrap();
    let page = read("docs/reference/commands.md");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ")).collect();
    let groups = commands_below(directory.path(), &[]);
    assert!(groups.len() > 20, "{groups:?}");
    for group in groups {
        let below = commands_below(directory.path(), &group);
        for command in if below.is_empty() { vec![group] } else { below } {
            let command = command.join(" ");
            let has_row = rows
                .iter()
                .flat_map(|row| code_spans(row).0)
                .any(|span| span.strip_prefix(&*command).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')));
            assert!(has_row, "`{command}` has no row in docs/reference/commands.md");
        }
    }
}
