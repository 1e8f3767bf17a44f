//! The options that all invoicing sinks have in common.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use outgoing::Egress;
use serde::Deserialize;

/// Options of every invoicing sink, beside its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Common {
    /// In which time zone a payment's time becomes a day: an IANA name. `Europe/Paris`, for eFactori `Europe/Brussels`.
    pub timezone: Option<String>,
    /// An expression that makes the number in the system of `invoice.number` (Finkare's); the same by default.
    pub number: Option<String>,
    /// What to do when Finkare tells that an invoice has come to a status; by the status. Nothing by default.
    #[serde(default)]
    pub status_map: BTreeMap<String, String>,
    /// After a write of which nobody knows what became of it, nothing is written again for so long, even if the
    /// payment is not there: the request may still be on its way.
    #[serde(default = "Common::default_settle_secs")]
    pub settle_secs: u64,
    /// How long an invoice that is not there is waited for before a person is asked; it may be new.
    #[serde(default = "Common::default_not_found_secs")]
    pub not_found_secs: u64,
    /// How often what is held is looked at again, where it may be settled without telling us.
    #[serde(default = "Common::default_recheck_secs")]
    pub recheck_secs: u64,
    /// What a payment of the same amount means that stands in the books already, and not by us. Only where the books can
    /// be read.
    #[serde(default)]
    pub on_same_amount: OnSameAmount,
    /// At most so many calls in such a time, each of them, in this process; the system's documented limits by default.
    pub api_limits: Option<Vec<ApiLimit>>,
    /// How calls leave. It is no option of the sink, but follows from the section `[outgoing]`.
    #[serde(skip)]
    pub egress: Egress,
}

/// What to do where the books already hold a payment of the same amount, dated near the one that is to be booked, which
/// we did not book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSameAmount {
    /// A person looks: it may be the same money.
    #[default]
    Hold,
    /// It is another payment.
    Book,
}

/// At most so many calls in such a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiLimit {
    /// How many.
    pub requests: NonZeroU32,
    /// In which time, in seconds.
    pub per_secs: NonZeroU32,
}

impl Common {
    const fn default_settle_secs() -> u64 {
        60
    }

    const fn default_not_found_secs() -> u64 {
        3600
    }

    const fn default_recheck_secs() -> u64 {
        21_600
    }

    /// The limits, or else these.
    pub fn limits(&self, otherwise: &[(u32, u32)]) -> Vec<(NonZeroU32, Duration)> {
        let per = |secs: u32| Duration::from_secs(secs.into());
        match &self.api_limits {
            Some(limits) => limits.iter().map(|limit| (limit.requests, per(limit.per_secs.get()))).collect(),
            None => otherwise
                .iter()
                .filter_map(|(requests, secs)| Some((NonZeroU32::new(*requests)?, per(*secs))))
                .collect(),
        }
    }
}

impl Default for Common {
    fn default() -> Self {
        Self {
            timezone: None,
            number: None,
            status_map: BTreeMap::new(),
            settle_secs: Self::default_settle_secs(),
            not_found_secs: Self::default_not_found_secs(),
            recheck_secs: Self::default_recheck_secs(),
            on_same_amount: OnSameAmount::default(),
            api_limits: None,
            egress: Egress::default(),
        }
    }
}
