//! Reconciliation: compares Finkare's payments with the events received, the ledger and the dispatches, to the cent; reports
//! what differs, and makes the missing events if it is asked to.
//!
//! ```text
//! schedule ─┐                         ┌─ list ──▶ events ──▶ compare ──▶ fill ─▶ done
//! API, CLI ─┼─▶ report in the store ─▶│  Finkare's  which      invoice     missing
//!           ┘   (one per endpoint)    │  payments   invoices   by invoice  events
//!                                     └─ each step is stored with the place where the pass goes on
//! ```
//!
//! - **One at a time** per endpoint, among all replicas: the store has room for one running report, and the report has a lease.
//! - **Resumable**: a killed pass goes on where it was, here or in another replica. Nothing of it is only in memory.
//! - **The resolver's rule** says which payment an event announces ([`crate::resolve::matching`]); there is no second one.
//! - **Filling is idempotent**: the event's id is made of the payment, and the store assigns a payment once. A genuine delivery
//!   that comes later is recognised by its payment, and books nothing more.
//! - **Nothing is undone by itself**: a refund after a booking is reported.
//!
//! - `compare`: one invoice; pure.
//! - `books`: whether the books still show what the ledger calls booked.
//! - `pass`: one report, step by step.
//!
//! Source of what Finkare offers: <https://docs.finkare.io/api-reference/payments>. The meaning and the form of `fromDate` and
//! `toDate` are not documented, so more is asked for than is needed, and the days are decided here.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use finkare::Client;
use jiff::{Span, civil::Date, tz::TimeZone};
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    ingest::route::Route,
    lifecycle::Lifecycle,
    model::{
        audit::NewAudit,
        chain::Chain,
        clock,
        id::{EndpointName, LeaseToken},
        reconciliation::{NewReport, ReportId},
    },
    sinks::Sink,
    store::{Store, StoreError, reconciliations::Asked},
};

mod books;
pub mod compare;
mod pass;

/// How a schedule is set by default: every so many hours.
pub const EVERY_HOURS: u64 = 24;
/// How many days a scheduled pass looks back by default, and one without a beginning.
pub const LOOK_BACK_DAYS: u32 = 35;

/// The actor of scheduled passes.
const SCHEDULE: &str = "schedule";
/// How long a pass is a process's own unless it renews it.
const LEASE: Duration = Duration::from_secs(8);
/// The time between two renewals.
const RENEW: Duration = Duration::from_secs(2);
/// The time between two looks for work that nobody has announced.
const LOOK: Duration = Duration::from_secs(2);
/// The most passes of this process at a time; each waits for Finkare most of the time.
const AT_ONCE: usize = 8;
/// The shortest time until the schedule of an endpoint is looked at again.
const SOONEST: Duration = Duration::from_secs(10);

/// When an endpoint is reconciled by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The time between the beginnings of two passes.
    pub every: Duration,
    /// How many days before today it begins.
    pub look_back_days: u32,
    /// Whether payments that were never announced become events.
    pub fill: bool,
}

/// What is needed of an endpoint.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its name.
    pub name: EndpointName,
    /// The client for Finkare's API, with the rate limit of all calls of the endpoint. `None` without an API key.
    pub client: Option<Arc<Client>>,
    /// Where its days begin.
    pub timezone: TimeZone,
    /// How far a payment may be dated from an event that does not name it.
    pub window: Duration,
    /// How long a payment and its event may be apart before a scheduled pass misses one of them.
    pub patience: Duration,
    /// When it is reconciled by itself.
    pub schedule: Option<Schedule>,
}

/// A sink, as far as it matters here.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its route.
    pub route: Route,
    /// True if it keeps books: the ledger says what is in them.
    pub keeps_books: bool,
    /// The sink itself as long as it runs, if its books may be looked at.
    pub books: Option<Weak<dyn Sink>>,
    /// True if it takes payments for others than people: what is held or given up there is missing somewhere.
    pub is_for_programs: bool,
}

/// What reconciliations need of the running configuration.
#[derive(Clone)]
pub struct Scene {
    /// The endpoints.
    pub endpoints: Arc<[Endpoint]>,
    /// The sinks.
    pub targets: Arc<[Target]>,
    /// How long events are known.
    pub events_kept: Duration,
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("endpoints", &self.endpoints.len()).finish_non_exhaustive()
    }
}

impl Scene {
    fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name.as_str() == name)
    }
}

/// Why a reconciliation was not begun.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The endpoint has no API key.
    #[error("Finkare cannot be asked: set `api_key` of endpoint `{0}`, with the scope `payments:read`, and reload.")]
    NoKey(String),
    /// The days are the wrong way round.
    #[error("`since` ({since}) is after `until` ({until}).")]
    WrongWayRound {
        /// The first day.
        since: Date,
        /// The last day.
        until: Date,
    },
    /// Events of that time may be forgotten.
    #[error(
        "`since` may not be before {earliest}: events older than `retention.dedupe_days` are deleted, so their payments would \
         seem to be missing."
    )]
    TooOld {
        /// The earliest day.
        earliest: Date,
    },
    /// One is running.
    #[error("Reconciliation {0} of this endpoint is running: wait until it is done.")]
    Running(ReportId),
    /// The store failed.
    #[error("the store could not begin a reconciliation")]
    Store(#[from] StoreError),
}

/// Takes the orders of people.
#[derive(Debug)]
pub struct Orders {
    store: Arc<dyn Store>,
    scene: Scene,
    poke: Arc<Notify>,
}

impl Orders {
    /// `poke` wakes the task of this process, see [`run`].
    pub fn new(store: Arc<dyn Store>, scene: Scene, poke: Arc<Notify>) -> Self {
        Self { store, scene, poke }
    }

    /// Begins a reconciliation of these days, by default the last [`LOOK_BACK_DAYS`] (or as the schedule says) until today.
    ///
    /// # Errors
    /// See [`Refused`]; nothing was begun.
    ///
    /// # Panics
    /// If the endpoint is not configured.
    pub async fn begin(
        &self,
        endpoint: &str,
        days: (Option<Date>, Option<Date>),
        fill: bool,
        actor: &str,
    ) -> Result<ReportId, Refused> {
        let endpoint = self.scene.endpoint(endpoint).expect("the caller has looked whether it is configured");
        let name = endpoint.name.as_str();
        if endpoint.client.is_none() {
            return Err(Refused::NoKey(name.to_owned()));
        }
        let look_back = endpoint.schedule.map_or(LOOK_BACK_DAYS, |schedule| schedule.look_back_days);
        let (first, today) = days_until_today(endpoint, look_back);
        let (since, until) = (days.0.unwrap_or(first), days.1.unwrap_or(today));
        if since > until {
            return Err(Refused::WrongWayRound { since, until });
        }
        let kept = i64::try_from(self.scene.events_kept.as_secs() / 86_400).unwrap_or(i64::MAX);
        let earliest = today.checked_sub(Span::new().days(kept.min(100_000))).unwrap_or(Date::MIN);
        if since < earliest {
            return Err(Refused::TooOld { earliest });
        }
        let new = NewReport {
            id: ReportId::generate(),
            endpoint: name.to_owned(),
            since,
            until,
            fill,
            actor: actor.to_owned(),
        };
        match self.store.ask_reconciliation(&new, None, audit_of(&new)).await? {
            Asked::Begun => {}
            Asked::Running(id) => return Err(Refused::Running(id)),
            Asked::Recent { .. } => unreachable!("nothing was said of how recent"),
        }
        self.poke.notify_one();
        Ok(new.id)
    }
}

fn days_until_today(endpoint: &Endpoint, look_back: u32) -> (Date, Date) {
    let today = clock::now().to_zoned(endpoint.timezone.clone()).date();
    (today.checked_sub(Span::new().days(i64::from(look_back))).unwrap_or(Date::MIN), today)
}

fn audit_of(new: &NewReport) -> NewAudit {
    NewAudit::new(&new.actor, "reconciliation.begun", format!("endpoint/{}", new.endpoint))
        .with("id", new.id.to_string())
        .with("since", new.since.to_string())
        .with("until", new.until.to_string())
        .with("fill", new.fill)
}

/// Makes the reports that are wanted, and follows the schedules, until asked to stop.
///
/// A pass that is cut off goes on later, here or elsewhere.
pub async fn run(store: Arc<dyn Store>, scene: Scene, poke: Arc<Notify>, lifecycle: Lifecycle) {
    let working = Runner { store, scene, not_before: HashMap::new(), is_failing: false }.work(poke);
    let _ = lifecycle.soft.run_until_cancelled(working).await;
}

struct Runner {
    store: Arc<dyn Store>,
    scene: Scene,
    /// When the schedule of each endpoint is looked at again.
    not_before: HashMap<EndpointName, Instant>,
    is_failing: bool,
}

impl Runner {
    async fn work(mut self, poke: Arc<Notify>) {
        // Dropped with this task, the passes end as well.
        let mut passes: JoinSet<()> = JoinSet::new();
        loop {
            while passes.try_join_next().is_some() {}
            let looked = self.look(&mut passes).await;
            if let Err(error) = &looked
                && !self.is_failing
            {
                tracing::warn!(error = %Chain(error), "reconciliations cannot be looked for: trying again");
            }
            self.is_failing = looked.is_err();
            tokio::select! {
                () = poke.notified() => {}
                () = tokio::time::sleep(LOOK.mul_f64(0.9 + 0.2 * rand::random::<f64>())) => {}
            }
        }
    }

    async fn look(&mut self, passes: &mut JoinSet<()>) -> Result<(), StoreError> {
        self.follow_schedules().await?;
        let names: Vec<String> =
            self.scene.endpoints.iter().map(|endpoint| endpoint.name.as_str().to_owned()).collect();
        while passes.len() < AT_ONCE {
            let taken = self.store.take_reconciliation(&names, LeaseToken::generate(), LEASE).await?;
            let Some(taken) = taken else { break };
            passes.spawn(pass::make(self.store.clone(), self.scene.clone(), taken));
        }
        Ok(())
    }

    async fn follow_schedules(&mut self) -> Result<(), StoreError> {
        for endpoint in &*self.scene.endpoints {
            let (Some(schedule), Some(_)) = (endpoint.schedule, &endpoint.client) else { continue };
            let now = Instant::now();
            if self.not_before.get(&endpoint.name).is_some_and(|not_before| now < *not_before) {
                continue;
            }
            let (since, until) = days_until_today(endpoint, schedule.look_back_days);
            let new = NewReport {
                id: ReportId::generate(),
                endpoint: endpoint.name.as_str().to_owned(),
                since,
                until,
                fill: schedule.fill,
                actor: SCHEDULE.to_owned(),
            };
            let wait = match self.store.ask_reconciliation(&new, Some(schedule.every), audit_of(&new)).await? {
                Asked::Begun => schedule.every,
                Asked::Running(_) => SOONEST,
                Asked::Recent { wait } => wait,
            };
            self.not_before.insert(endpoint.name.clone(), now + wait.clamp(SOONEST, schedule.every));
        }
        Ok(())
    }
}
