//! Debtors: who owes the invoices.

use http::Method;
use outgoing::Redactor;
use serde_json::{Map, Value};

use crate::{
    Client, DebtorId, Error, Items, Page, PageRequest, Response,
    pages::{Item, List, Paging},
    response::Mask,
    wire::{Fields, NO_OBJECT},
};

/// A debtor.
///
/// **Assumption:** the vendor's page offers the list and the details without showing one. The fields are those with which
/// a debtor is written on a new invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debtor {
    /// A UUID.
    pub id: DebtorId,
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

impl Mask for Debtor {
    fn mask(&mut self, redactor: &Redactor) {
        self.other.mask(redactor);
    }
}

impl Item for Debtor {
    fn read(value: &Value) -> Result<Self, String> {
        let fields = Fields::of(value).ok_or(NO_OBJECT)?;
        let text = |name| fields.read_if([name], |value| value.as_str().map(ToOwned::to_owned));
        Ok(Self {
            id: fields.text(["id"])?.into(),
            name: text("name"),
            email: text("email"),
            phone: text("phone"),
            siret: text("siret"),
            other: fields.rest(),
        })
    }

    fn key(&self) -> &str {
        &self.id
    }
}

/// Debtors; [`Client::debtors`].
#[derive(Debug, Clone, Copy)]
pub struct Debtors<'a> {
    client: &'a Client,
}

impl<'a> Debtors<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client }
    }

    /// One page of the debtors.
    pub async fn list(&self, page: PageRequest) -> Result<Page<Debtor>, Error> {
        self.listing().page(self.client, page).await
    }

    /// All debtors, page after page, each once, in Finkare's order.
    pub fn list_all(&self, page_size: u32) -> Items<Debtor> {
        self.listing().follow(self.client, Paging::Asked(page_size)).stream()
    }

    /// One debtor.
    pub async fn get(&self, id: impl Into<DebtorId>) -> Result<Response<Debtor>, Error> {
        let path = &self.client.settings().paths.debtor;
        let call = self.client.call_of(Method::GET, "reading debtor", path, &id.into())?;
        self.client.ask(&call, None, Debtor::read).await
    }

    fn listing(self) -> List<Debtor> {
        List::new("listing debtors", self.client.url(&self.client.settings().paths.debtors))
    }
}
