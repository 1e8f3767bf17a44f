use std::sync::Arc;

use jiff::{SignedDuration, tz::TimeZone};

use super::*;
use crate::{
    activity::Board,
    ingest::{
        explain::Refusals,
        route::{Route, Selection},
    },
    lifecycle::Lifecycle,
    model::{id::SinkName, notice},
    store::notices::SinkBrief,
    telemetry::Metrics,
};

/// The store and one sink that gets every event of the relay's, over the time.
struct World {
    scene: Scene,
    noted: Noted,
    now: Timestamp,
    /// What was told: the type, and its data.
    told: Vec<(String, Value)>,
}

impl World {
    fn new() -> Self {
        let (refusals, _) = Refusals::new(Arc::new(Metrics::new()), Lifecycle::new());
        let desk = Route {
            sink: SinkName::new("desk").unwrap(),
            events: Selection::Types(vec![notice::ALL.to_owned()]),
            endpoints: None,
            filter: None,
        };
        let scene = Scene {
            settings: Settings { timezone: TimeZone::get("Europe/Paris").unwrap(), ..Settings::default() },
            routes: [desk].into(),
            sinks: Vec::new(),
            endpoints: Vec::new(),
            board: Board::default(),
            refusals,
        };
        let erp = SinkBrief { name: "erp".into(), last_success_at: None, last_error: Some("503".into()), pending: 1 };
        let noted = Noted {
            sinks: vec![erp],
            heard: vec![("production".into(), None)],
            marks: vec![Mark {
                name: AUDIT.into(),
                at: Timestamp::UNIX_EPOCH,
                seen_at: Timestamp::UNIX_EPOCH,
                number: 0,
            }],
            ..Noted::default()
        };
        Self { scene, noted, now: "2026-11-27T08:00:00Z".parse().unwrap(), told: Vec::new() }
    }

    /// A replica looks, and the store writes what it decides.
    fn look(&mut self, observed: &Observed) {
        let settlement = decide(&self.scene, observed, &self.noted, self.now);
        for event in &settlement.events {
            let body: Value = serde_json::from_slice(&event.payload).unwrap();
            self.told.push((event.event_type.clone(), body["data"].clone()));
        }
        for (dispatches, _) in &settlement.told {
            self.noted.stopped.retain(|stopped| !dispatches.contains(&stopped.dispatch));
        }
        for group in settlement.groups {
            self.noted.groups.retain(|known| known.name != group.name);
            self.noted.groups.push(group);
        }
        for mark in settlement.marks {
            self.noted.marks.retain(|known| known.name != mark.name);
            self.noted.marks.push(mark);
        }
        self.noted.marks.retain(|mark| !settlement.unmarked.contains(&mark.name));
    }

    fn pass(&mut self, secs: i64) {
        self.now += SignedDuration::from_secs(secs);
    }

    fn types(&self) -> Vec<&str> {
        self.told.iter().map(|(kind, _)| kind.as_str()).collect()
    }
}

fn observed(tripped: Option<Timestamp>, silent: bool) -> Observed {
    Observed {
        tripped: tripped.into_iter().map(|since| Tripped { sink: "erp".into(), since }).collect(),
        sinks: vec!["erp".into()],
        silent: silent.then(|| "production".into()).into_iter().collect(),
        endpoints: vec![EndpointName::new("production").unwrap()],
        ..Observed::default()
    }
}

#[test]
fn a_trip_is_told_once_and_its_end_after_a_delivery() {
    let mut world = World::new();
    let since = world.now;
    for _ in 0..149 {
        world.pass(2);
        world.look(&observed(Some(since), false));
    }
    assert_eq!(world.types(), [""; 0], "298 seconds are not 300");
    for _ in 0..1800 {
        world.pass(2);
        world.look(&observed(Some(since), false));
    }
    assert_eq!(world.types(), ["relay.sink_tripped"]);
    assert_eq!(world.told[0].1["since"], format!("{since:.0}"));
    // A restart knows of no failures at first, which does not mean that it works.
    for _ in 0..300 {
        world.pass(2);
        world.look(&observed(None, false));
    }
    assert_eq!(world.types(), ["relay.sink_tripped"]);
    world.noted.sinks[0].last_success_at = Some(world.now);
    for _ in 0..300 {
        world.pass(2);
        world.look(&observed(None, false));
    }
    assert_eq!(world.types(), ["relay.sink_tripped", "relay.sink_recovered"]);
}

#[test]
fn replicas_that_disagree_do_not_tell_in_turn() {
    let mut world = World::new();
    let since = world.now;
    // One is cut off from the target and the other delivers.
    for _ in 0..1800 {
        world.pass(2);
        world.noted.sinks[0].last_success_at = Some(world.now);
        world.look(&observed(Some(since), false));
        world.look(&observed(None, false));
    }
    assert_eq!(world.types(), [""; 0]);
    // Both were, and one comes back first: it is told as working when the other one has come back too.
    let stopped = world.now;
    for _ in 0..300 {
        world.pass(2);
        world.look(&observed(Some(since), false));
        world.look(&observed(Some(stopped), false));
    }
    assert_eq!(world.types(), ["relay.sink_tripped"]);
    for _ in 0..300 {
        world.pass(2);
        world.noted.sinks[0].last_success_at = Some(world.now);
        world.look(&observed(Some(since), false));
        world.look(&observed(None, false));
    }
    assert_eq!(world.types(), ["relay.sink_tripped"]);
    for _ in 0..300 {
        world.pass(2);
        world.look(&observed(None, false));
    }
    assert_eq!(world.types(), ["relay.sink_tripped", "relay.sink_recovered"]);
}

#[test]
fn a_silence_is_told_once_and_not_by_who_has_not_heard_of_its_end() {
    let mut world = World::new();
    world.noted.heard[0].1 = Some(world.now - SignedDuration::from_hours(48));
    for _ in 0..100 {
        world.pass(2);
        world.look(&observed(None, true));
    }
    assert_eq!(world.types(), ["relay.endpoint_silent"]);
    world.noted.heard[0].1 = Some(world.now);
    // The board of another replica is a minute old.
    for _ in 0..30 {
        world.pass(2);
        world.look(&observed(None, false));
        world.look(&observed(None, true));
    }
    assert_eq!(world.types(), ["relay.endpoint_silent", "relay.endpoint_heard"]);
}

#[test]
fn an_outage_with_five_hundred_held_payments_is_a_handful_of_events() {
    let mut world = World::new();
    for minute in 0..720_i64 {
        world.pass(60);
        if minute < 500 {
            world.noted.stopped.push(Stopped {
                dispatch: DispatchId(minute + 1),
                sink: "compta".into(),
                endpoint: "production".into(),
                state: "held".into(),
                reason: format!("invoice F-2026-{minute:03} is not in the books"),
                at: world.now,
                told: None,
                payload: Some(json!({"data": {"amountCents": 100}}).to_string().into_bytes()),
            });
        }
        world.look(&observed(None, false));
    }
    let counts: Vec<i64> = world.told.iter().map(|(_, data)| data["count"].as_i64().unwrap()).collect();
    let cents: i64 = world.told.iter().map(|(_, data)| data["amount_cents"].as_i64().unwrap()).sum();
    assert!(world.types().iter().all(|kind| *kind == "relay.held"));
    // Fifteen minutes, half an hour, an hour, two hours, and what is left.
    assert_eq!(counts, [16, 31, 61, 121, 241, 30]);
    assert_eq!((counts.iter().sum::<i64>(), cents), (500, 50_000), "each is in one of them");
}

#[test]
fn a_digest_comes_once_a_day_also_when_the_clocks_change() {
    let mut world = World::new();
    world.scene.settings.digest_at = Some(jiff::civil::time(2, 30, 0, 0));
    world.now = "2027-03-27T00:00:00Z".parse().unwrap();
    world.look(&observed(None, false));
    let mut due = Vec::new();
    for _ in 0..(4 * 24 * 12) {
        world.pass(300);
        if let Some(digest) = digest_due(&world.scene.settings, &world.noted, world.now) {
            due.push(world.now.to_string());
            let notice = sentences::digest(&crate::store::notices::Figures::default(), digest.since, digest.until);
            let digest = Some(Digest { day: digest.day, notice });
            world.look(&Observed { digest, ..observed(None, false) });
        }
    }
    // On 28 March 2027 at 2:00 it is 3:00 in Paris: 2:30 is after the gap then.
    assert_eq!(due, ["2027-03-27T01:30:00Z", "2027-03-28T01:30:00Z", "2027-03-29T00:30:00Z", "2027-03-30T00:30:00Z"]);
    assert_eq!(world.types(), ["relay.digest"; 4]);
}
