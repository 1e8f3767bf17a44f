//! The recipe of [`sinks`](super), followed for a kind that is compiled for tests only: a bell.
//!
//! It has one file (this module), one row (in [`kinds`]), and everything else follows: its keys are read with all
//! problems at once, shown on the page and in the schema, and the sink is built and delivers.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Message, Sink,
    kind::{KINDS, Row},
    options::{OpenDesk, SinkOptions, Surroundings},
    preview::Preview,
};
use crate::{
    config::{load_with, page_of, schema_of},
    model::{
        clock,
        dispatch::{Outcome, Trigger},
        id::{DispatchId, EventId},
    },
    options::{header::HeaderSecret, section::Section},
};

// --- step 1: its file

/// The options of a `bell` sink.
#[derive(Debug, Clone)]
struct Options {
    strokes: u32,
    password: HeaderSecret,
}

#[async_trait]
impl SinkOptions for Options {
    const NAME: &'static str = "bell";
    const ABOUT: &'static str = "Rings for each event.";
    const CONCURRENCY: u32 = 2;

    fn read(section: &mut Section<'_>, _: Surroundings<'_>) -> Option<Self> {
        let strokes = section.key("strokes", "How often it rings for an event.").whole_or(1..=12, 3_u32);
        let password = section.key("password", "Opens the tower.").required("the ringer has it").header_secret();
        Some(Self { strokes, password: password? })
    }

    fn build(&self, _: Duration, _: OpenDesk<'_>) -> Result<Arc<dyn Sink>, String> {
        Ok(Arc::new(Bell { options: self.clone(), rung: AtomicU32::new(0) }))
    }

    async fn check(&self, _: Duration) -> Result<String, String> {
        Ok("it hangs there".to_owned())
    }

    fn preview(&self, _: &Message, _: Duration) -> Result<Preview, String> {
        Ok(Preview::Line("ding ".repeat(usize::try_from(self.strokes).unwrap())))
    }
}

#[derive(Debug)]
struct Bell {
    options: Options,
    rung: AtomicU32,
}

#[async_trait]
impl Sink for Bell {
    async fn deliver(&self, _: &Message) -> Outcome {
        if self.options.password.expose().trim().is_empty() {
            return Outcome::Stop { reason: "the tower stays closed: set `password`".to_owned() };
        }
        self.rung.fetch_add(self.options.strokes, Ordering::Relaxed);
        Outcome::Delivered
    }

    async fn check(&self) -> Result<String, String> {
        Ok(format!("it has rung {} times", self.rung.load(Ordering::Relaxed)))
    }
}

// --- step 2: its row

fn kinds() -> Vec<Row> {
    KINDS.into_iter().chain([Row::of::<Options>()]).collect()
}

// --- what follows

fn message() -> Message {
    Message {
        event_id: EventId::generate(),
        dispatch_id: DispatchId(1),
        endpoint: "production".into(),
        event_type: "payment.received".into(),
        invoice_id: None,
        received_at: clock::now(),
        content_type: None,
        payload: "{}".into(),
        attempt: 1,
        trigger: Trigger::Event,
        trace: None,
        resolved: None,
    }
}

#[tokio::test]
async fn a_kind_is_its_file_and_its_row() {
    let text = "[[sinks]]\nname = 'tower'\ntype = 'bell'\npassword = 'hunter2'";
    let config = load_with(&kinds(), text, Path::new("relay.toml")).unwrap();
    let sink = &config.sinks[0];
    assert_eq!((sink.kind.name(), sink.concurrency.get(), sink.timeout.as_secs()), ("bell", 2, 10));
    assert!(!format!("{:?}", sink.kind).contains("hunter2"));
    let bell = sink.kind.build(sink.timeout, || unreachable!("it keeps no books")).unwrap();
    assert_eq!(bell.deliver(&message()).await, Outcome::Delivered);
    assert_eq!(bell.check().await.unwrap(), "it has rung 3 times");
    assert_eq!(sink.kind.check(sink.timeout).await.unwrap(), "it hangs there");
    let preview = sink.kind.preview(&message(), sink.timeout).unwrap();
    assert_eq!(preview, Preview::Line("ding ding ding ".into()));

    let wrong = "[[sinks]]\nname = 'tower'\ntype = 'bell'\nstrokes = 13\nstrike = 1";
    let problems = load_with(&kinds(), wrong, Path::new("relay.toml")).unwrap_err();
    assert_eq!(
        problems.lines(),
        [
            "line 1: sinks[0] (tower).password: is missing: the ringer has it",
            "line 4: sinks[0] (tower).strokes: 13 is not from 1 to 12",
            "line 5: sinks[0] (tower).strike: unknown key (did you mean `strokes`?)",
        ]
    );
    let unknown = load_with(&KINDS, wrong, Path::new("relay.toml")).unwrap_err().to_string();
    assert!(unknown.contains("`bell` is not one of `stdout`, `file`"), "{unknown}");
}

#[test]
fn its_keys_are_on_the_page_and_in_the_schema() {
    let page = page_of(&kinds());
    assert!(page.contains("#### `bell`\n\nRings for each event."), "{page}");
    assert!(page.contains("| `strokes` | 3 | 1 to 12 | How often it rings for an event. |"), "{page}");
    assert!(page.contains("| `password` | required | a secret | Opens the tower. |"), "{page}");
    let schema = schema_of(&kinds());
    let bell = &schema["$defs"]["sink_bell"];
    assert_eq!(bell["properties"]["strokes"]["maximum"], 12);
    assert_eq!(bell["properties"]["password"]["$ref"], "#/$defs/secret");
    assert!(bell["properties"]["retry"]["properties"]["max_secs"].is_object(), "with what all sinks have: {bell}");
}
