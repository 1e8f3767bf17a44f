//! Payments: what debtors have paid, and what is on its way.

use http::Method;
use jiff::Timestamp;
use outgoing::Redactor;
use serde_json::{Map, Value};

use crate::{
    Client, Error, InvoiceId, Items, Page, PageRequest, PaidAt, PaymentId, PaymentMethod, PaymentStatus, Response,
    UnreadableItem,
    pages::{Item, List, Paging},
    response::Mask,
    transport::Call,
    wire,
};

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// A UUID.
    pub id: PaymentId,
    /// The invoice that was paid.
    pub invoice_id: InvoiceId,
    /// In cents; may be a part of the invoice's amount.
    pub amount_cents: i64,
    /// Such as `EUR`.
    pub currency: Option<String>,
    /// Whether it has arrived.
    pub status: PaymentStatus,
    /// How it was made.
    pub method: Option<PaymentMethod>,
    /// When it was paid; `None` also for what is neither a time nor a date.
    pub paid_at: Option<PaidAt>,
    /// All other fields, as they came, but with keys and secrets masked.
    pub other: Map<String, Value>,
}

impl Mask for Payment {
    fn mask(&mut self, redactor: &Redactor) {
        self.other.mask(redactor);
    }
}

impl Item for Payment {
    fn read(value: &Value) -> Result<Self, String> {
        wire::payment(value)
    }

    fn key(&self) -> &str {
        &self.id
    }
}

/// The payments of an invoice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentsOfInvoice {
    /// The payments that can be read, in Finkare's order.
    pub payments: Vec<Payment>,
    /// The payments that cannot be read.
    pub unreadable: Vec<UnreadableItem>,
}

/// Which payments to list; `None` everywhere lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentFilter {
    /// Only in this state.
    pub status: Option<PaymentStatus>,
    /// From this time on.
    pub from_date: Option<Timestamp>,
    /// Until this time.
    pub to_date: Option<Timestamp>,
    /// Only of this invoice.
    pub invoice_id: Option<InvoiceId>,
}

/// Payments; [`Client::payments`]. The key needs the scope `payments:read`.
#[derive(Debug, Clone, Copy)]
pub struct Payments<'a> {
    client: &'a Client,
}

impl<'a> Payments<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client }
    }

    /// One page of the payments that match the filter.
    pub async fn list(&self, filter: &PaymentFilter, page: PageRequest) -> Result<Page<Payment>, Error> {
        self.listing(filter).page(self.client, page).await
    }

    /// All payments, page after page, each once, in Finkare's order.
    pub fn list_all(&self, page_size: u32) -> Items<Payment> {
        self.list_matching(&PaymentFilter::default(), page_size)
    }

    /// All payments that match the filter, page after page, each once, in Finkare's order.
    pub fn list_matching(&self, filter: &PaymentFilter, page_size: u32) -> Items<Payment> {
        self.listing(filter).follow(self.client, Paging::Asked(page_size)).stream()
    }

    /// One payment.
    pub async fn get(&self, id: impl Into<PaymentId>) -> Result<Response<Payment>, Error> {
        let call = self.client.call_of(Method::GET, "reading payment", "/payments/{id}", &id.into())?;
        self.client.ask(&call, None, wire::payment).await
    }

    /// All payments of one invoice. Payments that cannot be read are listed apart.
    ///
    /// # Errors
    /// A list that ends before the number of payments that it announced is [`Error::Unreadable`]: a part is never returned
    /// as the whole.
    pub async fn of_invoice(&self, invoice_id: impl Into<InvoiceId>) -> Result<Response<PaymentsOfInvoice>, Error> {
        let path = "/payments/invoice/{id}";
        let Call { what, url, .. } =
            self.client.call_of(Method::GET, "listing the payments of invoice", path, &invoice_id.into())?;
        let rows = List::new(what, url).follow(self.client, Paging::IfAnswered).all().await?;
        Ok(rows.map(|rows| {
            let mut found = PaymentsOfInvoice::default();
            for row in rows {
                match row {
                    Ok(payment) => found.payments.push(payment),
                    Err(bad) => found.unreadable.push(bad.item),
                }
            }
            found
        }))
    }

    fn listing(self, filter: &PaymentFilter) -> List<Payment> {
        let PaymentFilter { status, from_date, to_date, invoice_id } = filter;
        let mut url = self.client.url("/payments");
        for (name, value) in [
            ("status", status.as_ref().map(ToString::to_string)),
            // The form of the two times is not documented; in the answers it is this one.
            ("fromDate", from_date.map(|time| time.to_string())),
            ("toDate", to_date.map(|time| time.to_string())),
            ("invoiceId", invoice_id.as_ref().map(ToString::to_string)),
        ] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        List::new("listing payments", url)
    }
}
