//! The options that all invoicing sinks have in common.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use jiff::tz::TimeZone;
use outgoing::Egress;
use serde_json::json;
use url::Url;

use super::number::Numbering;
use crate::{
    model::secret::has_split_password,
    options::{problem::listed, section::Section},
};

/// How a payment may have been made, as Finkare documents it (<https://docs.finkare.io/api-reference/payments>), and the
/// word for all other methods.
pub(super) const METHODS: [&str; 5] = ["card", "bank_transfer", "sepa_debit", "payment_link", "other"];
/// Thirty days.
const LONGEST_SECS: u64 = 2_592_000;

/// A system's defaults for the options that all invoicing sinks have.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// The vendor's address.
    pub base_url: &'static str,
    /// The time zone of the system's users, by its IANA name.
    pub zone: &'static str,
    /// Call limits: how many, and in how many seconds.
    pub limits: &'static [(u32, u32)],
    /// The actions that `status_map` may name. Empty where a status is only compared: then any word is allowed.
    pub actions: &'static [&'static str],
}

/// Options of every invoicing sink, beside its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// Where the API is: `http` or `https`, without user, query and fragment.
    pub base_url: Url,
    /// In which time zone a payment's time becomes a day.
    pub timezone: TimeZone,
    /// Derives the invoice's number in the system from Finkare's.
    pub number: Numbering,
    /// What to do when Finkare reports that an invoice has reached a status; by the status.
    pub status_map: BTreeMap<String, String>,
    /// After a write whose outcome is unknown: how long to wait, in seconds, beside the time-out of the attempt that
    /// wrote, before anything is written again. The request may still be on its way.
    pub settle_secs: u64,
    /// How long a missing invoice is waited for, in seconds, before a person is asked; it may be new.
    pub not_found_secs: u64,
    /// How often held payments are checked again, in seconds, where they may be settled without telling the relay.
    pub recheck_secs: u64,
    /// What to do if the books already have a payment of the same amount that the relay did not book.
    pub on_same_amount: OnSameAmount,
    /// Call limits, all of which apply, per process.
    pub api_limits: Vec<ApiLimit>,
    /// How calls leave. This is not an option of the sink; it follows from the section `[outgoing]`.
    pub egress: Egress,
}

/// What to do where the books already hold a payment of the same amount, dated near the one that is to be booked, which
/// the relay did not book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnSameAmount {
    /// A person looks: it may be the same money.
    #[default]
    Hold,
    /// It is another payment.
    Book,
}

/// At most this many calls in this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiLimit {
    /// The number of calls.
    pub requests: NonZeroU32,
    /// The period, in seconds.
    pub per_secs: NonZeroU32,
}

impl Common {
    /// The values that apply if the operator sets none of these options.
    pub fn by_default(defaults: &Defaults) -> Self {
        Self {
            base_url: Url::parse(defaults.base_url).expect("the vendor's address is a URL"),
            timezone: TimeZone::get(defaults.zone).expect("the time zones are compiled in"),
            number: Numbering::default(),
            status_map: BTreeMap::new(),
            settle_secs: 60,
            not_found_secs: 3600,
            recheck_secs: 21_600,
            on_same_amount: OnSameAmount::default(),
            api_limits: limits(defaults).collect(),
            egress: Egress::default(),
        }
    }

    /// Reads these options. `None` after a problem, which is reported.
    pub(super) fn read(section: &mut Section<'_>, defaults: &Defaults, egress: &Egress) -> Option<Self> {
        let otherwise = Self::by_default(defaults);
        let base_url = base_url(section, defaults);
        let timezone = section
            .key("timezone", "The time zone in which the day of a payment is determined.")
            .allowed("an IANA name")
            .text_or(defaults.zone);
        let timezone = TimeZone::get(&timezone)
            .map_err(|_| {
                let what = format!("`{timezone}` is not a time zone: write, for example, `Europe/Paris`");
                section.problem("timezone", what);
            })
            .ok();
        let number = section
            .key(
                "number",
                "Derives the invoice's number there from Finkare's, for example `invoice.number | replace('INV', 'FA')`.",
            )
            .allowed("an expression over `invoice` (`number`, `id`, `currency`, `status`)")
            .otherwise("the same number")
            .text();
        let number = Numbering::new(number.as_deref()).map_err(|problem| section.problem("number", problem)).ok();
        let status_map = status_map(section, defaults);
        let settle_secs = section
            .key(
                "settle_secs",
                "After a write whose outcome is unknown, the relay waits for the `timeout_secs` of the process that sent \
                 it plus this time, in seconds, before it may write again. It has no effect where nothing is written \
                 (`tiime`, `fastfaktura`).",
            )
            .whole_or(1..=3600, otherwise.settle_secs);
        let not_found_secs = section
            .key(
                "not_found_secs",
                "How long after its event the relay waits for a missing invoice, in seconds, before it asks a person.",
            )
            .whole_or(0..=LONGEST_SECS, otherwise.not_found_secs);
        let recheck_secs = section
            .key(
                "recheck_secs",
                "How often held payments are checked again, in seconds, where the problem may be solved there without \
                 telling the relay.",
            )
            .whole_or(1..=LONGEST_SECS, otherwise.recheck_secs);
        let on_same_amount = section
            .key(
                "on_same_amount",
                "What to do where the books already have a payment of the same amount that the relay did not book, dated \
                 within the endpoint's `payment_window_days` of this one: `hold` asks a person, `book` records it as \
                 another payment. It has no effect where nothing is written (`tiime`, `fastfaktura`).",
            )
            .word_or(&[("hold", OnSameAmount::Hold), ("book", OnSameAmount::Book)], otherwise.on_same_amount);
        let api_limits = api_limits(section, defaults);
        Some(Self {
            base_url: base_url?,
            timezone: timezone?,
            number: number?,
            status_map,
            settle_secs,
            not_found_secs,
            recheck_secs,
            on_same_amount,
            api_limits,
            egress: egress.clone(),
        })
    }

    /// The call limits, each with its period.
    pub fn limits(&self) -> Vec<(NonZeroU32, Duration)> {
        let per = |limit: &ApiLimit| Duration::from_secs(limit.per_secs.get().into());
        self.api_limits.iter().map(|limit| (limit.requests, per(limit))).collect()
    }
}

/// The address is not a secret, but can be configured like one. A problem with it does not repeat its value, which may
/// contain a password.
fn base_url(section: &mut Section<'_>, defaults: &Defaults) -> Option<Url> {
    let is_given = section.has("base_url");
    let given = section
        .key("base_url", "Where the API is.")
        .allowed("an `http` or `https` address without user and query")
        .by_default(defaults.base_url)
        .secret();
    let Some(given) = given else {
        return if is_given { None } else { Url::parse(defaults.base_url).ok() };
    };
    let wrong = match Url::parse(given.expose()) {
        Err(error) => format!("is not a URL: {error}"),
        Ok(url) if !["http", "https"].contains(&url.scheme()) || !url.has_host() => {
            "does not begin with `https://` or `http://` and a host".to_owned()
        }
        Ok(url)
            if !url.username().is_empty()
                || url.password().is_some()
                || url.query().is_some()
                || url.fragment().is_some()
                || has_split_password(given.expose()) =>
        {
            "has a user, a query or a fragment: write the address alone".to_owned()
        }
        Ok(url) => return Some(url),
    };
    section.problem("base_url", wrong);
    None
}

fn status_map(section: &mut Section<'_>, defaults: &Defaults) -> BTreeMap<String, String> {
    let map = section
        .key(
            "status_map",
            "What to do when Finkare reports that an invoice has reached a status: `nothing`; for `facturation_pro` \
             `note`, a line in the internal note; for `efactori` `paid`; for `tiime` and `fastfaktura` the status that is \
             expected there.",
        )
        .allowed("Finkare's statuses, each with an action")
        .otherwise("nothing")
        .texts_by_name()
        .unwrap_or_default();
    for (status, action) in &map {
        let key = format!("status_map.{status}");
        if defaults.actions.is_empty() {
            if action.trim().is_empty() {
                section.problem(&key, "is empty: write the status that is expected there");
            }
        } else if !defaults.actions.contains(&action.as_str()) {
            section.problem(&key, format!("`{action}` is not one of {}", listed(defaults.actions.iter().copied())));
        }
    }
    map
}

fn limits(defaults: &Defaults) -> impl Iterator<Item = ApiLimit> {
    defaults.limits.iter().filter_map(|(requests, secs)| {
        Some(ApiLimit { requests: NonZeroU32::new(*requests)?, per_secs: NonZeroU32::new(*secs)? })
    })
}

fn api_limits(section: &mut Section<'_>, defaults: &Defaults) -> Vec<ApiLimit> {
    let shown = |limit: ApiLimit| json!({"requests": limit.requests, "per_secs": limit.per_secs});
    let given = section
        .key(
            "api_limits",
            "Call limits, all of which apply, per process: divide them among several processes. The defaults are the limits \
             that the vendor documents, or a careful guess where nothing is documented.",
        )
        .by_default(limits(defaults).map(shown).collect::<Vec<_>>())
        .tables_if_set();
    let Some(given) = given else { return limits(defaults).collect() };
    if given.is_empty() {
        section.problem("api_limits", "is empty: leave it out for the documented limits");
    }
    let read = given.into_iter().filter_map(|mut limit| {
        let required = "write { requests = 600, per_secs = 300 } for 600 calls in 5 minutes";
        let all = NonZeroU32::MIN..=NonZeroU32::MAX;
        let requests = limit.key("requests", "The number of calls.").required(required).whole(all.clone());
        let per_secs = limit.key("per_secs", "The period, in seconds.").required(required).whole(all);
        limit.finish();
        Some(ApiLimit { requests: requests?, per_secs: per_secs? })
    });
    read.collect()
}
