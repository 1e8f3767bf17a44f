//! A local stand-in for Finkare: its API, its signed deliveries with retries, and faults on demand.
//!
//! It is for trying out the relay without an account (`finkare-relay simulate`), for the demo and for tests. It is on
//! the other side of the wire and shares no code with the relay: not its client, its signature check, its types or
//! its listener, so that an error there cannot cancel itself out here. The simulator does what Finkare's
//! documentation shows. For undocumented details, the most careful reading is the default and the others are
//! [`Variants`]. [`Faults`] are the failures that can happen between two machines. A relay that works with this
//! simulator follows the documentation, and no more is proved: the simulator has never been compared with the real
//! service.
//!
//! - `api`: the calls below `/api/v1`.
//! - `deliveries`: posting and retrying; `signing`: the signature.
//! - `controls`: the simulator's own API below `/_simulator`, for this machine only. `PUT /_simulator/faults` and `variants`
//!   change what goes wrong; `POST /_simulator/events`, `invoices`, `invoices/{id}/status` and `payments` make things
//!   happen; `GET /_simulator/state` shows the current state.
//! - `settings`: the faults and the variants.
//! - `state` and `company`: what is remembered, all of it in memory and bounded.
//! - `server`: connections.
//!
//! Webhooks have to be HTTPS, as Finkare demands. So that a relay without TLS can receive deliveries,
//! [`Options::deliver_to`] sends all of them to one server, with the path of the registered URL; like curl's
//! `--connect-to`.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

mod api;
mod company;
mod controls;
mod deliveries;
mod secret;
mod server;
mod settings;
mod signing;
mod state;

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{Router, routing::any};
use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore},
    time::MissedTickBehavior,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use self::state::{Outgoing, State};
pub use self::{
    secret::Secret,
    settings::{
        Encoding, ErrorBody, EventIdField, Faults, InvoiceAmount, Over, RevokeMethod, SettingError, Spelling,
        UpdateMethod, Variants,
    },
    state::{Counters, Delivery, DeliveryId, Invoice, InvoiceId, Payment, PaymentId, Status, Webhook, WebhookId},
};
/// The path that all of Finkare's API is below.
const API_PATH: &str = "/api/v1";
/// The statuses of payments, as documented.
const PAYMENT_STATUSES: [&str; 4] = ["pending", "completed", "failed", "refunded"];
/// The methods of payment, as documented.
const PAYMENT_METHODS: [&str; 4] = ["card", "bank_transfer", "sepa_debit", "payment_link"];
/// The number of invoices over which automatic payments are spread.
const INVOICES_BY_ITSELF: usize = 50;
/// The most automatic payments per second.
const MAX_RATE: u32 = 10_000;
/// For how long calls may finish when the simulator is stopped; those that have not are dropped.
const STOP_BOUND: Duration = Duration::from_secs(2);

/// How the simulator runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The API keys that are accepted; without any, every `fk_live_…` and `fk_test_…` is.
    pub api_keys: Vec<Secret>,
    /// The server (scheme, host and port) that all deliveries are sent to in place of the host in the webhook's URL.
    pub deliver_to: Option<Url>,
    /// How long an answer to a delivery may take; 5 s, as documented.
    pub delivery_timeout: Duration,
    /// The waits between the attempts of a delivery; there is one attempt more than waits. Finkare's own waits are
    /// not known.
    pub retry_waits: Vec<Duration>,
    /// The number of deliveries that are posted at the same time.
    pub concurrency: usize,
    /// The number of automatic payments per second.
    pub rate: Option<NonZeroU32>,
    /// The faults from the start on.
    pub faults: Faults,
    /// The readings of what is not documented.
    pub variants: Variants,
    /// The seed that ids, secrets and amounts are made from.
    pub seed: u64,
    /// Called for each new invoice, before anything is delivered about it or paid on it.
    pub on_invoice: Option<OnInvoice>,
}

/// What is done with each new invoice. It runs within the call that makes the invoice, and must not take long.
#[derive(Clone)]
pub struct OnInvoice(Arc<dyn Fn(&Invoice) + Send + Sync>);

impl OnInvoice {
    /// Does this with each invoice.
    pub fn new(with: impl Fn(&Invoice) + Send + Sync + 'static) -> Self {
        Self(Arc::new(with))
    }
}

impl std::fmt::Debug for OnInvoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnInvoice").finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            api_keys: Vec::new(),
            deliver_to: None,
            delivery_timeout: Duration::from_secs(5),
            retry_waits: [1, 5, 30, 120, 600].map(Duration::from_secs).to_vec(),
            concurrency: 64,
            rate: None,
            faults: Faults::default(),
            variants: Variants::default(),
            seed: rand::random(),
            on_invoice: None,
        }
    }
}

/// Why the simulator cannot carry out a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is in use, or does not belong to this machine.
    #[error("cannot listen on {address}: choose another address, or port 0 for a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The URL is more than a server.
    #[error("deliveries cannot be sent to `{0}`: write scheme, host and port, like http://127.0.0.1:8080")]
    DeliverTo(String),
    /// An option is not valid.
    #[error("{0}")]
    Options(String),
    /// The HTTP client cannot be made.
    #[error("the HTTP client could not be made")]
    Client(#[source] reqwest::Error),
    /// A fault or a variant cannot be set.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Too many deliveries wait for their answer or their next attempt.
    #[error("{0} deliveries are open already: the receiver does not keep up")]
    Full(usize),
    /// There is no such invoice, or it has been forgotten.
    #[error("there is no invoice {0}")]
    NoSuchInvoice(InvoiceId),
    /// Finkare would not accept the payment.
    #[error("{0}")]
    Payment(String),
    /// Finkare would not accept the webhook.
    #[error("{0}")]
    Webhook(String),
}

/// A payment to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayment {
    /// The amount in cents; `None` is the invoice's whole amount.
    pub amount_cents: Option<i64>,
    /// The method: `card`, `bank_transfer`, `sepa_debit` or `payment_link`.
    pub method: String,
    /// The status: `pending`, `completed`, `failed` or `refunded`.
    pub status: String,
}

impl Default for NewPayment {
    fn default() -> Self {
        Self { amount_cents: None, method: "sepa_debit".into(), status: "completed".into() }
    }
}

/// The state that all parts share.
struct World {
    options: Options,
    /// The option's value, or a later one.
    deliver_to: Mutex<Option<Url>>,
    state: Mutex<State>,
    client: reqwest::Client,
    permits: Semaphore,
    /// The server, and the deliveries and rotations under way.
    tracker: TaskTracker,
    /// Notified whenever a delivery is finished.
    finished: Notify,
    stopping: Stopping,
}

/// How the simulator is asked to stop.
#[derive(Debug, Clone, Default)]
struct Stopping {
    /// Cancelled: take no more calls, post no more.
    soft: CancellationToken,
    /// Cancelled: drop the calls that are under way.
    hard: CancellationToken,
}

/// The system's clock.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
fn now() -> Timestamp {
    Timestamp::now()
}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    /// Runs a part that has to live until the simulator stops. If it ends or panics before that, the whole simulator
    /// stops.
    fn spawn(&self, part: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.tracker.spawn(task);
        let stop = self.stopping.soft.clone();
        self.tracker.spawn(async move {
            let ended = task.await;
            if let Err(error) = &ended {
                tracing::error!(task = part, %error, "a task panicked: stopping");
            } else if !stop.is_cancelled() {
                tracing::error!(task = part, "a task ended by itself: stopping");
            }
            stop.cancel();
        });
    }

    /// Waits for this time, or until the simulator stops.
    async fn pause(&self, time: Duration) {
        if time.is_zero() {
            return;
        }
        let _ = self.stopping.soft.run_until_cancelled(tokio::time::sleep(time)).await;
    }

    /// The URL that a delivery for this webhook URL is really sent to.
    fn target(&self, url: &str) -> Url {
        let mut url = Url::parse(url).expect("a webhook's URL was checked when it was set");
        if let Some(to) = &*self.deliver_to.lock().expect("no code panics while it holds this lock") {
            let (path, query) = (url.path().to_owned(), url.query().map(str::to_owned));
            url.clone_from(to);
            url.set_path(&path);
            url.set_query(query.as_deref());
        }
        url
    }

    fn finish(&self, outgoing: &Outgoing, status: Status) {
        self.lock().finish(outgoing, status);
        self.finished.notify_waiters();
    }

    fn set_faults(&self, faults: Faults) -> Result<(), Error> {
        faults.check()?;
        self.lock().faults = faults;
        Ok(())
    }

    fn set_variants(&self, variants: Variants) -> Result<(), Error> {
        variants.check()?;
        self.lock().variants = variants;
        Ok(())
    }

    fn emit(self: &Arc<Self>, event: &str, data: &Value) -> Result<usize, Error> {
        let outgoing = self.lock().emit(event, data, now())?;
        let count = outgoing.len();
        deliveries::start(self, outgoing);
        Ok(count)
    }

    fn create_invoice(self: &Arc<Self>, number: Option<String>, cents: Option<i64>) -> Result<Invoice, Error> {
        let (invoice, outgoing) = {
            let mut state = self.lock();
            let cents = cents.unwrap_or_else(|| state.amount());
            state.create_invoice(number, cents, now())?
        };
        if let Some(OnInvoice(with)) = &self.options.on_invoice {
            with(&invoice);
        }
        deliveries::start(self, outgoing);
        Ok(invoice)
    }

    fn set_status(self: &Arc<Self>, invoice: InvoiceId, status: String) -> Result<usize, Error> {
        let outgoing = self.lock().set_status(invoice, status, now())?;
        let count = outgoing.len();
        deliveries::start(self, outgoing);
        Ok(count)
    }

    /// Makes a payment, and answers to how many webhooks it is announced.
    fn pay(self: &Arc<Self>, invoice: InvoiceId, new: NewPayment) -> Result<(Payment, usize), Error> {
        for (name, value, known) in
            [("status", &new.status, PAYMENT_STATUSES), ("method", &new.method, PAYMENT_METHODS)]
        {
            if !known.contains(&value.as_str()) {
                return Err(Error::Payment(format!("`{value}` is no {name}: it is one of {}", known.join(", "))));
            }
        }
        let (payment, outgoing) = {
            let mut state = self.lock();
            let whole = state.invoice(invoice).ok_or(Error::NoSuchInvoice(invoice))?.amount_cents;
            let cents = new.amount_cents.unwrap_or(whole);
            state.pay(invoice, cents, new.method, new.status, now())?
        };
        let webhooks = outgoing.len();
        deliveries::start(self, outgoing);
        Ok((payment, webhooks))
    }

    /// Makes payments until the simulator stops.
    async fn pay_by_itself(self: Arc<Self>, rate: NonZeroU32) {
        let mut invoices = Vec::with_capacity(INVOICES_BY_ITSELF);
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.get());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut turn = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.stopping.soft.cancelled() => return,
            }
            // If the receiver does not keep up, that is counted (`overflows`), and no more is sent until it does.
            if invoices.len() < INVOICES_BY_ITSELF {
                let Ok(invoice) = self.create_invoice(None, None) else { continue };
                invoices.push(invoice.id);
            }
            let invoice = invoices[turn % invoices.len()];
            turn += 1;
            let amount_cents = Some(self.lock().amount());
            if let Err(Error::NoSuchInvoice(_)) =
                self.pay(invoice, NewPayment { amount_cents, ..NewPayment::default() })
            {
                // The invoice was forgotten, because other invoices were created in the meantime.
                invoices.retain(|id| *id != invoice);
            }
        }
    }
}

/// Checks that this is a scheme, a host and a port, and nothing else.
fn check_deliver_to(to: &Url) -> Result<(), Error> {
    let is_server = matches!(to.scheme(), "http" | "https")
        && to.has_host()
        && to.path() == "/"
        && to.query().is_none()
        && to.fragment().is_none();
    if is_server {
        return Ok(());
    }
    // A URL may hold a password, which is not repeated.
    let shown = if to.username().is_empty() && to.password().is_none() { to.as_str() } else { to.scheme() };
    Err(Error::DeliverTo(shown.to_owned()))
}

/// A running simulator. It stops when it is dropped; [`Simulator::stop`] also waits for its end.
pub struct Simulator {
    world: Arc<World>,
    address: SocketAddr,
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Simulator {
    /// Starts a simulator, which answers calls when this returns.
    ///
    /// # Errors
    /// The address is in use, or an option is not valid.
    pub async fn start(options: Options) -> Result<Self, Error> {
        options.faults.check()?;
        options.variants.check()?;
        if let Some(to) = &options.deliver_to {
            check_deliver_to(to)?;
        }
        if options.concurrency == 0 || options.concurrency > Semaphore::MAX_PERMITS {
            return Err(Error::Options("`concurrency` must be at least 1".into()));
        }
        if options.rate.is_some_and(|rate| rate.get() > MAX_RATE) {
            return Err(Error::Options(format!("the rate is at most {MAX_RATE} payments a second")));
        }
        // The program around may have installed one already, which serves as well.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(options.delivery_timeout)
            .user_agent(concat!("finkare-simulator/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::Client)?;
        let listen = |source| Error::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let stopping = Stopping::default();
        let world = Arc::new(World {
            state: Mutex::new(State::new(options.seed, options.faults.clone(), options.variants.clone())),
            client,
            permits: Semaphore::new(options.concurrency),
            tracker: TaskTracker::new(),
            finished: Notify::new(),
            stopping: stopping.clone(),
            deliver_to: Mutex::new(options.deliver_to.clone()),
            options,
        });
        let router =
            Router::new().nest("/_simulator", controls::router()).fallback(any(api::call)).with_state(world.clone());
        world.spawn("simulator", server::serve(listener, router, stopping));
        if let Some(rate) = world.options.rate {
            world.spawn("payments", world.clone().pay_by_itself(rate));
        }
        Ok(Self { world, address })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends all deliveries to this server from now on, as [`Options::deliver_to`] does; for a receiver that has to know the
    /// simulator's address before it has one itself.
    ///
    /// # Errors
    /// The URL is more than a scheme, a host and a port.
    pub fn set_deliver_to(&self, to: Url) -> Result<(), Error> {
        check_deliver_to(&to)?;
        *self.world.deliver_to.lock().expect("no code panics while it holds this lock") = Some(to);
        Ok(())
    }

    /// The URL that a client of Finkare's API has to use.
    pub fn api_url(&self) -> Url {
        Url::parse(&format!("http://{}{API_PATH}", self.address)).expect("an address and a path are a URL")
    }

    /// Cancelled when the simulator stops, also because a part of it has failed.
    pub fn stopped(&self) -> CancellationToken {
        self.world.stopping.soft.clone()
    }

    /// Creates a webhook for these events, as `POST /webhooks` does, and returns its id and its secret.
    ///
    /// # Errors
    /// [`Error::Webhook`] if Finkare would not accept it.
    pub fn create_webhook(&self, url: &str, events: &[&str]) -> Result<(WebhookId, Secret), Error> {
        let events = events.iter().copied().map(str::to_owned).collect();
        let created = self.world.lock().create_webhook(url.to_owned(), events, None, true, now());
        let (webhook, secret, ping) = created?;
        deliveries::start(&self.world, ping);
        Ok((webhook.id, secret))
    }

    /// Creates an invoice and delivers `invoice.created`. Without a number or an amount, one is made up.
    ///
    /// # Errors
    /// [`Error::Full`]
    pub fn create_invoice(&self, number: Option<&str>, amount_cents: Option<i64>) -> Result<Invoice, Error> {
        self.world.create_invoice(number.map(str::to_owned), amount_cents)
    }

    /// Makes a payment and delivers `payment.received`.
    ///
    /// # Errors
    /// There is no such invoice, status or method; [`Error::Full`].
    pub fn pay(&self, invoice: InvoiceId, payment: NewPayment) -> Result<Payment, Error> {
        self.world.pay(invoice, payment).map(|(payment, _)| payment)
    }

    /// Changes an invoice's status, delivers `invoice.status_changed`, and returns to how many webhooks.
    ///
    /// # Errors
    /// There is no such invoice; [`Error::Full`].
    pub fn set_status(&self, invoice: InvoiceId, status: &str) -> Result<usize, Error> {
        self.world.set_status(invoice, status.to_owned())
    }

    /// Delivers any event to the webhooks that asked for it, and returns how many they are.
    ///
    /// # Errors
    /// [`Error::Full`]
    pub fn emit(&self, event: &str, data: &Value) -> Result<usize, Error> {
        self.world.emit(event, data)
    }

    /// The current faults; those that count have been counted down.
    pub fn faults(&self) -> Faults {
        self.world.lock().faults.clone()
    }

    /// Replaces the faults.
    ///
    /// # Errors
    /// [`Error::Setting`]: a value is out of its bounds.
    pub fn set_faults(&self, faults: Faults) -> Result<(), Error> {
        self.world.set_faults(faults)
    }

    /// Replaces the variants.
    ///
    /// # Errors
    /// [`Error::Setting`]: a value is out of its bounds.
    pub fn set_variants(&self, variants: Variants) -> Result<(), Error> {
        self.world.set_variants(variants)
    }

    /// All webhooks.
    pub fn webhooks(&self) -> Vec<Webhook> {
        self.world.lock().hooks().iter().map(|hook| hook.webhook.clone()).collect()
    }

    /// The secret of a webhook as it is now.
    pub fn secret_of(&self, webhook: WebhookId) -> Option<Secret> {
        self.world.lock().hook(webhook).map(|hook| hook.secret.clone())
    }

    /// The history of a webhook, the oldest first.
    pub fn deliveries(&self, webhook: WebhookId) -> Vec<Delivery> {
        self.world.lock().history(webhook).cloned().collect()
    }

    /// How often things have happened.
    pub fn counters(&self) -> Counters {
        self.world.lock().counters
    }

    /// Waits until every delivery has been acknowledged or given up. The caller has to bound the wait.
    pub async fn settled(&self) {
        loop {
            let finished = self.world.finished.notified();
            tokio::pin!(finished);
            // Enabled before the check, so that no notification is missed between the check and the wait.
            finished.as_mut().enable();
            if self.world.lock().open() == 0 {
                return;
            }
            finished.await;
        }
    }

    /// Stops: no more calls are answered and no more deliveries posted. Open deliveries are dropped.
    pub async fn stop(self) {
        let World { tracker, stopping, .. } = &*self.world;
        stopping.soft.cancel();
        tracker.close();
        if tokio::time::timeout(STOP_BOUND, tracker.wait()).await.is_err() {
            stopping.hard.cancel();
            tracker.wait().await;
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.world.stopping.soft.cancel();
        self.world.stopping.hard.cancel();
    }
}
