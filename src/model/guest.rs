//! What a person without an admin token may look at: the words of a link for guests.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::words::words;

words! {
    /// A page of the dashboard that a link can be for.
    GuestPage {
        /// The statement of a month, with its downloads.
        Statement = "statement",
        /// The payments, from Finkare to the books.
        Payments = "payments",
    }
}

impl GuestPage {
    /// Every one of them.
    pub const ALL: [Self; 2] = [Self::Statement, Self::Payments];
}

/// The id of a link: a UUID v7. It lets nobody in; the link's secret does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct GuestLinkId(pub Uuid);

impl GuestLinkId {
    /// A new id.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for GuestLinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for GuestLinkId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
