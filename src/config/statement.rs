//! `[statement]`: what the statement of a month needs beside the ledger.

use serde_json::json;

use crate::{options::section::Section, statement::fec::Accounts};

/// The longest account number and journal code.
const LONGEST: usize = 20;

/// Reads the section. A key with a problem is reported and left as it is by default.
pub(super) fn read(mut section: Section<'_>) -> Accounts {
    let mut accounts = Accounts::default();
    let mut table = section.key("accounts", "The accounts of the accounting entries (`--format fec`).").table();
    let known = [
        ("bank", "The bank's account, for money that arrives there directly.", &mut accounts.bank),
        ("clearing", "The account for money that is on its way to the bank.", &mut accounts.clearing),
        ("customer", "The customers' account.", &mut accounts.customer),
    ];
    for (name, meaning, account) in known {
        let text = table.key(name, meaning).allowed("3 to 20 digits and letters, a digit first").text_or(account);
        let is_account = (3..=LONGEST).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_account {
            *account = text;
        } else {
            table.problem(name, format!("`{text}` is not an account: write it like \"{account}\""));
        }
    }
    let text = table
        .key("journal", "The code of the journal.")
        .allowed("1 to 20 letters and digits")
        .text_or(&accounts.journal);
    if (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        accounts.journal = text;
    } else {
        table.problem("journal", format!("`{text}` is not a journal's code: write it like \"{}\"", accounts.journal));
    }
    table.finish();
    if let Some(methods) = section
        .key(
            "bank_methods",
            "The methods of payment whose money arrives on the bank's account directly; that of all others goes through the \
             clearing account.",
        )
        .allowed("a list of Finkare's words: `card`, `bank_transfer`, `sepa_debit`, `payment_link`")
        .by_default(json!(accounts.bank_methods))
        .texts()
    {
        accounts.bank_methods = methods;
    }
    section.finish();
    accounts
}
