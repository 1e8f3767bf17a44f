//! Words whose lists are not closed: a word that the documentation does not name is kept as it came, and breaks nothing.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $word:ident = $text:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$of])* $word,)*
            /// Another word, as it came.
            Other(String),
        }

        impl $name {
            /// The word as Finkare writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$word => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                self.as_str()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$word,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match text.as_str() {
                    $($text => Self::$word,)*
                    _ => Self::Other(text),
                }
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                match word {
                    $name::Other(text) => text,
                    word => word.as_str().to_owned(),
                }
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, text: &str) -> bool {
                self.as_str() == text
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, text: &&str) -> bool {
                self.as_str() == *text
            }
        }
    )*};
}

words! {
    /// The status of an invoice. Only one is documented (<https://docs.finkare.io/guides/sdk-typescript>).
    InvoiceStatus {
        /// `in_recovery`
        InRecovery = "in_recovery",
    }

    /// The status of a payment (<https://docs.finkare.io/api-reference/payments>).
    PaymentStatus {
        /// `pending`: on its way; a SEPA debit may be pending for days.
        Pending = "pending",
        /// `completed`: it has arrived.
        Completed = "completed",
        /// `failed`
        Failed = "failed",
        /// `refunded`
        Refunded = "refunded",
    }

    /// How a payment was made (<https://docs.finkare.io/api-reference/payments>).
    PaymentMethod {
        /// `card`
        Card = "card",
        /// `bank_transfer`
        BankTransfer = "bank_transfer",
        /// `sepa_debit`
        SepaDebit = "sepa_debit",
        /// `payment_link`
        PaymentLink = "payment_link",
    }

    /// What a workflow is told to do.
    ///
    /// **Assumption:** the vendor's page triggers a workflow without naming an action. These words come from a third
    /// party's client, whose authors had not tried them.
    WorkflowAction {
        /// `start`
        Start = "start",
        /// `pause`
        Pause = "pause",
        /// `resume`
        Resume = "resume",
        /// `cancel`
        Cancel = "cancel",
        /// `escalate`
        Escalate = "escalate",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_nobody_documents_is_kept() {
        for (text, status) in [
            ("completed", PaymentStatus::Completed),
            ("settled", PaymentStatus::Other("settled".into())),
            ("Completed", PaymentStatus::Other("Completed".into())),
        ] {
            assert_eq!(PaymentStatus::from(text), status);
            assert_eq!(PaymentStatus::from(text.to_owned()), status);
            assert_eq!(serde_json::to_value(&status).unwrap(), text);
            assert_eq!(serde_json::from_value::<PaymentStatus>(text.into()).unwrap(), status);
            assert_eq!((status.to_string().as_str(), String::from(status)), (text, text.to_owned()));
        }
        assert!(PaymentMethod::SepaDebit == "sepa_debit" && InvoiceStatus::InRecovery == *"in_recovery");
    }
}
