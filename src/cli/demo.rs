//! `demo`: shows the whole service at work, in one process on a temporary SQLite file.
//!
//! A local Finkare (the one of `simulate`) and a company's service stand at both ends, and the same service as `serve`
//! between them. The webhook is registered; genuine, repeated, forged, unreadable and oversized deliveries come in; the
//! company's service is down for a while; the webhook's secret is rotated under load, once with a lost answer; a payment is
//! booked in stand-in books, and one that does not fit there is held, of which a mail tells a person. The command reports
//! what happens, checks at the end that every promise held, and says so by its exit code.
//!
//! The other participants are in `participants` and `mailbox`.

mod mailbox;
mod participants;

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use finkare_simulator::{self as simulator, Faults, NewPayment, Simulator};
use futures_util::{StreamExt, stream};
use serde_json::json;

use self::{
    mailbox::{Mail, Mailbox},
    participants::{Answer, Finkare, Operator, Target},
};
use super::{
    Failure,
    books::{StandIn, System},
    client,
    output::{plain, print},
    send,
    tables::wrapped,
};
use crate::{
    config::{self, generated},
    model::{clock, money::Cents, secret::Secret},
    options::{Problems, env},
    service::{Loader, Service},
    signature::finkare,
    store::EventFilter,
    telemetry,
};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Keep serving afterwards, until interrupted
    #[arg(long)]
    keep: bool,
}

/// How long the mail may take: the notices' own pace, and a machine that is busy.
const MAILED_WITHIN: Duration = Duration::from_secs(30);
/// The width of what is quoted, and the blanks before it.
const WIDTH: usize = 100;
const INDENT: &str = "      ";
/// Invoices that events belong to.
const INVOICES: usize = 40;
/// Events of each invoice while the target is down.
const PER_INVOICE: usize = 5;
/// The invoice whose events come with mixed timestamps.
const MIXED: &str = "invoice-mixed";
/// The URL that is registered: Finkare takes only HTTPS. The local Finkare delivers to the relay's own address instead.
const PUBLIC_URL: &str = "https://relay.example/webhooks/finkare";
/// The same for the endpoint whose payments are booked.
const BOOKED_URL: &str = "https://relay.example/webhooks/accounting";
/// How long the target is down.
const DOWN: Duration = Duration::from_secs(2);
/// Everything must have arrived by then.
const PATIENCE: Duration = Duration::from_mins(1);

/// Plays the demo; true if every promise held.
pub(super) async fn run(options: Options) -> Result<bool, Failure> {
    let filter = env::read("RUST_LOG", &env::of_process)?.unwrap_or_else(|| "off".to_owned());
    let _logging = telemetry::init(Some("pretty"), Some(&filter)).map_err(Problems::of_variables)?;
    let directory = Directory::new()?;
    let result = play(&directory, options.keep).await;
    directory.remove();
    Ok(result?)
}

struct Directory(PathBuf);

impl Directory {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("finkare-relay-demo-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn remove(self) {
        // A file that stays in the system's temporary directory does no harm.
        let _ = std::fs::remove_dir_all(self.0);
    }
}

fn payment(invoice: usize, number: u64) -> Vec<u8> {
    let data = json!({"invoiceId": format!("invoice-{invoice}"), "amountCents": 10_000 + number, "number": number});
    send::body("payment.received", &data, clock::now())
}

/// The promises, and whether each one held.
struct Account {
    promises: Vec<(&'static str, bool, String)>,
}

impl Account {
    fn note(&mut self, promise: &'static str, held: bool, detail: String) -> anyhow::Result<()> {
        print(&format!("   {} {detail}", if held { "ok " } else { "BROKEN" }))?;
        self.promises.push((promise, held, detail));
        Ok(())
    }

    /// Lists all promises; true if every one was kept.
    fn conclude(self) -> anyhow::Result<bool> {
        let held = self.promises.iter().all(|(_, held, _)| *held);
        heading(if held { "Every promise held:" } else { "NOT every promise held:" })?;
        for (promise, held, _) in &self.promises {
            print(&format!("   {} {promise}", if *held { "ok    " } else { "BROKEN" }))?;
        }
        Ok(held)
    }
}

fn heading(text: &str) -> anyhow::Result<()> {
    print(&format!("\n{text}"))
}

async fn play(directory: &Directory, keep: bool) -> anyhow::Result<bool> {
    let mut tour = Tour::begin(directory).await?;
    tour.accepts().await?;
    tour.recognises_repetitions().await?;
    tour.rejects_forgeries().await?;
    tour.stores_what_it_cannot_read().await?;
    tour.keeps_the_order_of_arrival().await?;
    tour.outlasts_a_sink_that_is_down().await?;
    tour.rotates_under_load().await?;
    tour.compares_what_arrived().await?;
    tour.books_payments().await?;
    tour.tells_a_person().await?;

    let Tour { service, finkare, books, account, .. } = tour;
    let held = account.conclude()?;
    if keep {
        print(&format!("\nserving on http://{} (admin http://{}) until interrupted", service.public, service.admin))?;
        print(&format!("the books are at {}", books.books.url()))?;
        let _ = tokio::signal::ctrl_c().await;
    }
    service.stop().await;
    finkare.simulator.stop().await;
    Ok(held)
}

/// The demo while it is played: its participants, and what was sent so far. Each act is a method.
struct Tour<'d> {
    directory: &'d Directory,
    target: Arc<Target>,
    service: Service,
    operator: Operator,
    finkare: Finkare,
    books: StandIn,
    mailbox: Mailbox,
    account: Account,
    /// The bodies of the genuine deliveries.
    bodies: Vec<Vec<u8>>,
    /// The ids of their events.
    stored: HashSet<String>,
    /// The ids of the events of one invoice, in the order of arrival.
    mixed: Vec<String>,
    /// The ids of the events that arrived while the company's service was down.
    sick: HashSet<String>,
    /// True as long as each backlog was delivered in time.
    drained: bool,
}

impl<'d> Tour<'d> {
    /// Starts the participants, and registers the webhook.
    async fn begin(directory: &'d Directory) -> anyhow::Result<Self> {
        let sink_secret = generated::webhook_secret();
        let (target, target_address) = Target::start(&sink_secret).await?;
        let books = StandIn::open(System::FacturationPro, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let options = simulator::Options {
            retry_waits: vec![Duration::from_millis(500); 40],
            on_invoice: Some(books.with_each_invoice()),
            ..Default::default()
        };
        let simulator = Simulator::start(options).await.context("the local Finkare did not start")?;
        let begun = Instant::now();
        let (token, master_key) = (generated::admin_token(), generated::master_key());
        let (mailbox, smtp_url) = Mailbox::open().await?;
        let ends =
            Ends { finkare: simulator.api_url().to_string(), company: target_address, books: books.sink(), smtp_url };
        let service = start(directory, &ends, &sink_secret, &token, &master_key).await?;
        print(&format!("finkare-relay {}: a tour", env!("CARGO_PKG_VERSION")))?;
        print(&format!("   a local Finkare      http://{}", simulator.address()))?;
        print(&format!(
            "   the relay            http://{}   (SQLite, ready after {:.0?})",
            service.public,
            begun.elapsed()
        ))?;
        print(&format!("   a company's service  http://{target_address}/events"))?;
        print(&format!("   its books            {}   (a stand-in of Facturation.PRO)", books.books.url()))?;
        let to = format!("http://{}", service.public).parse().context("an address makes a URL")?;
        simulator.set_deliver_to(to).context("the local Finkare does not deliver there")?;
        let operator = Operator { http: client::http()?, url: format!("http://{}/api/v1", service.admin), token };

        let mut account = Account { promises: Vec::new() };
        let finkare = register(simulator, &service, &operator, &mut account).await?;
        Ok(Self {
            directory,
            target,
            service,
            operator,
            finkare,
            books,
            mailbox,
            account,
            bodies: Vec::new(),
            stored: HashSet::new(),
            mixed: Vec::new(),
            sick: HashSet::new(),
            drained: true,
        })
    }

    /// Genuine deliveries.
    async fn accepts(&mut self) -> anyhow::Result<()> {
        heading("1. Genuine deliveries: verified, stored, acknowledged, relayed")?;
        self.bodies = (0..200_u64).map(|n| payment(usize::try_from(n).unwrap_or(0) % INVOICES, n)).collect();
        let answers = deliver_all(&self.finkare, &self.bodies).await?;
        let mut took: Vec<_> = answers.iter().map(|answer| answer.took).collect();
        took.sort_unstable();
        self.stored = answers.iter().map(|answer| answer.id.clone()).collect();
        self.account.note(
            "genuine deliveries are acknowledged",
            answers.iter().all(|answer| answer.status == 200 && !answer.duplicate)
                && self.stored.len() == self.bodies.len(),
            format!("{} acknowledged, half of them within {:.1?}", answers.len(), took[took.len() / 2]),
        )?;
        Ok(())
    }

    /// The same deliveries again.
    async fn recognises_repetitions(&mut self) -> anyhow::Result<()> {
        heading("2. The same again, at the same moment: one event, once")?;
        let repeated: Vec<_> =
            self.bodies.iter().take(50).flat_map(|body| [body.clone(), body.clone(), body.clone()]).collect();
        let answers = deliver_all(&self.finkare, &repeated).await?;
        self.account.note(
            "a repeated delivery is stored once",
            answers.iter().all(|answer| answer.status == 200 && answer.duplicate && self.stored.contains(&answer.id)),
            format!("{} repetitions acknowledged with the first one's id", answers.len()),
        )?;
        Ok(())
    }

    /// Deliveries with a wrong signature or none, a changed one, and one that is too large.
    async fn rejects_forgeries(&mut self) -> anyhow::Result<()> {
        heading("3. Forged, altered and oversized deliveries: refused, nothing stored")?;
        let before = count_events(&self.service).await?;
        let body = payment(0, 900);
        let mut altered = body.clone();
        altered.extend_from_slice(b" ");
        let forged = [
            self.finkare.post(body.clone(), Some(finkare::sign(&Secret::new("whsec_guess"), &body))).await?,
            self.finkare.post(body.clone(), None).await?,
            self.finkare.post(altered, Some(self.finkare.sign(&body)?)).await?,
            self.finkare.post(body.clone(), Some("zz".repeat(32))).await?,
        ];
        let large = vec![b'x'; 2 * 1024 * 1024];
        let large = self.finkare.deliver(&large).await?;
        self.account.note(
            "forged input changes nothing",
            forged.iter().all(|answer| answer.status == 401)
                && large.status == 413
                && count_events(&self.service).await? == before,
            format!("{} forged: 401; 2 MiB: {}; events stored: {before} before and after", forged.len(), large.status),
        )?;
        Ok(())
    }

    /// A signed delivery that is not JSON.
    async fn stores_what_it_cannot_read(&mut self) -> anyhow::Result<()> {
        heading("4. Signed, but not readable: stored for a person, never thrown away")?;
        let unreadable = self.finkare.deliver(b"{\"event\": what is this?").await?;
        let kept = self.service.store().event(unreadable.id.parse().context("no id was answered")?).await?;
        self.account.note(
            "genuine input is never thrown away",
            unreadable.status == 200 && kept.is_some_and(|kept| !kept.event.readable && kept.payload.is_some()),
            "acknowledged, stored, marked unreadable".to_owned(),
        )?;
        Ok(())
    }

    /// Events of one invoice whose timestamps are not in the order of arrival.
    async fn keeps_the_order_of_arrival(&mut self) -> anyhow::Result<()> {
        heading("5. Out of order: relayed in the order of arrival, whatever the timestamps say")?;
        for (number, minutes_ago) in [(1_u64, 1), (2, 30), (3, 5), (4, 60)] {
            let data = json!({"invoiceId": MIXED, "amountCents": 100, "number": number});
            let timestamp = clock::now() - jiff::SignedDuration::from_mins(minutes_ago);
            self.mixed.push(self.finkare.deliver(&send::body("payment.received", &data, timestamp)).await?.id);
        }
        wait_until_drained(&self.service).await?;
        self.account.note(
            "events are relayed in the order of arrival",
            self.target.ids_of(MIXED) == self.mixed,
            format!("{} events of one invoice, none held back, none reordered", self.mixed.len()),
        )?;
        Ok(())
    }

    /// An outage of the company's service.
    async fn outlasts_a_sink_that_is_down(&mut self) -> anyhow::Result<()> {
        heading("6. The company's service goes down; Finkare does not wait")?;
        self.target.down.store(true, Relaxed);
        let down = Instant::now();
        let mut slowest = Duration::ZERO;
        // Each invoice's events one after the other, all invoices side by side.
        let results: Vec<anyhow::Result<Vec<Answer>>> = stream::iter(0..INVOICES)
            .map(|invoice| {
                let finkare = &self.finkare;
                async move {
                    let mut answers = Vec::new();
                    for number in 0..PER_INVOICE as u64 {
                        answers.push(finkare.deliver(&payment(invoice, 1000 + number)).await?);
                    }
                    Ok(answers)
                }
            })
            .buffer_unordered(16)
            .collect()
            .await;
        for answer in results.into_iter().collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten() {
            ensure!(answer.status == 200, "a delivery was answered {} while a sink was down", answer.status);
            slowest = slowest.max(answer.took);
            self.sick.insert(answer.id);
        }
        self.account.note(
            "a sink that is down does not delay acknowledgements",
            self.sick.len() == INVOICES * PER_INVOICE,
            format!("{} acknowledged during that time, the slowest within {slowest:.1?}", self.sick.len()),
        )?;
        tokio::time::sleep_until((down + DOWN).into()).await;
        print(&format!(
            "   … it refused {} attempts and is back after {:.1?}",
            self.target.refused.load(Relaxed),
            down.elapsed()
        ))?;
        self.target.down.store(false, Relaxed);
        let begun = Instant::now();
        self.drained &= wait_until_drained(&self.service).await?;
        print(&format!("   … its backlog is delivered after {:.1?}", begun.elapsed()))?;
        Ok(())
    }

    /// Rotations, one of which loses its answer.
    async fn rotates_under_load(&mut self) -> anyhow::Result<()> {
        heading("7. The secret is rotated under load")?;
        let rotated = rotate_under_load(&self.finkare, &self.operator).await?;
        self.account.note(
            "a rotation drops no delivery",
            rotated.first_try == rotated.deliveries,
            format!(
                "{} rotations, one of them answered 1 s late, during {} deliveries: {} acknowledged at the first try",
                rotated.rotations, rotated.deliveries, rotated.first_try
            ),
        )?;
        let old = self.finkare.secret()?;
        let healed = lose_an_answer(&self.finkare, &self.operator).await?;
        self.account.note(
            "a lost answer is healed",
            healed.told == 502 && healed.acknowledged == healed.deliveries && healed.refused == 0,
            format!(
                "Finkare changed the secret and its answer was lost: healed after {:.1?}; {} deliveries during that time, {} had to \
                 be retried, none was rejected permanently",
                healed.after, healed.deliveries, healed.again
            ),
        )?;
        let body = payment(0, 900);
        let forged = self.finkare.post(body.clone(), Some(finkare::sign(&Secret::new("whsec_guess"), &body))).await?;
        let overlap = self.finkare.post(body.clone(), Some(finkare::sign(&old, &body))).await?;
        self.account.note(
            "the previous secret stays valid for the overlap",
            overlap.status == 200 && matches!(forged.status, 401 | 503),
            format!("signed with the previous one: {}; forged: {}", overlap.status, forged.status),
        )?;
        let secrets = [old, self.finkare.secret()?];
        let database = std::fs::read(self.directory.0.join("relay.db"))?;
        let log = std::fs::read(self.directory.0.join("relay.db-wal")).unwrap_or_default();
        let leaked = secrets.iter().any(|secret| holds(&database, secret) || holds(&log, secret));
        self.account.note("no secret is in the database in clear", !leaked, "every byte was searched".to_owned())?;
        self.drained &= wait_until_drained(&self.service).await?;
        Ok(())
    }

    /// Every event, as the company's service received it.
    async fn compares_what_arrived(&mut self) -> anyhow::Result<()> {
        heading("8. What arrived")?;
        let arrived = self.target.ids();
        let acknowledged: HashSet<_> = self.stored.iter().chain(&self.sick).chain(&self.mixed).cloned().collect();
        self.account.note(
            "nothing acknowledged is lost",
            self.drained && acknowledged.is_subset(&arrived),
            format!(
                "{} of {} acknowledged events arrived",
                acknowledged.intersection(&arrived).count(),
                acknowledged.len()
            ),
        )?;
        let stored = count_events(&self.service).await?;
        self.account.note(
            "every event arrives under one id",
            arrived.len() + 1 == stored,
            format!(
                "{} events stored, {} arrived: all but the unreadable one, which no sink asks for",
                stored,
                arrived.len()
            ),
        )?;
        self.account.note(
            "order per invoice",
            self.target.is_in_order(),
            format!("{INVOICES} invoices, each in order"),
        )?;
        let same_bytes = self.target.has_all(&self.bodies);
        self.account.note(
            "bodies arrive unchanged and signed",
            same_bytes && self.target.badly_signed.load(Relaxed) == 0,
            "compared byte for byte, every signature verified".to_owned(),
        )?;
        Ok(())
    }
}

impl Tour<'_> {
    /// A payment that fits, delivered twice; and one that does not.
    async fn books_payments(&mut self) -> anyhow::Result<()> {
        heading("9. A payment comes into the books")?;
        let simulator = &self.finkare.simulator;
        let wanted = json!({"url": BOOKED_URL, "events": ["payment.received"]});
        let (status, answer) = self.operator.post("/endpoints/accounting/register", &wanted).await?;
        ensure!(status == 200, "registering the webhook for the books was answered {status}: {answer}");
        // Each delivery comes a second time at the same moment.
        simulator.set_faults(Faults { repeats: 1, ..Faults::default() }).context("the fault is not known")?;
        let invoice = simulator.create_invoice(Some("F-2026-042"), Some(150_000))?;
        let payment = simulator.pay(invoice.id, NewPayment::default())?;
        simulator.settled().await;
        self.drained &= wait_until_drained(&self.service).await?;
        let booked: Vec<_> =
            self.books.books.entries().into_iter().map(|entry| (entry.marker, entry.thousandths)).collect();
        let reference = format!("finkare:{}", payment.id);
        self.account.note(
            "a payment is booked once, to the cent, however often it is delivered",
            booked == [(Some(reference.clone()), payment.amount_cents * 10)],
            format!(
                "{} on invoice {}: delivered twice, in the books {} with the reference {reference}",
                Cents(payment.amount_cents).of("EUR"),
                invoice.number,
                if booked.len() == 1 { "once".to_owned() } else { format!("{} times", booked.len()) },
            ),
        )?;

        heading("10. A payment that does not fit is held for a person, with the reason")?;
        let invoice = simulator.create_invoice(Some("F-2026-043"), Some(80_000))?;
        let too_much = NewPayment { amount_cents: Some(90_000), ..NewPayment::default() };
        let payment = simulator.pay(invoice.id, too_much)?;
        simulator.settled().await;
        simulator.set_faults(Faults::default()).context("there are no faults")?;
        self.drained &= wait_until_drained(&self.service).await?;
        let held = self.operator.get("/dispatches?sink=books&state=held").await?;
        let reasons: Vec<&str> =
            held["data"].as_array().into_iter().flatten().filter_map(|row| row["last_error"].as_str()).collect();
        self.account.note(
            "what is not certain is not booked, and the reason says what to do",
            self.drained
                && self.books.books.entries().len() == 1
                && matches!(reasons[..], [reason] if reason.contains("900.00 EUR") && reason.contains("800.00 EUR")),
            format!(
                "{} on invoice {} of {}: not booked, and held",
                Cents(payment.amount_cents).of("EUR"),
                invoice.number,
                Cents(invoice.amount_cents).of("EUR")
            ),
        )?;
        for reason in reasons {
            print(&wrapped(&plain(reason), WIDTH, INDENT, INDENT))?;
        }
        let complaints = self.books.books.complaints();
        self.account.note(
            "no call broke the rules of the books",
            complaints.is_empty(),
            match complaints.first() {
                None => "every call was one that Facturation.PRO documents".to_owned(),
                Some(complaint) => complaint.clone(),
            },
        )?;
        Ok(())
    }
}

impl Tour<'_> {
    /// The mail of the payment that is held, as the company reads it.
    async fn tells_a_person(&mut self) -> anyhow::Result<()> {
        heading("11. A mail says that somebody is needed; here to a company that reads French")?;
        let begun = Instant::now();
        let mut mails = self.mailbox.mails();
        while mails.is_empty() && begun.elapsed() < MAILED_WITHIN {
            tokio::time::sleep(Duration::from_millis(50)).await;
            mails = self.mailbox.mails();
        }
        let names_it = |mail: &Mail| mail.text.contains("900,00") || mail.text.contains("900.00");
        self.account.note(
            "a person is told what is held",
            matches!(&mails[..], [mail] if names_it(mail)),
            match &mails[..] {
                [] => format!("no mail came within {MAILED_WITHIN:?}"),
                [mail] => format!("one mail to {}", mail.to),
                more => format!("{} mails", more.len()),
            },
        )?;
        for mail in mails {
            print(&format!("      Subject: {}", plain(&mail.subject)))?;
            print("")?;
            for line in mail.text.lines() {
                print(&wrapped(&plain(line), WIDTH, INDENT, INDENT))?;
            }
        }
        Ok(())
    }
}

/// Registers the webhook twice, and answers how deliveries to it are made.
async fn register(
    simulator: Simulator,
    service: &Service,
    operator: &Operator,
    account: &mut Account,
) -> anyhow::Result<Finkare> {
    heading("0. The webhook is registered at Finkare, which shows its secret once")?;
    let wanted = json!({"url": PUBLIC_URL, "events": ["payment.received", "invoice.status_changed"]});
    let (first, second) = (
        operator.post("/endpoints/demo/register", &wanted).await?,
        operator.post("/endpoints/demo/register", &wanted).await?,
    );
    let webhooks = simulator.webhooks();
    account.note(
        "registering creates one webhook, however often it is requested",
        first.0 == 200
            && first.1["created"] == true
            && second.0 == 200
            && second.1["created"] == false
            && webhooks.len() == 1,
        format!(
            "asked twice, created once; the secret is stored encrypted, its fingerprint is {}",
            first.1["fingerprint"].as_str().unwrap_or("missing")
        ),
    )?;
    Ok(Finkare {
        http: client::http()?,
        url: format!("http://{}/webhooks/finkare", service.public),
        webhook: webhooks.first().context("Finkare has no webhook")?.id,
        simulator,
    })
}

/// The result of the rotations under load.
struct Rotated {
    rotations: u32,
    deliveries: u64,
    first_try: u64,
}

/// Rotates three times while Finkare delivers without a pause.
async fn rotate_under_load(finkare: &Finkare, operator: &Operator) -> anyhow::Result<Rotated> {
    let simulator = &finkare.simulator;
    let before = simulator.counters();
    let rotating = async {
        for answer_delay_ms in [0, 1000, 0] {
            let faults = Faults { rotation_answer_delay_ms: answer_delay_ms, ..Faults::default() };
            simulator.set_faults(faults).context("the fault is not known")?;
            let (status, answer) = operator.post("/endpoints/demo/rotate-secret", &json!({})).await?;
            ensure!(status == 200, "a rotation was answered {status}: {answer}");
        }
        anyhow::Ok(3)
    };
    let rotations = deliver_meanwhile(simulator, rotating).await?;
    simulator.settled().await;
    let after = simulator.counters();
    let deliveries = after.deliveries - before.deliveries;
    let again = (after.attempts - before.attempts) - deliveries;
    let lost = deliveries - (after.acknowledged - before.acknowledged);
    Ok(Rotated { rotations, deliveries, first_try: deliveries - again.min(deliveries) - lost })
}

/// The result of a lost answer.
struct Healed {
    told: u16,
    after: Duration,
    deliveries: u64,
    acknowledged: u64,
    again: u64,
    refused: u64,
}

/// Finkare changes the secret and its answer is lost; the relay asks again by itself.
async fn lose_an_answer(finkare: &Finkare, operator: &Operator) -> anyhow::Result<Healed> {
    let simulator = &finkare.simulator;
    let before = simulator.counters();
    let faults = Faults { lost_rotations: 1, ..Faults::default() };
    simulator.set_faults(faults).context("the fault is not known")?;
    let begun = Instant::now();
    let losing = async {
        let (told, _) = operator.post("/endpoints/demo/rotate-secret", &json!({})).await?;
        // Changed once by the lost rotation, and once more by the healing one.
        while simulator.counters().rotations < before.rotations + 2 {
            ensure!(begun.elapsed() < PATIENCE, "the lost answer was not healed within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok((told, begun.elapsed()))
    };
    let (told, after) = deliver_meanwhile(simulator, losing).await?;
    simulator.settled().await;
    let now = simulator.counters();
    let deliveries = now.deliveries - before.deliveries;
    let refused = now.failed - before.failed;
    let again = (now.attempts - before.attempts) - deliveries;
    Ok(Healed { told, after, deliveries, acknowledged: now.acknowledged - before.acknowledged, again, refused })
}

/// Makes Finkare deliver payments without a pause for as long as the work takes.
async fn deliver_meanwhile<T>(
    simulator: &Simulator,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let load = async {
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        for number in 5000_u64.. {
            pace.tick().await;
            let data = json!({"invoiceId": format!("invoice-rotation-{}", number % 20), "amountCents": number});
            // There are too many open deliveries: the relay is slower than the load, which waits for it.
            if simulator.emit("payment.received", &data).is_err() {
                simulator.settled().await;
            }
        }
    };
    tokio::select! {
        done = work => done,
        () = load => bail!("the load ended unexpectedly"),
    }
}

fn holds(bytes: &[u8], secret: &Secret) -> bool {
    bytes.windows(secret.expose().len()).any(|part| part == secret.expose().as_bytes())
}

/// What the relay stands between.
struct Ends {
    /// The base URL of Finkare's API.
    finkare: String,
    /// The company's service.
    company: SocketAddr,
    /// The sink of the company's books, as TOML.
    books: String,
    /// The server of the company's mails.
    smtp_url: String,
}

async fn start(
    directory: &Directory,
    ends: &Ends,
    sink_secret: &Secret,
    token: &Secret,
    master_key: &Secret,
) -> anyhow::Result<Service> {
    let file = directory.0.join("relay.toml");
    let text = format!(
        r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[store]
url = "sqlite://{database}"

[admin]
tokens = [{{ name = "demo", role = "admin", token = "{token}" }}]

[[endpoints]]
name = "demo"
path = "/webhooks/finkare"
api_key = "fk_test_demo"
api_url = "{finkare}"
api_rate_limit = {{ requests = 20, per_secs = 1 }}

[[endpoints]]
name = "accounting"
path = "/webhooks/accounting"
api_key = "fk_test_demo"
api_url = "{finkare}"
api_rate_limit = {{ requests = 20, per_secs = 1 }}

[[sinks]]
name = "company"
type = "http"
url = "http://{target}/events"
secret = "{sink}"
endpoints = ["demo"]
retry = {{ initial_secs = 0.1, max_secs = 1, give_up_after_secs = 3600 }}
breaker = {{ failures = 10, probe_secs = 0.2 }}

{books}endpoints = ["accounting"]

[[sinks]]
name = "mail"
type = "email"
smtp_url = "{smtp}"
from = "Relais Finkare <relais@example.fr>"
to = ["compta@example.fr"]
language = "fr"
events = ["relay.held"]

[notices]
group_secs = 1
"#,
        database = directory.0.join("relay.db").display(),
        token = token.expose(),
        finkare = ends.finkare,
        target = ends.company,
        books = ends.books,
        smtp = ends.smtp_url,
        sink = sink_secret.expose(),
    );
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let master_key = master_key.clone();
    let load: Loader = Arc::new(move || {
        let mut config = config::load(Some(&file), &|_| None)?;
        config.master_key = Some(master_key.clone());
        Ok(config)
    });
    let config = load().map_err(|problems| anyhow::anyhow!("{problems}"))?;
    Service::start(&config, load).await.context("the relay did not start")
}

async fn deliver_all(finkare: &Finkare, bodies: &[Vec<u8>]) -> anyhow::Result<Vec<Answer>> {
    let answers: Vec<_> = stream::iter(bodies).map(|body| finkare.deliver(body)).buffer_unordered(16).collect().await;
    answers.into_iter().collect()
}

async fn count_events(service: &Service) -> anyhow::Result<usize> {
    let (mut count, mut filter) = (0, EventFilter::default());
    loop {
        let page = service.store().list_events(&filter, 500).await?;
        count += page.rows.len();
        filter.before = page.rows.last().map(|event| event.id);
        if !page.more {
            return Ok(count);
        }
    }
}

async fn wait_until_drained(service: &Service) -> anyhow::Result<bool> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let statuses = service.store().sink_statuses().await?;
        if statuses.iter().all(|status| status.pending + status.leased == 0) {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(false)
}
