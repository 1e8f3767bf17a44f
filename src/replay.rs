//! Replay: sends stored events again, with the same id and the same bytes.
//!
//! A replay is a new dispatch with the trigger `replay`. From then on it is treated like any other dispatch (order,
//! retries, dead letters). The admin API calls this module, and the commands call the admin API.
//!
//! # Which sinks
//!
//! The named sinks, regardless of their `events`, `endpoints` and `filter`, since a person asked for them. If none is
//! named: every configured sink that would get the event if it arrived now, including sinks that were added after the
//! event.
//!
//! The relay's own events (`relay.…`) are stricter: in a selection they go only to sinks that ask for them, named or not, and
//! never to the one that they are about. Who names the sink of a single event gets what was asked for.
//!
//! # In which order
//!
//! Oldest event first, so that the earlier event of an invoice gets the smaller dispatch number and is sent first, as
//! always. Unfinished earlier dispatches are sent before the replayed ones.
//!
//! # How much
//!
//! A selection is counted before anything is written, and rejected if it is larger than [`MOST`]. It ends at the event
//! that is the newest when the replay begins. It is written in pages, each in one transaction. If the process or the
//! database fails halfway, the older part has been replayed. Repeating the replay does no harm, since targets recognise
//! an event by its id.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    ingest::route::{Body, Own, Route, sinks_for, sinks_for_own},
    model::{
        id::{DispatchId, EndpointName, EventId, SinkName},
        notice,
    },
    store::{self, Candidate, EventFilter, Store, StoreError},
};

/// The most events that one call replays.
pub const MOST: u32 = 100_000;

/// Events in one transaction.
const PAGE: u32 = 500;

/// Events that a glance counts, at most.
const GLANCED_AT: u32 = 200;

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The sink is not configured.
    #[error("There is no configured sink `{name}`; the configured sinks are: {configured}.")]
    UnknownSink {
        /// The unknown name.
        name: String,
        /// The configured names.
        configured: String,
    },
    /// There is no such event.
    #[error("There is no event with this id.")]
    NoSuchEvent,
    /// The payload of the event has been removed.
    #[error("The payload of this event has been purged or erased: there is nothing left to send.")]
    PayloadGone,
    /// The selection is too large.
    #[error("More than {MOST} events are selected: narrow `since` and `until`, and replay one part after the other.")]
    TooMany,
    /// The store failed.
    #[error("the store failed a replay")]
    Store(#[from] StoreError),
}

/// The result of replaying a selection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ReplaySummary)]
pub struct Summary {
    /// The number of selected events, including the skipped ones.
    pub events: u64,
    /// The number of dispatches that were written, or would be.
    pub dispatches: u64,
    /// The number of events that were skipped because their payload was removed.
    pub skipped: u64,
    /// True if nothing was written.
    pub dry_run: bool,
    /// The number of dispatches to named sinks whose `endpoints` do not include the event's endpoint, for example sinks of
    /// another company. Present if it is not 0.
    #[serde(default, skip_serializing_if = "is_none")]
    pub foreign: u64,
    /// Present and true if a dry run with `look_at` has not counted everything: there may be more than these numbers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires it")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Chooses events and sinks, and writes the dispatches.
#[derive(Debug)]
pub struct Replayer {
    store: Arc<dyn Store>,
    routes: Arc<[Route]>,
    endpoints: Arc<[EndpointName]>,
    most: u32,
}

impl Replayer {
    /// `routes` are those of the configured sinks, `endpoints` the names of all endpoints.
    pub fn new(store: Arc<dyn Store>, routes: Arc<[Route]>, endpoints: Arc<[EndpointName]>) -> Self {
        Self { store, routes, endpoints, most: MOST }
    }

    /// The sinks that would get the event if it arrived now.
    fn wanting(&self, endpoint: &str, event_type: &str, payload: &[u8]) -> Vec<SinkName> {
        if !notice::is_own(event_type) {
            return sinks_for(&self.routes, endpoint, event_type, payload);
        }
        let body = Body::new(payload);
        sinks_for_own(&self.routes, &self.endpoints, Own::read(event_type, endpoint, &body), &body)
    }

    /// The configured sinks with these names, each once; `None` if no names are given.
    ///
    /// # Errors
    /// [`ReplayError::UnknownSink`].
    pub fn named(&self, names: Option<&[String]>) -> Result<Option<Vec<SinkName>>, ReplayError> {
        let Some(names) = names else { return Ok(None) };
        let mut sinks: Vec<SinkName> = Vec::with_capacity(names.len());
        for name in names {
            let Some(route) = self.routes.iter().find(|route| route.sink.as_str() == name) else {
                let configured: Vec<&str> = self.routes.iter().map(|route| route.sink.as_str()).collect();
                let configured = if configured.is_empty() { "none".to_owned() } else { configured.join(", ") };
                return Err(ReplayError::UnknownSink { name: name.clone(), configured });
            };
            if !sinks.contains(&route.sink) {
                sinks.push(route.sink.clone());
            }
        }
        Ok(Some(sinks))
    }

    /// Replays one event; answers the new dispatches, in the order of the sinks. There are none if no sink is named and no
    /// route accepts the event.
    ///
    /// # Errors
    /// See [`ReplayError`]; nothing is written then.
    pub async fn one(&self, id: EventId, sinks: Option<&[String]>) -> Result<Vec<DispatchId>, ReplayError> {
        let named = self.named(sinks)?;
        let detail = self.store.event(id).await?.ok_or(ReplayError::NoSuchEvent)?;
        let payload = detail.payload.ok_or(ReplayError::PayloadGone)?;
        let event = detail.event;
        let sinks = named.unwrap_or_else(|| self.wanting(&event.endpoint, &event.event_type, &payload));
        // The payload may have been removed since the event was read.
        self.store.replay_event(id, &sinks).await?.ok_or(ReplayError::PayloadGone)
    }

    /// Replays a selection, oldest first. With `dry_run` nothing is written, and the numbers are the same.
    ///
    /// Dropping the future stops the replay after the current page.
    ///
    /// # Errors
    /// See [`ReplayError`]; nothing is written then, unless the store has failed.
    pub async fn many(
        &self,
        filter: &EventFilter,
        sinks: Option<&[String]>,
        dry_run: bool,
    ) -> Result<Summary, ReplayError> {
        let named = self.named(sinks)?;
        let mut summary = Summary { dry_run, ..Summary::default() };
        // Events that arrive from now on are not part of the selection.
        let Some(newest) = self.newest(filter).await? else { return Ok(summary) };
        if self.store.count_events(filter, self.most + 1).await? > u64::from(self.most) {
            return Err(ReplayError::TooMany);
        }
        let mut after = None;
        loop {
            let mut page = self.store.events_after(filter, after, PAGE).await?;
            page.rows.retain(|candidate| candidate.event.id <= newest);
            let Some(last) = page.rows.last().map(|candidate| candidate.event.id) else { break };
            self.page(&page.rows, named.as_deref(), &mut summary).await?;
            if !page.more || last == newest {
                break;
            }
            after = Some(last);
        }
        Ok(summary)
    }

    /// What a replay of a selection would do, counted for the newest events only: at most 200 of those that match among as
    /// many as [`EventFilter::look_at`] says. Nothing is written.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn glance(&self, filter: &EventFilter, sinks: Option<&[String]>) -> Result<Summary, ReplayError> {
        let named = self.named(sinks)?;
        let found = self.store.list_events(filter, GLANCED_AT).await?;
        let mut summary = Summary { dry_run: true, more: found.more, ..Summary::default() };
        let (Some(newest), Some(oldest)) = (found.rows.first(), found.rows.last()) else { return Ok(summary) };
        // Read again as a replay reads them, between these two.
        let beside = |id: EventId, step: fn(u128) -> u128| EventId(Uuid::from_u128(step(id.0.as_u128())));
        let between = EventFilter { before: Some(beside(newest.id, |id| id.saturating_add(1))), ..filter.clone() };
        let before_all = beside(oldest.id, |id| id.saturating_sub(1));
        let page = self.store.events_after(&between, Some(before_all), GLANCED_AT).await?;
        self.page(&page.rows, named.as_deref(), &mut summary).await?;
        Ok(summary)
    }

    /// The newest event of a selection, even if the search for it takes several steps.
    async fn newest(&self, filter: &EventFilter) -> Result<Option<EventId>, StoreError> {
        let mut filter = filter.clone();
        loop {
            let page = self.store.list_events(&filter, 1).await?;
            match (page.rows.first(), page.searched_until) {
                (Some(event), _) => return Ok(Some(event.id)),
                (None, Some(until)) => filter.before = Some(until),
                (None, None) => return Ok(None),
            }
        }
    }

    async fn page(
        &self,
        candidates: &[Candidate],
        named: Option<&[SinkName]>,
        summary: &mut Summary,
    ) -> Result<(), ReplayError> {
        let mut wanted = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            summary.events += 1;
            match self.sinks(candidate, named).await? {
                None => summary.skipped += 1,
                Some(sinks) => {
                    if named.is_some() {
                        summary.foreign += self.foreign(&candidate.event.endpoint, &sinks);
                    }
                    wanted.push(store::Replay { event: candidate.event.id, sinks });
                }
            }
        }
        let count = |dispatches: usize| dispatches as u64;
        if summary.dry_run {
            summary.dispatches += wanted.iter().map(|replay| count(replay.sinks.len())).sum::<u64>();
            return Ok(());
        }
        wanted.retain(|replay| !replay.sinks.is_empty());
        for written in self.store.replay_events(&wanted).await? {
            match written {
                Some(ids) => summary.dispatches += count(ids.len()),
                // The payload may have been erased since the event was read.
                None => summary.skipped += 1,
            }
        }
        Ok(())
    }

    /// How many of these sinks ask for no event of this endpoint.
    fn foreign(&self, endpoint: &str, sinks: &[SinkName]) -> u64 {
        let is_foreign = |route: &&Route| {
            let asked = route.endpoints.as_ref();
            sinks.contains(&route.sink) && asked.is_some_and(|asked| asked.iter().all(|name| name.as_str() != endpoint))
        };
        self.routes.iter().filter(is_foreign).count() as u64
    }

    /// The sinks that an event goes to; `None` if its payload is gone.
    async fn sinks(
        &self,
        candidate: &Candidate,
        named: Option<&[SinkName]>,
    ) -> Result<Option<Vec<SinkName>>, ReplayError> {
        if !candidate.has_payload {
            return Ok(None);
        }
        let event = &candidate.event;
        if notice::is_own(&event.event_type) {
            let Some(payload) = self.store.event(event.id).await?.and_then(|detail| detail.payload) else {
                return Ok(None);
            };
            let mut sinks = self.wanting(&event.endpoint, &event.event_type, &payload);
            sinks.retain(|sink| named.is_none_or(|named| named.contains(sink)));
            return Ok(Some(sinks));
        }
        if let Some(named) = named {
            return Ok(Some(named.to_vec()));
        }
        let wanting = || self.routes.iter().filter(|route| route.wants(&event.endpoint, &event.event_type));
        if wanting().all(|route| route.filter.is_none()) {
            return Ok(Some(wanting().map(|route| route.sink.clone()).collect()));
        }
        let Some(payload) = self.store.event(event.id).await?.and_then(|detail| detail.payload) else {
            return Ok(None);
        };
        let body = Body::new(&payload);
        let mut sinks = Vec::new();
        for route in wanting() {
            if route.decide(&event.endpoint, &event.event_type, &body).is_taken() {
                sinks.push(route.sink.clone());
            }
        }
        Ok(Some(sinks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ingest::route::{Filter, Selection},
        model::{
            clock,
            event::{DedupeKey, NewEvent},
            id::EndpointName,
        },
        store::{BaseStore as _, DispatchFilter, EventStore as _, Purge, sqlite::SqliteStore},
    };

    fn sink(name: &str) -> SinkName {
        SinkName::new(name).unwrap()
    }

    fn route(name: &str, filter: Option<&str>) -> Route {
        let filter = filter.map(|text| Filter::compile(text).unwrap());
        Route { sink: sink(name), events: Selection::All, endpoints: None, filter }
    }

    async fn replayer(most: u32, events: u32) -> (tempfile::TempDir, Replayer, Vec<EventId>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("relay.db")).await.unwrap());
        store.migrate().await.unwrap();
        let event = |number: u32| NewEvent {
            id: EventId::generate(),
            endpoint: EndpointName::new("main").unwrap(),
            dedupe_key: DedupeKey::of_message(&number.to_be_bytes()),
            event_type: "ping".into(),
            invoice_id: Some("i1".into()),
            occurred_at: None,
            received_at: clock::now(),
            readable: true,
            content_type: None,
            payload: format!(r#"{{"event":"ping","number":{number}}}"#).into_bytes().into(),
            sinks: Vec::new(),
        };
        let mut ids = Vec::new();
        for first in (0..events).step_by(200) {
            let batch: Vec<_> = (first..events.min(first + 200)).map(event).collect();
            ids.extend(batch.iter().map(|event| event.id));
            store.record_deliveries(&batch).await.unwrap();
        }
        let routes = Arc::new([route("all", None), route("late", Some("number >= 1000"))]);
        let endpoints = [EndpointName::new("main").unwrap()].into();
        (folder, Replayer { store, routes, endpoints, most }, ids)
    }

    #[tokio::test]
    async fn a_selection_is_replayed_page_by_page_from_the_oldest_on() {
        let (_folder, replayer, ids) = replayer(MOST, 1203).await;
        let dry = replayer.many(&EventFilter::default(), None, true).await.unwrap();
        assert_eq!(
            dry,
            Summary { events: 1203, dispatches: 1203 + 203, skipped: 0, dry_run: true, foreign: 0, more: false }
        );
        let all = DispatchFilter::default();
        assert!(replayer.store.list_dispatches(&all, 1).await.unwrap().rows.is_empty());
        let summary = replayer.many(&EventFilter::default(), None, false).await.unwrap();
        assert_eq!(summary, Summary { dry_run: false, ..dry });
        for (name, expected) in [("all", &ids[..]), ("late", &ids[1000..])] {
            let of_sink = DispatchFilter { sink: Some(name.into()), ..DispatchFilter::default() };
            let rows = replayer.store.list_dispatches(&of_sink, 5000).await.unwrap().rows;
            let written: Vec<EventId> = rows.iter().rev().map(|dispatch| dispatch.event_id).collect();
            assert_eq!(written, expected, "{name}");
        }
    }

    #[tokio::test]
    async fn what_goes_to_another_endpoints_sink_is_counted() {
        let (_folder, mut replayer, _) = replayer(MOST, 3).await;
        let only = |name: &str, endpoint: &str| Route {
            endpoints: Some(vec![EndpointName::new(endpoint).unwrap()]),
            ..route(name, None)
        };
        replayer.routes = Arc::new([route("all", None), only("ours", "main"), only("theirs", "other")]);
        let named = ["all", "ours", "theirs"].map(str::to_owned);
        for dry_run in [true, false] {
            let summary = replayer.many(&EventFilter::default(), Some(&named), dry_run).await.unwrap();
            assert_eq!(summary, Summary { events: 3, dispatches: 9, skipped: 0, dry_run, foreign: 3, more: false });
        }
        assert_eq!(replayer.many(&EventFilter::default(), Some(&named[..2]), true).await.unwrap().foreign, 0);
        assert_eq!(replayer.many(&EventFilter::default(), None, true).await.unwrap().foreign, 0, "nobody asked for it");
    }

    #[tokio::test]
    async fn the_relays_own_events_go_only_to_who_asks_for_them() {
        let (_folder, mut replayer, _) = replayer(MOST, 0).await;
        let asks = |name: &str| Route { events: Selection::Types(vec!["relay.*".into()]), ..route(name, None) };
        replayer.routes = Arc::new([route("erp", None), asks("desk"), asks("mail")]);
        let own = NewEvent {
            id: EventId::generate(),
            endpoint: EndpointName::new("main").unwrap(),
            dedupe_key: DedupeKey::of_message(b"own"),
            event_type: "relay.sink_paused".into(),
            invoice_id: None,
            occurred_at: None,
            received_at: clock::now(),
            readable: true,
            content_type: None,
            payload: br#"{"event":"relay.sink_paused","data":{"sink":"mail"}}"#.to_vec().into(),
            sinks: Vec::new(),
        };
        replayer.store.record_deliveries(std::slice::from_ref(&own)).await.unwrap();
        let all = ["erp", "desk", "mail"].map(str::to_owned);
        for (named, expected) in [(None, 1), (Some(&all[..]), 1), (Some(&all[..1]), 0), (Some(&all[2..]), 0)] {
            let summary = replayer.many(&EventFilter::default(), named, true).await.unwrap();
            assert_eq!((summary.events, summary.dispatches), (1, expected), "{named:?}");
        }
        assert_eq!(replayer.one(own.id, None).await.unwrap().len(), 1);
        let rows = replayer.store.list_dispatches(&DispatchFilter::default(), 10).await.unwrap().rows;
        assert_eq!(rows.iter().map(|row| row.sink.as_str()).collect::<Vec<_>>(), ["desk"]);
        assert_eq!(replayer.one(own.id, Some(&all[..1])).await.unwrap().len(), 1, "one that is named is asked for");
    }

    #[tokio::test]
    async fn too_many_are_refused_before_anything_is_written() {
        let (_folder, replayer, ids) = replayer(3, 4).await;
        let refused = replayer.many(&EventFilter::default(), None, false).await.unwrap_err();
        assert!(matches!(refused, ReplayError::TooMany) && refused.to_string().contains("narrow"), "{refused}");
        assert!(replayer.store.list_dispatches(&DispatchFilter::default(), 1).await.unwrap().rows.is_empty());
        let fewer = EventFilter { before: Some(ids[3]), ..EventFilter::default() };
        assert_eq!(replayer.many(&fewer, None, false).await.unwrap().events, 3);
    }

    #[tokio::test]
    async fn what_has_no_payload_is_skipped() {
        let (_folder, replayer, ids) = replayer(MOST, 3).await;
        let now = clock::now();
        let purge = Purge { payloads_before: now, events_before: now - std::time::Duration::from_hours(1), limit: 2 };
        replayer.store.purge(purge).await.unwrap();
        let named = ["late".to_owned()];
        for (sinks, dispatches) in [(None, 1), (Some(&named[..]), 1)] {
            for dry_run in [true, false] {
                let summary = replayer.many(&EventFilter::default(), sinks, dry_run).await.unwrap();
                assert_eq!(summary, Summary { events: 3, dispatches, skipped: 2, dry_run, foreign: 0, more: false });
            }
        }
        assert!(matches!(replayer.one(ids[0], None).await, Err(ReplayError::PayloadGone)));
        assert!(matches!(replayer.one(EventId::generate(), None).await, Err(ReplayError::NoSuchEvent)));
        let unknown = replayer.one(ids[2], Some(&["nobody".to_owned()])).await.unwrap_err();
        assert!(unknown.to_string().contains("all, late"), "{unknown}");
    }
}
