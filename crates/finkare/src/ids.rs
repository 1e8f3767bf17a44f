//! Ids as types, so that the id of a payment is never taken for that of an invoice.
//!
//! Finkare's are UUIDs in every example, but nobody says that all of them are, so an id is kept as the text that came.
//! It can be used as a `&str`, and calls take an id as well as a text: `invoices().get("c3d4…")`.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $id:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $id(String);

        impl $id {
            /// The id of this text.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, owned.
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($id), "({:?})"), self.0)
            }
        }

        impl Deref for $id {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $id {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $id {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&String> for $id {
            fn from(text: &String) -> Self {
                Self(text.clone())
            }
        }

        impl From<&str> for $id {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<&$id> for $id {
            fn from(id: &$id) -> Self {
                id.clone()
            }
        }

        impl From<$id> for String {
            fn from(id: $id) -> Self {
                id.0
            }
        }

        impl PartialEq<str> for $id {
            fn eq(&self, text: &str) -> bool {
                self.0 == text
            }
        }

        impl PartialEq<&str> for $id {
            fn eq(&self, text: &&str) -> bool {
                self.0 == *text
            }
        }

        impl PartialEq<$id> for String {
            fn eq(&self, id: &$id) -> bool {
                *self == id.0
            }
        }

        impl PartialEq<$id> for str {
            fn eq(&self, id: &$id) -> bool {
                *self == id.0
            }
        }

        impl PartialEq<$id> for &str {
            fn eq(&self, id: &$id) -> bool {
                **self == id.0
            }
        }

        impl PartialEq<String> for $id {
            fn eq(&self, text: &String) -> bool {
                self.0 == *text
            }
        }
    )*};
}

ids! {
    /// The id of an invoice.
    InvoiceId,
    /// The id of a debtor.
    DebtorId,
    /// The id of a payment: stable, and so fit to mark in another system that this payment is booked there.
    PaymentId,
    /// The id of a webhook.
    WebhookId,
    /// The id of an API key; never the key itself.
    ApiKeyId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_text_everywhere() {
        let id = PaymentId::new("aaaa1111");
        assert_eq!((id.to_string(), id.as_str(), id.len()), ("aaaa1111".to_owned(), "aaaa1111", 8));
        assert_eq!(format!("{id:?}"), "PaymentId(\"aaaa1111\")");
        assert_eq!(serde_json::to_value(&id).unwrap(), "aaaa1111");
        assert_eq!(serde_json::from_str::<PaymentId>("\"aaaa1111\"").unwrap(), id);
        let text = "aaaa1111".to_owned();
        assert_eq!(id, "aaaa1111");
        assert_eq!("aaaa1111", id);
        assert_eq!(id, *"aaaa1111");
        assert_eq!(id, text);
        assert_eq!(text, id);
        assert_eq!(String::from(PaymentId::from(&id)), PaymentId::from("aaaa1111").into_string());
    }
}
