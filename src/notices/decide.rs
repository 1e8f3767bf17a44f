//! What is told now: a pure decision over what is noted, what this process sees, and the time.

use std::{collections::BTreeMap, time::Duration};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::{Map, Value, json};

use super::{Scene, Settings, sentences};
use crate::{
    ingest::route::{Body, Own, sinks_for_own},
    model::{
        clock,
        id::{DispatchId, EndpointName, EventId},
        money::{Cents, Total},
        notice::{MOST_NAMED, Notice, NoticeType},
        reason,
    },
    store::notices::{AUDIT, Group, Mark, Noted, OwnEvent, RefusedCount, Settlement, Stopped},
};

/// The longest time for which one cause is collected.
const LONGEST: Duration = Duration::from_hours(4);
/// A sink that works again is told after no process has found it tripped for so long, or for `tripped_after` if that is
/// shorter. A process that finds it tripped confirms it twice in this time.
const QUIET: Duration = Duration::from_mins(2);
/// An endpoint that has received something within this time is not silent, whatever a process that has not read of it yet
/// believes. Alarms are hours.
const HEARD: Duration = Duration::from_mins(10);
/// How many entries of the audit trail about other things may gather before the mark moves past them.
const SKIP: i64 = 100;

/// A sink that is tripped in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tripped {
    /// The sink.
    pub sink: String,
    /// Since when it has been seen so.
    pub since: Timestamp,
}

/// A digest that is ready to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Digest {
    /// Its day, counted from 1970-01-01.
    pub day: i64,
    /// The event.
    pub notice: Notice,
}

/// What a process sees that the store does not know.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The sinks that are tripped.
    pub tripped: Vec<Tripped>,
    /// The sinks that are configured.
    pub sinks: Vec<String>,
    /// The endpoints that are silent.
    pub silent: Vec<String>,
    /// The endpoints that are configured.
    pub endpoints: Vec<EndpointName>,
    /// Refused deliveries since the last look.
    pub refused: Vec<RefusedCount>,
    /// The digest, if it is due.
    pub digest: Option<Digest>,
}

/// A digest that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestDue {
    /// Its day, counted from 1970-01-01.
    pub day: i64,
    /// From when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

const DIGEST: &str = "digest";

/// The day and the moment of today's digest.
fn today(settings: &Settings, now: Timestamp) -> Option<(i64, bool)> {
    let at = settings.digest_at?;
    let local = now.to_zoned(settings.timezone.clone());
    let day = i64::from((local.date() - jiff::civil::date(1970, 1, 1)).get_days());
    // A time that a change of the clocks skips is the one after the gap; one that comes twice, the first.
    let moment = local.date().to_datetime(at).to_zoned(settings.timezone.clone()).ok()?;
    Some((day, moment.timestamp() <= now))
}

/// The digest that is to be made now, if there is one. A process that was not running at its hour makes it later the same
/// day.
pub fn digest_due(settings: &Settings, noted: &Noted, now: Timestamp) -> Option<DigestDue> {
    let (day, is_time) = today(settings, now)?;
    let mark = noted.marks.iter().find(|mark| mark.name == DIGEST)?;
    (is_time && mark.number < day && mark.at < now).then_some(DigestDue { day, since: mark.at, until: now })
}

/// Decides what is told now. Answers the same for the same notes and time, apart from the ids of the events.
pub fn decide(scene: &Scene, observed: &Observed, noted: &Noted, now: Timestamp) -> Settlement {
    let mut telling = Telling { scene, observed, noted, now, settlement: Settlement::default() };
    telling.stopped();
    telling.pauses();
    telling.tripped();
    telling.silences();
    telling.refusals();
    telling.rotations();
    telling.reconciliations();
    telling.digest();
    telling.settlement
}

struct Telling<'a> {
    scene: &'a Scene,
    observed: &'a Observed,
    noted: &'a Noted,
    now: Timestamp,
    settlement: Settlement,
}

impl Telling<'_> {
    /// Has an event stored, for the sinks that ask for it. Where none does, it is told to nobody and not stored: who has
    /// not asked for these events does not find them among the payments.
    fn tell(&mut self, notice: &Notice) {
        let payload = notice.body(self.now);
        let own = Own {
            event_type: notice.kind.as_str(),
            endpoint: notice.endpoint.as_deref(),
            sink: notice.sink.as_deref(),
        };
        let sinks = sinks_for_own(&self.scene.routes, &self.observed.endpoints, own, &Body::new(&payload));
        if sinks.is_empty() {
            return;
        }
        self.settlement.events.push(OwnEvent {
            id: EventId::generate(),
            endpoint: notice.endpoint.clone().unwrap_or_default(),
            event_type: notice.kind.as_str().to_owned(),
            at: self.now,
            sinks,
            payload,
        });
    }

    fn mark(&self, name: &str) -> Option<&Mark> {
        self.noted.marks.iter().find(|mark| mark.name == name)
    }

    fn set(&mut self, name: String, at: Timestamp, number: i64) {
        self.settlement.marks.push(Mark { name, at, seen_at: self.now, number });
    }

    /// How long what began then is collected: longer and longer while a group goes on.
    fn window(&self, name: &str, first: Timestamp) -> Duration {
        let base = self.scene.settings.group;
        let Some(group) = self.noted.groups.iter().find(|group| group.name == name) else { return base };
        let before = Duration::from_micros(group.window_us.try_into().unwrap_or_default());
        if clock::since(group.told_at, first) < before.saturating_mul(2) {
            before.saturating_mul(2).min(LONGEST).max(base)
        } else {
            base
        }
    }

    /// True if what began then has been collected long enough. A time in the future was written by a wrong clock.
    fn is_over(&self, first: Timestamp, window: Duration) -> bool {
        clock::since(first, self.now) >= window || clock::since(self.now, first) > window
    }

    fn told(&mut self, name: String, window: Duration) {
        let window_us = clock::duration_micros(window);
        self.settlement.groups.push(Group { name, told_at: self.now, window_us });
    }

    fn stopped(&mut self) {
        let mut groups: BTreeMap<(&str, &str, &str, String), Vec<&Stopped>> = BTreeMap::new();
        let mut known: BTreeMap<String, Vec<DispatchId>> = BTreeMap::new();
        for stopped in &self.noted.stopped {
            let group = reason::group(&stopped.reason);
            let word = word(&stopped.state, &group);
            if stopped.told.as_ref() == Some(&word) {
                known.entry(word).or_default().push(stopped.dispatch);
            } else {
                let key = (stopped.state.as_str(), stopped.sink.as_str(), stopped.endpoint.as_str(), group);
                groups.entry(key).or_default().push(stopped);
            }
        }
        self.settlement.told.extend(known.into_iter().map(|(word, dispatches)| (dispatches, word)));
        for ((state, sink, endpoint, group), stopped) in groups {
            let name = [state, sink, endpoint, &group].join(" ");
            let Some(first) = stopped.iter().map(|stopped| stopped.at).min() else { continue };
            let window = self.window(&name, first);
            if !self.is_over(first, window) {
                continue;
            }
            let kind = if state == "dead" { NoticeType::Dead } else { NoticeType::Held };
            let mut data = Map::new();
            data.insert("sink".into(), sink.into());
            // One reason in full says more than what several have in common.
            let alike = stopped.iter().all(|other| other.reason == stopped[0].reason);
            let reason = if alike { stopped[0].reason.clone() } else { group.clone() };
            data.insert("reason".into(), reason.as_str().into());
            data.insert("count".into(), stopped.len().into());
            let named: Vec<i64> = stopped.iter().take(MOST_NAMED).map(|stopped| stopped.dispatch.0).collect();
            data.insert("dispatches".into(), named.into());
            let mut total = Total::default();
            for stopped in &stopped {
                total.add(stopped.payload.as_deref());
            }
            if let Some((Cents(cents), currency)) = total.known() {
                data.insert("amount_cents".into(), cents.into());
                data.extend(currency.map(|currency| ("currency".to_owned(), currency.into())));
            }
            let message = sentences::stopped(kind, stopped.len(), sink, &reason);
            self.tell(&Notice {
                kind,
                endpoint: Some(endpoint.to_owned()).filter(|endpoint| !endpoint.is_empty()),
                sink: Some(sink.to_owned()),
                data,
                message,
            });
            let dispatches = stopped.iter().map(|stopped| stopped.dispatch).collect();
            self.settlement.told.push((dispatches, word(state, &group)));
            self.told(name, window);
        }
    }

    fn sink_data(&self, sink: &str, reason: Option<&str>, since: Timestamp) -> Map<String, Value> {
        let brief = self.noted.sinks.iter().find(|brief| brief.name == sink);
        let mut data = Map::new();
        data.insert("sink".into(), sink.into());
        data.insert("reason".into(), reason.into());
        data.insert("backlog".into(), brief.map_or(0, |brief| brief.pending).into());
        data.insert("since".into(), format!("{since:.0}").into());
        data
    }

    fn pauses(&mut self) {
        let mut paused: BTreeMap<String, Timestamp> = BTreeMap::new();
        let marks = self.noted.marks.iter();
        paused.extend(marks.filter_map(|mark| Some((mark.name.strip_prefix("paused/")?.to_owned(), mark.at))));
        for pause in &self.noted.pauses {
            self.settlement.pauses.push(pause.id);
            let sink = pause.sink.clone();
            if let Some(reason) = &pause.reason {
                let data = self.sink_data(&sink, Some(reason), pause.at);
                let message = sentences::paused(&sink, reason);
                self.tell(&about(NoticeType::SinkPaused, &sink, data, message));
                paused.insert(sink, pause.at);
                continue;
            }
            // A pause that nobody was told of ends without a word.
            let Some(since) = paused.remove(&sink) else { continue };
            let data = self.sink_data(&sink, None, since);
            let message = sentences::resumed(&sink, since);
            self.tell(&about(NoticeType::SinkRecovered, &sink, data, message));
            self.settlement.unmarked.push(format!("paused/{sink}"));
        }
        for (sink, since) in paused {
            let name = format!("paused/{sink}");
            self.settlement.unmarked.retain(|unmarked| *unmarked != name);
            if self.mark(&name).is_none_or(|mark| mark.at != since) {
                self.set(name, since, 0);
            }
        }
    }

    fn tripped(&mut self) {
        let observed = self.observed;
        let quiet = QUIET.min(self.scene.settings.tripped_after);
        for Tripped { sink, since } in &observed.tripped {
            let name = format!("tripped/{sink}");
            let brief = self.noted.sinks.iter().find(|brief| brief.name == *sink);
            // Another replica may deliver to it meanwhile.
            let success = brief.and_then(|brief| brief.last_success_at).filter(|at| *at <= self.now);
            let since = success.map_or(*since, |at| at.max(*since));
            match self.mark(&name) {
                Some(mark) if clock::since(mark.seen_at, self.now) < quiet / 2 => {}
                Some(mark) => {
                    let at = mark.at;
                    self.set(name, at, 0);
                }
                None if clock::since(since, self.now) >= self.scene.settings.tripped_after => {
                    let reason = brief.and_then(|brief| brief.last_error.as_deref());
                    let data = self.sink_data(sink, reason, since);
                    let message = sentences::tripped(sink, since, reason);
                    self.tell(&about(NoticeType::SinkTripped, sink, data, message));
                    self.set(name, since, 0);
                }
                None => {}
            }
        }
        for mark in &self.noted.marks {
            let Some(sink) = mark.name.strip_prefix("tripped/") else { continue };
            if observed.tripped.iter().any(|tripped| tripped.sink == sink) {
                continue;
            }
            let brief = self.noted.sinks.iter().find(|brief| brief.name == sink);
            let works = brief.and_then(|brief| brief.last_success_at).is_some_and(|at| at > mark.at);
            if works && clock::since(mark.seen_at, self.now) >= quiet {
                let data = self.sink_data(sink, None, mark.at);
                let message = sentences::recovered(sink, mark.at);
                self.tell(&about(NoticeType::SinkRecovered, sink, data, message));
                self.settlement.unmarked.push(mark.name.clone());
            } else if observed.sinks.iter().all(|name| name != sink) {
                self.settlement.unmarked.push(mark.name.clone());
            }
        }
    }

    fn silences(&mut self) {
        let last = |endpoint: &str| self.noted.heard.iter().find(|(name, _)| name == endpoint).and_then(|(_, at)| *at);
        let mut told = Vec::new();
        for endpoint in &self.observed.silent {
            let is_heard = last(endpoint).is_some_and(|last| clock::since(last, self.now) < HEARD);
            if !is_heard && self.mark(&format!("silent/{endpoint}")).is_none() {
                told.push((NoticeType::EndpointSilent, endpoint.as_str()));
            }
        }
        for mark in &self.noted.marks {
            let Some(endpoint) = mark.name.strip_prefix("silent/") else { continue };
            if last(endpoint).is_some_and(|last| last > mark.at) {
                told.push((NoticeType::EndpointHeard, endpoint));
            } else if self.observed.endpoints.iter().all(|name| name.as_str() != endpoint) {
                self.settlement.unmarked.push(mark.name.clone());
            }
        }
        for (kind, endpoint) in told {
            let last = last(endpoint);
            let mut data = Map::new();
            data.insert("endpoint".into(), endpoint.into());
            data.insert("last_delivery_at".into(), last.map(|last| format!("{last:.0}")).into());
            let message = sentences::silence(kind, endpoint, last);
            self.tell(&of_endpoint(kind, endpoint, data, message));
            if kind == NoticeType::EndpointSilent {
                let name = format!("silent/{endpoint}");
                // A delivery that comes now is later than this.
                self.set(name, last.unwrap_or(self.now), 0);
            } else {
                self.settlement.unmarked.push(format!("silent/{endpoint}"));
            }
        }
    }

    fn refusals(&mut self) {
        self.settlement.refused.clone_from(&self.observed.refused);
        for refused in &self.noted.refusals {
            let name = format!("refused {} {}", refused.endpoint, refused.cause);
            let window = self.window(&name, refused.first_at);
            if !self.is_over(refused.first_at, window) {
                continue;
            }
            let endpoint = Some(refused.endpoint.as_str()).filter(|endpoint| !endpoint.is_empty());
            let mut data = Map::new();
            data.insert("endpoint".into(), endpoint.into());
            data.insert("cause".into(), refused.cause.as_str().into());
            data.insert("count".into(), refused.count.into());
            let message = sentences::refused(refused.count, endpoint, &refused.cause);
            self.tell(&Notice {
                kind: NoticeType::DeliveriesRefused,
                endpoint: endpoint.map(str::to_owned),
                sink: None,
                data,
                message,
            });
            self.settlement.refusals_told.push((refused.endpoint.clone(), refused.cause.clone()));
            self.told(name, window);
        }
    }

    fn rotations(&mut self) {
        let Some(read_until) = self.mark(AUDIT).map(|mark| mark.number) else {
            // What happened before this version is no news.
            return self.set(AUDIT.to_owned(), self.now, self.noted.last_audit);
        };
        let mut doubted: Vec<String> = self.noted.marks.iter().map(|mark| mark.name.clone()).collect();
        for rotated in &self.noted.rotations {
            let Some(endpoint) = rotated.subject.strip_prefix("endpoint/") else { continue };
            let name = format!("rotation/{endpoint}");
            let kind = match rotated.action.as_str() {
                "rotation.done" => Some(NoticeType::RotationDone),
                "rotation.refused" => Some(NoticeType::RotationFailed),
                "rotation.uncertain" if !doubted.contains(&name) => Some(NoticeType::RotationUnknown),
                _ => None,
            };
            if let Some(kind) = kind {
                let detail: Value = serde_json::from_str(&rotated.detail).unwrap_or_default();
                let code = [&detail["code"], &detail["problem"], &detail["status"]];
                let code = code.into_iter().find(|value| !value.is_null()).cloned().unwrap_or_default();
                let data = json!({"endpoint": endpoint, "fingerprint": detail["fingerprint"], "code": code});
                let Value::Object(data) = data else { continue };
                let message = sentences::rotation(kind, endpoint, &code);
                self.tell(&of_endpoint(kind, endpoint, data, message));
            }
            if kind == Some(NoticeType::RotationUnknown) {
                doubted.push(name.clone());
                self.settlement.unmarked.retain(|unmarked| *unmarked != name);
                self.set(name, self.now, 0);
            } else if rotated.action != "rotation.uncertain" && doubted.contains(&name) {
                doubted.retain(|doubted| *doubted != name);
                self.settlement.marks.retain(|mark| mark.name != name);
                self.settlement.unmarked.push(name);
            }
        }
        let last = self.noted.rotations.last().map(|rotated| rotated.id);
        let skipped = Some(self.noted.last_audit).filter(|last| *last >= read_until.saturating_add(SKIP));
        if let Some(number) = last.or(skipped) {
            self.set(AUDIT.to_owned(), self.now, number);
        }
    }

    /// A reconciliation is news if it has found other differences than the one that was told last; and if it has found none
    /// on all the days that had some.
    fn reconciliations(&mut self) {
        for report in &self.noted.reconciliations {
            let endpoint = report.asked.endpoint.as_str();
            let Some(summary) = &report.summary else { continue };
            let name = format!("reconciliation/{endpoint}");
            let told = self.mark(&name).cloned();
            let begin = |day: Date| day.to_zoned(TimeZone::UTC).map_or(self.now, |day| day.timestamp());
            let differences = report.differences();
            let kind = if differences > 0 {
                if told.as_ref().is_some_and(|told| told.number == summary.fingerprint) {
                    continue;
                }
                let first = summary.earliest.unwrap_or(report.asked.since);
                self.set(name, begin(first), summary.fingerprint);
                NoticeType::Reconciliation
            } else {
                if told.is_none_or(|told| begin(report.asked.since) > told.at) {
                    continue;
                }
                self.settlement.unmarked.push(name);
                NoticeType::ReconciliationEqual
            };
            let data = sentences::reconciliation_data(report, summary);
            let message = sentences::reconciliation(kind, report);
            self.tell(&of_endpoint(kind, endpoint, data, message));
        }
        for mark in &self.noted.marks {
            let Some(endpoint) = mark.name.strip_prefix("reconciliation/") else { continue };
            if self.observed.endpoints.iter().all(|name| name.as_str() != endpoint) {
                self.settlement.unmarked.push(mark.name.clone());
            }
        }
    }

    fn digest(&mut self) {
        let Some((day, is_time)) = today(&self.scene.settings, self.now) else { return };
        let Some(mark) = self.mark(DIGEST) else {
            // The first one covers the time from now on.
            return self.set(DIGEST.to_owned(), self.now, if is_time { day } else { day - 1 });
        };
        if let Some(digest) = &self.observed.digest
            && mark.number < digest.day
        {
            self.tell(&digest.notice);
            self.set(DIGEST.to_owned(), self.now, digest.day);
        }
    }
}

fn word(state: &str, group: &str) -> String {
    format!("{state} {group}")
}

fn about(kind: NoticeType, sink: &str, data: Map<String, Value>, message: String) -> Notice {
    Notice { kind, endpoint: None, sink: Some(sink.to_owned()), data, message }
}

fn of_endpoint(kind: NoticeType, endpoint: &str, data: Map<String, Value>, message: String) -> Notice {
    Notice { kind, endpoint: Some(endpoint.to_owned()), sink: None, data, message }
}

#[cfg(test)]
mod tests;
