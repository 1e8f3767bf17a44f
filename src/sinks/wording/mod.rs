//! What an event says to a person: for mails and chats, in French or English.
//!
//! [`tell`] turns a message into a title, a sentence, facts and what to do. What is not known is left out, and never
//! invented: Finkare's `payment.received` names an invoice's id and an amount; with `enrich` there are also the number of
//! the invoice, the debtor, the method and the date.

use std::fmt::Write as _;

use finkare::PaidAt;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value};

use self::format::{bounded, date, moment, money};
use super::Message;
use crate::{
    french,
    model::{
        dispatch::Trigger,
        event::{PAYMENT_RECEIVED, UNREADABLE},
        money::Cents,
        notice::NoticeType,
        reconciliation::DifferenceKind,
    },
    options::section::Section,
};

pub use crate::model::language::Language;

pub mod causes;
pub mod format;

/// Who reads it: how amounts, dates and words are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// The language.
    pub language: Language,
    /// The time zone of dates and times.
    pub timezone: TimeZone,
    /// The currency of amounts whose event names none; `None`: such amounts are written without one. Finkare's deliveries
    /// name no currency in the examples that are documented (<https://docs.finkare.io/guides/webhook-setup>).
    pub currency: Option<String>,
}

/// The default of `timezone`.
const TIMEZONE: &str = "Europe/Paris";
/// The default of `currency`.
const CURRENCY: &str = "EUR";

impl Default for Reader {
    fn default() -> Self {
        Self {
            language: Language::Fr,
            timezone: TimeZone::get(TIMEZONE).unwrap_or(TimeZone::UTC),
            currency: Some(CURRENCY.to_owned()),
        }
    }
}

impl Reader {
    /// Reads the options `language`, `timezone` and `currency` of a sink.
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        let language = section
            .key("language", "The language of words, amounts and dates.")
            .word_or(&[("fr", Language::Fr), ("en", Language::En)], Language::Fr);
        let name = section
            .key("timezone", "The time zone of dates and times.")
            .allowed("a name such as `Europe/Paris`")
            .text_or(TIMEZONE);
        let timezone = TimeZone::get(&name);
        if timezone.is_err() {
            section.problem("timezone", format!("`{name}` is not a time zone: write it like \"{TIMEZONE}\""));
        }
        let currency = section
            .key("currency", "The currency of amounts whose event names none; empty: such amounts have none.")
            .allowed("three capital letters, or nothing")
            .text_or(CURRENCY);
        let is_code = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
        if !is_code && !currency.is_empty() {
            section.problem(
                "currency",
                format!("`{currency}` is not a currency: write three capital letters, like \"EUR\""),
            );
            return None;
        }
        let timezone = timezone.ok()?;
        Some(Self { language, timezone, currency: Some(currency).filter(|currency| !currency.is_empty()) })
    }

    /// An amount as this reader writes it.
    pub fn money(&self, cents: Cents, currency: Option<&str>) -> String {
        money(cents, currency.or(self.currency.as_deref()), self.language)
    }

    /// A day and a time as this reader writes it.
    pub fn moment(&self, at: Timestamp) -> String {
        moment(at, &self.timezone, self.language)
    }

    /// The French or the English text.
    const fn pick(&self, fr: &'static str, en: &'static str) -> &'static str {
        self.language.pick(fr, en)
    }
}

/// One fact: `Montant : 1 500,00 €`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub label: &'static str,
    /// Its value.
    pub value: String,
}

/// What an event says to a person. All texts are plain, without control characters, and of bounded length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// One line: the subject of a mail.
    pub title: String,
    /// More than the title says.
    pub sentence: Option<String>,
    /// The facts, the most important first.
    pub facts: Vec<Fact>,
    /// What to do.
    pub advice: Option<String>,
}

impl Told {
    /// As plain text: the title is not part of it.
    pub fn text(&self, language: Language) -> String {
        let mut text = String::new();
        if let Some(sentence) = &self.sentence {
            let _ = writeln!(text, "{sentence}\n");
        }
        for Fact { label, value } in &self.facts {
            let _ = writeln!(text, "{label}{}{value}", colon(language));
        }
        if let Some(advice) = &self.advice {
            let _ = writeln!(text, "\n{advice}");
        }
        text
    }
}

/// Between a label and its value; French has a space before the colon.
pub const fn colon(language: Language) -> &'static str {
    match language {
        Language::Fr => "\u{a0}: ",
        Language::En => ": ",
    }
}

/// Says what a message is about.
pub fn tell(message: &Message, reader: &Reader) -> Told {
    let body: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
    let mut telling = Telling { message, reader, data: &body["data"], told: Told::empty() };
    telling.tell();
    let Told { title, sentence, facts, advice } = telling.told;
    Told {
        title: bounded(&title, 200),
        sentence: sentence.map(|text| bounded(&text, 1000)),
        facts: facts.into_iter().map(|fact| Fact { value: bounded(&fact.value, 1000), ..fact }).collect(),
        advice: advice.map(|text| bounded(&text, 500)),
    }
}

impl Told {
    const fn empty() -> Self {
        Self { title: String::new(), sentence: None, facts: Vec::new(), advice: None }
    }
}

/// The kinds of differences in words.
const DIFFERENCES: [(DifferenceKind, &str, &str); 8] = [
    (DifferenceKind::NeverAnnounced, "Paiements jamais annoncés", "Payments never announced"),
    (DifferenceKind::UnknownPayment, "Annonces sans paiement chez Finkare", "Announced, and not at Finkare"),
    (DifferenceKind::AmountDiffers, "Montants différents", "Amounts that differ"),
    (DifferenceKind::NotBooked, "Paiements non comptabilisés", "Payments not booked"),
    (DifferenceKind::Held, "Paiements à décider", "Payments held"),
    (DifferenceKind::Dead, "Paiements abandonnés", "Payments given up"),
    (DifferenceKind::RefundedAfterBooking, "Remboursés après comptabilisation", "Refunded after booking"),
    (DifferenceKind::NotInBooks, "Disparus des livres", "No longer in the books"),
];

struct Telling<'a> {
    message: &'a Message,
    reader: &'a Reader,
    data: &'a Value,
    told: Told,
}

impl Telling<'_> {
    fn tell(&mut self) {
        if self.message.trigger == Trigger::Test {
            self.told.title = self.reader.pick("Essai du relais Finkare", "Test of the Finkare relay").to_owned();
            self.told.sentence = Some(
                self.reader
                    .pick(
                        "Ce message est un essai : aucun événement n’a eu lieu.",
                        "This message is a test: nothing has happened.",
                    )
                    .to_owned(),
            );
            return self.when();
        }
        let own = NoticeType::ALL.iter().find(|kind| kind.as_str() == self.message.event_type);
        match (own, self.message.event_type.as_str()) {
            (Some(kind), _) => self.own(*kind),
            (None, PAYMENT_RECEIVED) => self.payment(),
            (None, "payment.failed") => self.payment_failed(),
            (None, "invoice.status_changed") => self.status(),
            (None, "invoice.created") => self.invoice_event("Facture créée", "Invoice created"),
            (None, "invoice.updated") => self.invoice_event("Facture modifiée", "Invoice changed"),
            (None, UNREADABLE) => {
                self.told.title =
                    self.reader.pick("Livraison de Finkare illisible", "Unreadable delivery of Finkare").to_owned();
                self.told.sentence = Some(
                    self.reader
                        .pick(
                            "Une livraison authentique n’a pas pu être lue. Elle est conservée.",
                            "A genuine delivery could not be read. It is kept.",
                        )
                        .to_owned(),
                );
                self.event_facts();
            }
            (None, other) => {
                self.told.title = match self.reader.language {
                    Language::Fr => format!("Événement {other}"),
                    Language::En => format!("Event {other}"),
                };
                if let Some(text) = self.text("message") {
                    self.told.sentence = Some(text.to_owned());
                }
                self.invoice_facts();
                self.event_facts();
            }
        }
    }

    fn fact(&mut self, fr: &'static str, en: &'static str, value: impl Into<String>) {
        let (label, value) = (self.reader.pick(fr, en), value.into());
        if !value.is_empty() {
            self.told.facts.push(Fact { label, value });
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.data[name].as_str().filter(|text| !text.trim().is_empty())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.data[name].as_u64()
    }

    /// A time of the relay's own events.
    fn time(&self, name: &str) -> Option<String> {
        let at: Timestamp = self.text(name)?.parse().ok()?;
        Some(self.reader.moment(at))
    }

    /// The amount that the event names.
    fn amount(&self) -> Option<String> {
        let cents = Cents(self.data["amountCents"].as_i64()?);
        Some(self.reader.money(cents, self.currency()))
    }

    fn currency(&self) -> Option<&str> {
        let resolved = self.message.resolved.as_deref();
        let known = resolved.and_then(|resolved| {
            let payment = resolved.payment.as_ref().map(|payment| payment.currency.as_str());
            payment.or_else(|| resolved.invoice.as_ref()?.currency.as_deref())
        });
        known.or_else(|| self.text("currency"))
    }

    fn invoice_number(&self) -> Option<String> {
        let resolved = self.message.resolved.as_deref().and_then(|resolved| resolved.invoice.as_ref());
        resolved.map(|invoice| invoice.number.clone()).or_else(|| self.text("invoiceNumber").map(str::to_owned))
    }

    fn debtor(&self) -> Option<String> {
        let resolved = self.message.resolved.as_deref().and_then(|resolved| resolved.invoice.as_ref());
        resolved.and_then(|invoice| invoice.debtor.clone())
    }

    fn when(&mut self) {
        let at = self.reader.moment(self.message.received_at);
        self.fact("Reçu", "Received", at);
    }

    fn event_facts(&mut self) {
        self.when();
        if let Some(endpoint) = self.message.endpoint() {
            let endpoint = endpoint.to_owned();
            self.fact("Endpoint", "Endpoint", endpoint);
        }
    }

    fn invoice_facts(&mut self) {
        match self.invoice_number() {
            Some(number) => self.fact("Facture", "Invoice", number),
            // Its id is all that is known of it.
            None => {
                if let Some(id) = self.message.invoice_id.clone() {
                    self.fact("Facture (identifiant chez Finkare)", "Invoice (id at Finkare)", id);
                }
            }
        }
        if let Some(debtor) = self.debtor() {
            self.fact("Débiteur", "Debtor", debtor);
        }
    }

    fn payment(&mut self) {
        let (amount, debtor, number) = (self.amount(), self.debtor(), self.invoice_number());
        let french = self.reader.language == Language::Fr;
        let mut title = self.reader.pick("Paiement reçu", "Payment received").to_owned();
        if let Some(amount) = &amount {
            let _ = write!(title, "{}{amount}", colon(self.reader.language));
        }
        if let Some(debtor) = &debtor {
            let _ = if french { write!(title, " {}", format::of(debtor)) } else { write!(title, " from {debtor}") };
        }
        if let Some(number) = &number {
            let _ = if french {
                write!(title, " pour la facture {number}")
            } else {
                write!(title, " for invoice {number}")
            };
        }
        self.told.title = title;
        if let Some(amount) = amount {
            self.fact("Montant", "Amount", amount);
        }
        self.invoice_facts();
        let payment = self.message.resolved.as_deref().and_then(|resolved| resolved.payment.clone());
        if let Some(payment) = payment {
            if let Some(method) = &payment.method {
                let method = match (method.as_str(), french) {
                    ("card", true) => "carte bancaire",
                    ("card", false) => "card",
                    ("bank_transfer", true) => "virement",
                    ("bank_transfer", false) => "bank transfer",
                    ("sepa_debit", true) => "prélèvement SEPA",
                    ("sepa_debit", false) => "SEPA direct debit",
                    ("payment_link", true) => "lien de paiement",
                    ("payment_link", false) => "payment link",
                    (other, _) => other,
                };
                self.fact("Mode de paiement", "Method", method);
            }
            let paid = match payment.paid_at {
                PaidAt::At(at) => self.reader.moment(at),
                PaidAt::On(day) => date(day, self.reader.language),
            };
            self.fact("Payé", "Paid", paid);
        }
        self.event_facts();
    }

    fn payment_failed(&mut self) {
        let mut title = self.reader.pick("Paiement échoué", "Payment failed").to_owned();
        if let Some(amount) = self.amount() {
            let _ = write!(title, "{}{amount}", colon(self.reader.language));
            self.fact("Montant", "Amount", amount);
        }
        self.told.title = title;
        self.invoice_facts();
        self.event_facts();
    }

    /// A status in words; only `in_recovery` is documented, others are quoted as they are.
    fn status_word(&self, status: &str) -> String {
        match (status, self.reader.language) {
            ("in_recovery", Language::Fr) => "en recouvrement".to_owned(),
            ("in_recovery", Language::En) => "in recovery".to_owned(),
            (other, Language::Fr) => format!("«\u{a0}{other}\u{a0}»"),
            (other, Language::En) => format!("“{other}”"),
        }
    }

    fn status(&mut self) {
        let subject = match (self.invoice_number(), self.reader.language) {
            (Some(number), Language::Fr) => format!("La facture {number}"),
            (Some(number), Language::En) => format!("Invoice {number}"),
            (None, Language::Fr) => "Une facture".to_owned(),
            (None, Language::En) => "An invoice".to_owned(),
        };
        let new = self.text("newStatus").map(|status| self.status_word(status));
        self.told.title = match (&new, self.reader.language) {
            (Some(new), Language::Fr) => format!("{subject} est passée à {new}"),
            (Some(new), Language::En) => format!("{subject} is now {new}"),
            (None, Language::Fr) => format!("{subject} a changé de statut"),
            (None, Language::En) => format!("{subject} has changed its status"),
        };
        self.invoice_facts();
        if let Some(before) = self.text("previousStatus").map(|status| self.status_word(status)) {
            self.fact("Statut précédent", "Previous status", before);
        }
        if let Some(new) = new {
            self.fact("Nouveau statut", "New status", new);
        }
        self.event_facts();
    }

    fn invoice_event(&mut self, fr: &'static str, en: &'static str) {
        let mut title = self.reader.pick(fr, en).to_owned();
        if let Some(number) = self.invoice_number() {
            let _ = write!(title, "{}{number}", colon(self.reader.language));
        }
        self.told.title = title;
        self.invoice_facts();
        if let Some(amount) = self.amount() {
            self.fact("Montant", "Amount", amount);
        }
        self.event_facts();
    }

    // --- the relay's own events

    fn own(&mut self, kind: NoticeType) {
        let french = self.reader.language == Language::Fr;
        let sink = self.text("sink").unwrap_or_default().to_owned();
        let endpoint = self.text("endpoint").or(self.message.endpoint()).unwrap_or_default().to_owned();
        let count = self.number("count").unwrap_or(1);
        let differences: u64 =
            self.data["differences"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_u64).sum();
        self.told.title = match (kind, french) {
            (NoticeType::Held, true) => {
                let wait = if count == 1 { "événement attend" } else { "événements attendent" };
                format!("{count} {wait} une décision ({sink})")
            }
            (NoticeType::Held, false) => {
                format!("{count} {} for a decision ({sink})", if count == 1 { "event waits" } else { "events wait" })
            }
            (NoticeType::Dead, true) => {
                let dead = if count == 1 { "événement abandonné" } else { "événements abandonnés" };
                format!("{count} {dead} ({sink})")
            }
            (NoticeType::Dead, false) => {
                format!("{count} {} up ({sink})", if count == 1 { "event was given" } else { "events were given" })
            }
            (NoticeType::SinkPaused, true) => format!("La destination {sink} est en pause"),
            (NoticeType::SinkPaused, false) => format!("Sink {sink} is paused"),
            (NoticeType::SinkTripped, true) => format!("La destination {sink} ne répond plus correctement"),
            (NoticeType::SinkTripped, false) => format!("Sink {sink} has been failing for a while"),
            (NoticeType::SinkRecovered, true) => format!("La destination {sink} fonctionne de nouveau"),
            (NoticeType::SinkRecovered, false) => format!("Sink {sink} works again"),
            (NoticeType::EndpointSilent, true) => format!("Plus aucune livraison de Finkare ({endpoint})"),
            (NoticeType::EndpointSilent, false) => format!("No more deliveries of Finkare ({endpoint})"),
            (NoticeType::EndpointHeard, true) => format!("Les livraisons de Finkare arrivent de nouveau ({endpoint})"),
            (NoticeType::EndpointHeard, false) => format!("Deliveries of Finkare arrive again ({endpoint})"),
            (NoticeType::DeliveriesRefused, true) => {
                let refused = if count == 1 { "livraison refusée" } else { "livraisons refusées" };
                format!("{count} {refused}")
            }
            (NoticeType::DeliveriesRefused, false) => {
                format!("{count} {} refused", if count == 1 { "delivery was" } else { "deliveries were" })
            }
            (NoticeType::RotationDone, true) => format!("Le secret de {endpoint} a été renouvelé"),
            (NoticeType::RotationDone, false) => format!("The secret of {endpoint} was rotated"),
            (NoticeType::RotationFailed, true) => format!("Finkare a refusé de renouveler le secret de {endpoint}"),
            (NoticeType::RotationFailed, false) => format!("Finkare refused to rotate the secret of {endpoint}"),
            (NoticeType::RotationUnknown, true) => format!("Le renouvellement du secret de {endpoint} est incertain"),
            (NoticeType::RotationUnknown, false) => {
                format!("It is not known whether the secret of {endpoint} was rotated")
            }
            (NoticeType::Reconciliation, true) => {
                let differ = if differences == 1 { "écart" } else { "écarts" };
                format!("{differences} {differ} avec Finkare ({endpoint})")
            }
            (NoticeType::Reconciliation, false) => {
                let differ = if differences == 1 { "difference" } else { "differences" };
                format!("{differences} {differ} from Finkare ({endpoint})")
            }
            (NoticeType::ReconciliationEqual, true) => format!("Plus aucun écart avec Finkare ({endpoint})"),
            (NoticeType::ReconciliationEqual, false) => format!("No more differences from Finkare ({endpoint})"),
            (NoticeType::Digest, true) => "Bilan du jour du relais Finkare".to_owned(),
            (NoticeType::Digest, false) => "The Finkare relay’s day".to_owned(),
        };
        if kind == NoticeType::Digest {
            return self.digest();
        }
        // The sentence is English; in French the title and the facts say the same, and the cause is explained.
        if !french {
            self.told.sentence = self.text("message").map(str::to_owned);
        } else if let Some(cause) = self.text("reason").and_then(causes::in_french) {
            self.told.sentence = Some(format!("{} {}", cause.means, cause.to_do));
        }
        if !sink.is_empty() {
            self.fact("Destination", "Sink", sink.clone());
        }
        if !endpoint.is_empty() {
            self.fact("Endpoint", "Endpoint", endpoint);
        }
        if let Some(cents) = self.data["amount_cents"].as_i64() {
            let amount = self.reader.money(Cents(cents), self.text("currency"));
            self.fact("Montant", "Amount", amount);
        }
        if kind == NoticeType::Reconciliation {
            self.differences();
        }
        if let Some(reason) = self.text("reason") {
            let in_french = if french { french::said(reason) } else { None };
            let reason = in_french.unwrap_or_else(|| reason.to_owned());
            self.fact("Raison", "Reason", reason);
        }
        if let Some(cause) = self.text("cause").map(str::to_owned) {
            self.fact("Raison", "Cause", cause);
        }
        if let Some(backlog) = self.number("backlog") {
            self.fact("En attente", "Backlog", backlog.to_string());
        }
        if let Some(since) = self.time("since") {
            self.fact("Depuis", "Since", since);
        }
        if let Some(last) = self.time("last_delivery_at") {
            self.fact("Dernière livraison", "Last delivery", last);
        }
        if let Some(fingerprint) = self.text("fingerprint").map(str::to_owned) {
            self.fact("Empreinte du secret", "Fingerprint", fingerprint);
        }
        let code = match &self.data["code"] {
            Value::Null => String::new(),
            Value::String(code) => code.clone(),
            other => other.to_string(),
        };
        self.fact("Code", "Code", code);
        self.when();
        let to_do = match kind {
            NoticeType::Held => Some((
                "Une personne doit décider : corriger ce que dit la raison, puis relancer, ou annuler",
                "A person has to decide: correct what the reason says and retry, or cancel",
                format!("finkare-relay dispatches list --sink {sink} --state held"),
            )),
            NoticeType::Dead => Some((
                "Corriger la cause, puis relancer",
                "Correct the cause, then retry",
                format!("finkare-relay dispatches list --sink {sink} --state dead"),
            )),
            NoticeType::SinkPaused => Some((
                "Les événements sont conservés. Reprendre l’envoi",
                "The events are kept. Resume with",
                format!("finkare-relay sinks resume {sink}"),
            )),
            NoticeType::SinkTripped => Some((
                "Les événements sont conservés et partiront dès que la destination répondra",
                "The events are kept, and are sent as soon as the target works",
                "finkare-relay sinks list".to_owned(),
            )),
            NoticeType::Reconciliation => Some((
                "Chaque écart est expliqué, avec ce qu’il faut faire, par",
                "Each difference is explained, with what to do, by",
                format!("finkare-relay reconcile --show {}", self.text("id").unwrap_or("ID")),
            )),
            NoticeType::DeliveriesRefused => Some((
                "Vérifier le secret du webhook",
                "Check the webhook's secret",
                "finkare-relay refusals list".to_owned(),
            )),
            _ => None,
        };
        if let Some((fr, en, command)) = to_do {
            let words = self.reader.pick(fr, en);
            self.told.advice = Some(format!("{words}{}{command}", colon(self.reader.language)));
        }
    }

    /// What a reconciliation has found, by kind, and the amounts of several currencies.
    fn differences(&mut self) {
        for row in self.data["amounts"].as_array().into_iter().flatten() {
            let cents = Cents(row["amount_cents"].as_i64().unwrap_or_default());
            let amount = row["currency"]
                .as_str()
                .map_or_else(|| cents.to_string(), |currency| self.reader.money(cents, Some(currency)));
            self.fact("Montant", "Amount", amount);
        }
        for (kind, fr, en) in DIFFERENCES {
            if let Some(count) = self.data["differences"][kind.as_str()].as_u64().filter(|count| *count > 0) {
                self.fact(fr, en, count.to_string());
            }
        }
        if let (Some(since), Some(until)) = (self.text("since"), self.text("until")) {
            let days = [since, until]
                .map(|day| day.parse().map_or_else(|_| day.to_owned(), |day| date(day, self.reader.language)));
            self.fact("Période", "Period", days.join(" – "));
        }
    }

    fn digest(&mut self) {
        let french = self.reader.language == Language::Fr;
        let rows = |name: &str| self.data[name].as_array().cloned().unwrap_or_default();
        let (arrived, booked, waiting) = (rows("arrived"), rows("booked"), rows("waiting"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let (Some(since), Some(until)) = (self.time("since"), self.time("until")) {
            let period = if french { format!("{since} – {until}") } else { format!("{since} to {until}") };
            self.fact("Période", "Period", period);
        }
        for row in &arrived {
            let value = format!("{} × {} ({})", row["events"], text(&row["type"]), text(&row["endpoint"]));
            self.fact("Arrivé", "Arrived", value);
        }
        for row in &booked {
            let cents = Cents(row["amount_cents"].as_i64().unwrap_or_default());
            let amount = self.reader.money(cents, row["currency"].as_str());
            let value = format!("{} × {amount} ({})", row["payments"], text(&row["sink"]));
            let value = value.replacen(" × ", if french { " paiements, " } else { " payments, " }, 1);
            self.fact("Comptabilisé", "Booked", value);
        }
        for row in &waiting {
            let (held, dead, late) = (&row["held"], &row["dead"], &row["late"]);
            let value = if french {
                format!("{}\u{a0}: {held} à décider, {dead} abandonnés, {late} en retard", text(&row["sink"]))
            } else {
                format!("{}: {held} to decide, {dead} given up, {late} late", text(&row["sink"]))
            };
            self.fact("À voir", "To look at", value);
        }
        if arrived.is_empty() && booked.is_empty() && waiting.is_empty() {
            let calm = self.reader.pick("Rien n’est arrivé, et rien n’attend.", "Nothing arrived, and nothing waits.");
            self.told.sentence = Some(calm.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
