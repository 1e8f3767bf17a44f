//! The options of a `facturation_pro` sink.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use outgoing::Egress;

use super::super::{Common, Defaults};
use crate::{model::secret::Secret, options::section::Section};

/// The entry for methods of payment that have no code of their own.
const OTHER: &str = "other";
/// Where the firm's credentials are shown.
const PAGE: &str = "the account's page \"Clé API\" shows it";

/// What to do with a payment for an invoice that is already paid without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnAlreadyPaid {
    /// A person looks.
    #[default]
    Hold,
    /// The payment counts as booked by hand.
    Close,
}

/// Which of an invoice's numbers is the one that Finkare knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NumberField {
    /// The number with its prefix, as printed. The only one that Facturation.PRO can search for exactly.
    #[default]
    FullInvoiceRef,
    /// The number without its prefix.
    InvoiceRef,
    /// The number of an imported invoice.
    ExternalRef,
}

/// The options of a `facturation_pro` sink.
#[derive(Debug, Clone)]
pub struct Options {
    /// The options of every invoicing sink.
    pub common: Common,
    /// The firm's number: digits, from the account's page "Clé API".
    pub firm_id: String,
    /// The API identifier, from the same page: visible ASCII without a colon.
    pub api_id: Secret,
    /// The key that belongs to it: visible ASCII.
    pub api_key: Secret,
    /// An e-mail address or a URL by which the vendor reaches the operator of this relay, for the `User-Agent`: visible
    /// ASCII.
    pub contact: String,
    /// By Finkare's method of payment, the `payment_mode` under which it is booked; `other` for all other methods. A
    /// method that is not named keeps its default.
    pub payment_modes: BTreeMap<String, u16>,
    /// Which of an invoice's numbers is compared.
    pub number_field: NumberField,
    /// What to do with a payment for an invoice that is already paid without it.
    pub on_already_paid: OnAlreadyPaid,
    /// The text before Finkare's id of the payment in a settlement's `payment_ref`.
    pub payment_ref_prefix: String,
}

impl Options {
    /// The codes for Finkare's methods: transfer, direct debit, card, card, other (<https://facturation.dev>, the table of
    /// `payment_mode` for sales).
    const MODES: [(&'static str, u16); 5] =
        [("bank_transfer", 3), ("sepa_debit", 8), ("card", 2), ("payment_link", 2), (OTHER, 99)];

    /// The code for a method of payment; that of `other` for one that has none.
    pub fn payment_mode(&self, method: Option<&str>) -> u64 {
        let default = |method: &str| Self::MODES.iter().find(|(name, _)| *name == method).map(|(_, code)| *code);
        let code = |method: &str| self.payment_modes.get(method).copied().or_else(|| default(method));
        method.and_then(code).or_else(|| code(OTHER)).expect("`other` has a default").into()
    }
}

impl Options {
    /// See [`System::DEFAULTS`](crate::sinks::invoicing::system::System::DEFAULTS).
    pub(super) const SHARED: Defaults = Defaults {
        base_url: "https://www.facturation.pro",
        zone: "Europe/Paris",
        // Documented (<https://facturation.dev>).
        limits: &[(600, 300), (10_000, 86_400)],
        actions: &["nothing", "note"],
    };

    /// Reads these options and those of every invoicing sink. `None` after a problem, which is reported.
    pub(super) fn read(section: &mut Section<'_>, egress: &Egress) -> Option<Self> {
        let common = Common::read(section, &Self::SHARED, egress);
        let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());

        let firm_id = section
            .key("firm_id", "The firm's number, from the account's page \"Clé API\".")
            .allowed("digits")
            .required(PAGE)
            .text();
        if let Some(id) = &firm_id
            && (!(1..=18).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_digit()))
        {
            section.problem("firm_id", format!("is not the number of a firm: {PAGE}"));
        }
        let api_id = section.key("api_id", "The API identifier, from the same page.").required(PAGE).secret();
        if api_id.as_ref().is_some_and(|id| !is_plain(id.expose()) || id.expose().contains(':')) {
            section.problem("api_id", format!("is not an API identifier: {PAGE}"));
        }
        let api_key =
            section.key("api_key", "The key that belongs to it; it must be allowed to write.").required(PAGE).secret();
        if api_key.as_ref().is_some_and(|key| !is_plain(key.expose())) {
            section.problem("api_key", format!("is not an API key: {PAGE}"));
        }
        let contact = contact(section);
        let modes = Self::MODES.iter().map(|(method, code)| ((*method).to_owned(), json!(code)));
        let payment_modes = section
            .key(
                "payment_modes",
                "The `payment_mode` of a settlement by Finkare's method; `other` is for all methods that are not named. A \
                 method that is not named here keeps its default, and one without a code is `other`.",
            )
            .by_default(modes.collect::<serde_json::Map<String, Value>>())
            .allowed("methods with codes from 1 to 998")
            .hint("0 means unpaid and 999 bad debt: write the code of a means of payment, such as 3 for a transfer")
            .wholes_by_name(1..=998_u16)
            .unwrap_or_default();
        let number_field = section
            .key(
                "number_field",
                "Which number of an invoice is Finkare's: with its prefix (`full_invoice_ref`), without it \
                 (`invoice_ref`), or that of an imported invoice (`external_ref`).",
            )
            .word_or(
                &[
                    ("full_invoice_ref", NumberField::FullInvoiceRef),
                    ("invoice_ref", NumberField::InvoiceRef),
                    ("external_ref", NumberField::ExternalRef),
                ],
                NumberField::default(),
            );
        let on_already_paid = section
            .key(
                "on_already_paid",
                "What to do with a payment for an invoice that is already paid there without it: `hold` asks a person, \
                 `close` takes the payment as booked by hand.",
            )
            .word_or(&[("hold", OnAlreadyPaid::Hold), ("close", OnAlreadyPaid::Close)], OnAlreadyPaid::default());
        let payment_ref_prefix = section
            .key(
                "payment_ref_prefix",
                "The text before Finkare's id of the payment in a settlement's `payment_ref`, by which the settlement is \
                 found again. Do not change it while payments are under way.",
            )
            .allowed("1 to 50 visible ASCII characters")
            .text_or("finkare:");
        if !is_plain(&payment_ref_prefix) || payment_ref_prefix.len() > 50 {
            section.problem("payment_ref_prefix", "is not 1 to 50 letters, digits and signs without blanks (ASCII)");
        }
        Some(Self {
            common: common?,
            firm_id: firm_id?,
            api_id: api_id?,
            api_key: api_key?,
            contact: contact?,
            payment_modes,
            number_field,
            on_already_paid,
            payment_ref_prefix,
        })
    }
}

fn contact(section: &mut Section<'_>) -> Option<String> {
    let contact = section
        .key(
            "contact",
            "The contact in the `User-Agent`: the vendor wants to know whom to write to, and may suspend an account that \
             names no contact.",
        )
        .allowed("an e-mail address or a URL")
        .required("an e-mail address or a URL; Facturation.PRO wants to know whom to write to")
        .text()?;
    let is_plain = !contact.is_empty() && contact.bytes().all(|byte| byte.is_ascii_graphic());
    let is_address = contact.contains('@') || contact.contains("://");
    if !is_address || !is_plain || contact.contains(['(', ')']) || contact.len() > 200 {
        section.problem(
            "contact",
            "is not an e-mail address or a URL (ASCII, without blanks): Facturation.PRO wants to know whom to write to",
        );
    }
    Some(contact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::kind::Kind;

    #[test]
    fn what_is_configured_well_has_no_problem() {
        let text = "type = 'facturation_pro'\nfirm_id = '12345'\napi_id = 'id'\napi_key = 'key'\ncontact = 'https://creancier.example/contact'";
        let kind = Kind::parse(text).unwrap();
        let options: &Options = kind.options().unwrap();
        assert_eq!(options.common.base_url.as_str(), "https://www.facturation.pro/");
        for (method, code) in Options::MODES {
            assert_eq!(options.payment_mode(Some(method)), u64::from(code));
        }
        assert_eq!((options.payment_mode(None), options.payment_mode(Some("barter"))), (99, 99));
        assert!(!format!("{options:?}").contains("\"key\""));
    }
}
