//! Invoices: handing them to Finkare, and what becomes of them there.

use http::Method;
use jiff::civil::Date;
use outgoing::Redactor;
use serde_json::{Map, Value, json};

use crate::{
    AmountField, Client, DebtorId, Error, InvoiceId, InvoiceStatus, Items, Page, PageRequest, Response,
    client::body_of,
    pages::{Item, List, Paging},
    response::Mask,
    wire::{self, Fields, NO_OBJECT},
};

/// An invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// A UUID.
    pub id: InvoiceId,
    /// The number in the company's own books.
    pub invoice_number: String,
    /// In cents.
    pub amount_cents: Option<i64>,
    /// Such as `EUR`.
    pub currency: Option<String>,
    /// Only `in_recovery` is documented.
    pub status: Option<InvoiceStatus>,
    /// Of the invoice. **Assumption:** documented where an invoice is created, not where it is read.
    pub issue_date: Option<Date>,
    /// When it is to be paid. **Assumption:** like `issue_date`.
    pub due_date: Option<Date>,
    /// Who owes it. **Assumption:** like `issue_date`.
    pub debtor: Option<InvoiceDebtor>,
    /// All other fields, as they came, but with keys and secrets masked.
    pub other: Map<String, Value>,
}

impl Invoice {
    /// The debtor's name, if Finkare shows it.
    pub fn debtor_name(&self) -> Option<&str> {
        self.debtor.as_ref()?.name.as_deref()
    }
}

impl Mask for Invoice {
    fn mask(&mut self, redactor: &Redactor) {
        self.other.mask(redactor);
        if let Some(debtor) = &mut self.debtor {
            debtor.other.mask(redactor);
        }
    }
}

impl Item for Invoice {
    fn read(value: &Value) -> Result<Self, String> {
        wire::invoice(value)
    }

    fn key(&self) -> &str {
        &self.id
    }
}

/// The debtor as an invoice shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvoiceDebtor {
    /// For [`Debtors::get`](crate::Debtors::get).
    pub id: Option<DebtorId>,
    /// Of the company or person.
    pub name: Option<String>,
    /// Where Finkare writes to.
    pub email: Option<String>,
    /// In international form.
    pub phone: Option<String>,
    /// The 14 digits of the French register.
    pub siret: Option<String>,
    /// All other fields, as they came, but with keys and secrets masked.
    pub other: Map<String, Value>,
}

/// The debtor of a new invoice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewDebtor {
    /// Of the company or person.
    pub name: String,
    /// Where Finkare writes to.
    pub email: Option<String>,
    /// In international form, such as `+33678901234`.
    pub phone: Option<String>,
    /// The 14 digits of the French register.
    pub siret: Option<String>,
}

impl NewDebtor {
    fn body(&self) -> Value {
        let Self { name, email, phone, siret } = self;
        let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
        Value::Object(body_of([
            ("name", Some(json!(name))),
            ("email", text(email)),
            ("phone", text(phone)),
            ("siret", text(siret)),
        ]))
    }
}

/// An invoice to hand to Finkare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvoice {
    /// The number in the company's own books.
    pub invoice_number: String,
    /// In cents; sent in the field that [`Settings::amount_field`](crate::Settings::amount_field) names.
    pub amount_cents: i64,
    /// Of the invoice.
    pub issue_date: Date,
    /// When it is to be paid.
    pub due_date: Date,
    /// Who owes it.
    pub debtor: NewDebtor,
    /// Fields that are sent as they are, for what this crate does not know.
    pub other: Map<String, Value>,
}

impl NewInvoice {
    /// An invoice of so many cents.
    pub fn new(
        invoice_number: impl Into<String>,
        amount_cents: i64,
        issue_date: Date,
        due_date: Date,
        debtor: NewDebtor,
    ) -> Self {
        let invoice_number = invoice_number.into();
        Self { invoice_number, amount_cents, issue_date, due_date, debtor, other: Map::new() }
    }

    fn body(&self, amount: AmountField) -> Value {
        let Self { invoice_number, amount_cents, issue_date, due_date, debtor, other } = self;
        let mut body = other.clone();
        body.extend(body_of([
            ("invoiceNumber", Some(json!(invoice_number))),
            (amount.name(), Some(json!(amount_cents))),
            ("issueDate", Some(json!(issue_date.to_string()))),
            ("dueDate", Some(json!(due_date.to_string()))),
            ("debtor", Some(debtor.body())),
        ]));
        Value::Object(body)
    }

    /// Finkare would be told to collect nothing, or less.
    fn check(&self, call: &str) -> Result<(), Error> {
        if self.amount_cents > 0 {
            return Ok(());
        }
        let problem = format!("the amount of invoice {} must be more than 0 cents", self.invoice_number);
        Err(Error::Unusable { call: call.to_owned(), problem })
    }
}

/// Many invoices to hand to Finkare at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BulkImport {
    /// The invoices. A third party's client names 100 as the most.
    pub invoices: Vec<NewInvoice>,
    /// Whether Finkare begins to collect them at once; `None` leaves it to Finkare.
    pub auto_start_workflow: Option<bool>,
}

/// How an import ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The number of invoices that Finkare took. Compare it with the number that was sent.
    pub imported: u64,
    /// All other fields, as they came, but with keys and secrets masked: what was not taken, if Finkare says so.
    pub other: Map<String, Value>,
}

impl Mask for Imported {
    fn mask(&mut self, redactor: &Redactor) {
        self.other.mask(redactor);
    }
}

/// What to change about an invoice; `None` leaves a field as it is.
///
/// **Assumption:** the vendor has an update of invoices without showing its fields. That notes and metadata can change is
/// said where the event `invoice.updated` is described. Everything else goes into `other`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvoiceUpdate {
    /// Free text.
    pub notes: Option<String>,
    /// The company's own data.
    pub metadata: Option<Map<String, Value>>,
    /// Fields that are sent as they are, for what this crate does not know.
    pub other: Map<String, Value>,
}

/// Which invoices to list; `None` lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvoiceFilter {
    /// Only in this state.
    pub status: Option<InvoiceStatus>,
}

/// Invoices; [`Client::invoices`]. The key needs the scope `invoices:read`, and `invoices:write` for writes.
#[derive(Debug, Clone)]
pub struct Invoices<'a> {
    client: &'a Client,
    key: Option<String>,
}

impl<'a> Invoices<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, key: None }
    }

    /// Names the next write by this key instead of a random one: see [idempotency](crate#idempotency).
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// One page of the invoices that match the filter.
    pub async fn list(&self, filter: &InvoiceFilter, page: PageRequest) -> Result<Page<Invoice>, Error> {
        self.listing(filter).page(self.client, page).await
    }

    /// All invoices, page after page, each once, in Finkare's order.
    pub fn list_all(&self, page_size: u32) -> Items<Invoice> {
        self.list_matching(&InvoiceFilter::default(), page_size)
    }

    /// All invoices that match the filter, page after page, each once, in Finkare's order.
    pub fn list_matching(&self, filter: &InvoiceFilter, page_size: u32) -> Items<Invoice> {
        self.listing(filter).follow(self.client, Paging::Asked(page_size)).stream()
    }

    /// One invoice.
    pub async fn get(&self, id: impl Into<InvoiceId>) -> Result<Response<Invoice>, Error> {
        let path = &self.client.settings().paths.invoice;
        let call = self.client.call_of(Method::GET, "reading invoice", path, &id.into())?;
        self.client.ask(&call, None, wire::invoice).await
    }

    /// Hands an invoice to Finkare.
    ///
    /// Fields that Finkare's answer does not show are those that were sent.
    ///
    /// # Errors
    /// An answer with another amount than the one that was sent is [`Error::Unreadable`]: Finkare has read the amount in
    /// another way, and the invoice must not be collected. After an error that [may have
    /// happened](Error::may_have_happened), look the invoice up by its number before it is created again, or create it
    /// again under the same [idempotency key](Self::idempotency_key).
    pub async fn create(&self, invoice: &NewInvoice) -> Result<Response<Invoice>, Error> {
        const WHAT: &str = "creating an invoice";
        invoice.check(WHAT)?;
        let settings = self.client.settings();
        let body = invoice.body(settings.amount_field);
        let call = self.client.call_to(Method::POST, WHAT, &settings.paths.invoices, Some(body));
        self.client.ask(&call, self.key.as_deref(), |data| wire::created_invoice(data, invoice)).await
    }

    /// Hands many invoices to Finkare at once.
    pub async fn bulk_import(&self, import: &BulkImport) -> Result<Response<Imported>, Error> {
        const WHAT: &str = "importing invoices";
        import.invoices.iter().try_for_each(|invoice| invoice.check(WHAT))?;
        let settings = self.client.settings();
        let invoices: Vec<Value> = import.invoices.iter().map(|invoice| invoice.body(settings.amount_field)).collect();
        let body = body_of([
            ("invoices", Some(invoices.into())),
            ("autoStartWorkflow", import.auto_start_workflow.map(Value::from)),
        ]);
        let path = &settings.paths.invoices_bulk;
        let call = self.client.call_to(Method::POST, WHAT, path, Some(Value::Object(body)));
        self.client.ask(&call, self.key.as_deref(), imported).await
    }

    /// Changes an invoice. Only the fields to change are sent. The answer's data is the invoice, if Finkare shows it.
    pub async fn update(
        &self,
        id: impl Into<InvoiceId>,
        update: &InvoiceUpdate,
    ) -> Result<Response<Option<Invoice>>, Error> {
        let InvoiceUpdate { notes, metadata, other } = update;
        let mut body = other.clone();
        body.extend(body_of([
            ("notes", notes.as_ref().map(|notes| json!(notes))),
            ("metadata", metadata.as_ref().map(|metadata| json!(metadata))),
        ]));
        let (method, path) = (self.client.update_method(), &self.client.settings().paths.invoice);
        let mut call = self.client.call_of(method, "changing invoice", path, &id.into())?;
        call.body = Some(Value::Object(body));
        self.client.ask(&call, self.key.as_deref(), |data| Ok(wire::invoice(data).ok())).await
    }

    /// Takes an invoice back from Finkare, for this reason. The answer's data is the invoice, if Finkare shows it.
    pub async fn cancel(&self, id: impl Into<InvoiceId>, reason: &str) -> Result<Response<Option<Invoice>>, Error> {
        let path = &self.client.settings().paths.cancel_invoice;
        let mut call = self.client.call_of(Method::POST, "cancelling invoice", path, &id.into())?;
        call.body = Some(json!({ "reason": reason }));
        self.client.ask(&call, self.key.as_deref(), |data| Ok(wire::invoice(data).ok())).await
    }

    fn listing(&self, filter: &InvoiceFilter) -> List<Invoice> {
        let mut url = self.client.url(&self.client.settings().paths.invoices);
        if let Some(status) = &filter.status {
            url.query_pairs_mut().append_pair("status", status.as_str());
        }
        List::new("listing invoices", url)
    }
}

fn imported(data: &Value) -> Result<Imported, String> {
    let fields = Fields::of(data).ok_or(NO_OBJECT)?;
    Ok(Imported { imported: fields.count("imported")?, other: fields.rest() })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_new_invoice_is_sent_as_on_the_vendors_page() {
        let debtor = NewDebtor {
            name: "Martin Consulting SAS".into(),
            email: Some("direction@martin-consulting.fr".into()),
            phone: Some("+33678901234".into()),
            siret: Some("83965478200012".into()),
        };
        let mut new = NewInvoice::new("FAC-2026-042", 285_000, date(2026, 2, 15), date(2026, 3, 15), debtor);
        let expected = json!({
            "invoiceNumber": "FAC-2026-042", "amount": 285_000, "issueDate": "2026-02-15", "dueDate": "2026-03-15",
            "debtor": {
                "name": "Martin Consulting SAS", "email": "direction@martin-consulting.fr", "phone": "+33678901234",
                "siret": "83965478200012",
            },
        });
        assert_eq!(new.body(AmountField::Amount), expected);
        new.other.insert("currency".into(), json!("EUR"));
        new.debtor = NewDebtor { name: "x".into(), ..NewDebtor::default() };
        let body = new.body(AmountField::AmountCents);
        assert_eq!((&body["amountCents"], body.get("amount")), (&json!(285_000), None));
        assert_eq!((&body["currency"], &body["debtor"]), (&json!("EUR"), &json!({ "name": "x" })));
    }

    #[test]
    fn an_import_says_how_many_were_taken() {
        let read = imported(&json!({ "imported": 2, "errors": [{ "apiKey": "x" }] })).unwrap();
        assert_eq!((read.imported, Value::Object(read.other)), (2, json!({ "errors": [{ "apiKey": "[redacted]" }] })));
        for odd in [json!({}), json!({ "imported": "2" }), json!({ "imported": -1 }), json!([])] {
            imported(&odd).unwrap_err();
        }
    }
}
