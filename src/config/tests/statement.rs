//! `[statement]` and the endpoints' `timezone`.

use super::{good, wrong};

#[test]
fn accounts_have_defaults_and_are_checked() {
    assert_eq!(good("", &[]).accounts, crate::statement::fec::Accounts::default());
    let text = "[statement]\naccounts = { bank = '512100', journal = 'FK' }\nbank_methods = []\n";
    let accounts = good(text, &[]).accounts;
    assert_eq!((accounts.bank.as_str(), accounts.clearing.as_str()), ("512100", "511000"));
    assert_eq!((accounts.journal.as_str(), accounts.bank_methods.len()), ("FK", 0));
    for (text, place) in [
        ("accounts = { bank = '5' }", "accounts.bank"),
        ("accounts = { clearing = 'A51' }", "accounts.clearing"),
        ("accounts = { customer = '411 0' }", "accounts.customer"),
        ("accounts = { journal = '' }", "accounts.journal"),
        ("accounts = { cash = '530' }", "accounts.cash"),
        ("accounts = 5", "accounts"),
        ("bank_methods = 'card'", "bank_methods"),
    ] {
        let problems = wrong(&format!("[statement]\n{text}\n"), &[]).join("\n");
        assert!(problems.contains(&format!("statement.{place}")), "{text}: {problems}");
    }
}

#[test]
fn an_endpoint_has_a_time_zone() {
    let endpoint = |zone: &str| format!("[[endpoints]]\nname = 'e'\npath = '/e'\nsecret = 'whsec_x'\n{zone}\n");
    let zone = |text: &str| good(&endpoint(text), &[]).endpoints[0].timezone.iana_name().map(ToOwned::to_owned);
    assert_eq!(zone("").as_deref(), Some("Europe/Paris"));
    assert_eq!(zone("timezone = 'Indian/Reunion'").as_deref(), Some("Indian/Reunion"));
    let problems = wrong(&endpoint("timezone = 'Paris'"), &[]).join("\n");
    assert!(problems.contains("timezone: `Paris` is not a time zone"), "{problems}");
}
