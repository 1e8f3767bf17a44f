use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::{
    model::{
        booking::{Invoice, Payment},
        id::{DispatchId, EventId},
    },
    sinks::Resolved,
};

fn message(event_type: &str, data: &Value) -> Message {
    Message {
        event_id: EventId::generate(),
        dispatch_id: DispatchId(1),
        endpoint: "production".into(),
        event_type: event_type.into(),
        invoice_id: data["invoiceId"].as_str().map(Into::into),
        received_at: "2026-11-27T13:05:00Z".parse().unwrap(),
        content_type: None,
        payload: json!({"event": event_type, "data": data}).to_string().into_bytes().into(),
        attempt: 1,
        trigger: Trigger::Event,
        trace: None,
        resolved: None,
    }
}

fn resolved() -> Arc<Resolved> {
    let invoice = Invoice {
        id: "c3d4".into(),
        number: "F-2026-001".into(),
        amount_cents: Some(Cents(150_000)),
        currency: Some("EUR".into()),
        status: None,
        debtor: Some("Alma Conseil".into()),
    };
    let payment = Payment {
        id: "p".into(),
        endpoint: "production".into(),
        invoice: invoice.clone(),
        amount_cents: Cents(150_000),
        currency: "EUR".into(),
        method: Some("bank_transfer".into()),
        paid_at: "2026-11-26T23:30:00Z".parse().unwrap(),
    };
    Arc::new(Resolved { invoice: Some(invoice), payment: Some(payment) })
}

fn reader(language: Language) -> Reader {
    Reader { language, ..Reader::default() }
}

fn facts(told: &Told) -> Vec<(&'static str, &str)> {
    told.facts.iter().map(|fact| (fact.label, fact.value.as_str())).collect()
}

#[test]
fn a_payment_says_what_is_known_and_no_more() {
    let bare = message("payment.received", &json!({"invoiceId": "c3d4", "amountCents": 150_000}));
    let told = tell(&bare, &reader(Language::Fr));
    assert_eq!(told.title, "Paiement reçu\u{a0}: 1\u{202f}500,00\u{a0}€");
    assert_eq!(
        facts(&told),
        [
            ("Montant", "1\u{202f}500,00\u{a0}€"),
            ("Facture (identifiant chez Finkare)", "c3d4"),
            ("Reçu", "27 novembre 2026 à 14:05"),
            ("Endpoint", "production"),
        ]
    );
    let whole = Message { resolved: Some(resolved()), ..bare.clone() };
    let told = tell(&whole, &reader(Language::Fr));
    assert_eq!(told.title, "Paiement reçu\u{a0}: 1\u{202f}500,00\u{a0}€ d’Alma Conseil pour la facture F-2026-001");
    assert_eq!(
        facts(&told)[1..5],
        [
            ("Facture", "F-2026-001"),
            ("Débiteur", "Alma Conseil"),
            ("Mode de paiement", "virement"),
            ("Payé", "27 novembre 2026 à 00:30")
        ]
    );
    let told = tell(&whole, &reader(Language::En));
    assert_eq!(told.title, "Payment received: €1,500.00 from Alma Conseil for invoice F-2026-001");
    let nothing = tell(&message("payment.received", &Value::Null), &reader(Language::En));
    assert_eq!((nothing.title.as_str(), nothing.facts.len()), ("Payment received", 2));
    let no_currency = Reader { currency: None, ..reader(Language::En) };
    assert_eq!(tell(&bare, &no_currency).title, "Payment received: 1,500.00");
}

#[test]
fn a_status_is_told_in_words_where_they_are_known() {
    let change = message(
        "invoice.status_changed",
        &json!({"invoiceId": "c3d4", "previousStatus": "in_recovery", "newStatus": "paid"}),
    );
    let whole = Message { resolved: Some(resolved()), ..change.clone() };
    assert_eq!(tell(&whole, &reader(Language::Fr)).title, "La facture F-2026-001 est passée à «\u{a0}paid\u{a0}»");
    assert_eq!(tell(&change, &reader(Language::En)).title, "An invoice is now “paid”");
    assert!(facts(&tell(&change, &reader(Language::Fr))).contains(&("Statut précédent", "en recouvrement")));
}

#[test]
fn each_of_the_relays_own_events_has_words_in_both_languages() {
    let data = json!({
        "sink": "compta", "endpoint": "production", "count": 3, "reason": "the books are closed", "amount_cents": 4200,
        "cause": "wrong_secret", "since": "2026-11-27T13:00:00Z", "backlog": 7, "message": "One sentence.", "code": "RES_1",
        "fingerprint": "00aa", "last_delivery_at": "2026-11-27T12:00:00Z", "until": "2026-11-28T13:00:00Z",
        "arrived": [{"endpoint": "production", "type": "payment.received", "events": 12}],
        "booked": [{"sink": "compta", "payments": 11, "amount_cents": 330_600, "currency": "EUR"}],
        "waiting": [{"sink": "compta", "held": 1, "dead": 2, "late": 3}],
    });
    let mut seen = std::collections::BTreeSet::new();
    for kind in NoticeType::ALL {
        let message = message(kind.as_str(), &data);
        for language in [Language::Fr, Language::En] {
            let told = tell(&message, &reader(language));
            assert!(seen.insert(told.title.clone()), "{kind:?} has a title of its own: {}", told.title);
            assert!(!told.facts.is_empty());
        }
    }
    let held = tell(&message("relay.held", &data), &reader(Language::Fr));
    assert_eq!(held.title, "3 événements attendent une décision (compta)");
    assert!(facts(&held).contains(&("Montant", "42,00\u{a0}€")));
    assert!(held.advice.as_ref().unwrap().contains("finkare-relay dispatches list --sink compta --state held"));
    assert_eq!(held.sentence, None, "an unknown reason is not explained");
    assert!(facts(&held).contains(&("Raison", "the books are closed")), "nor told in other words");
    let known = json!({
        "sink": "compta", "count": 1, "amount_cents": 4200, "currency": "USD",
        "reason": "invoice F-1 is in EUR in Facturation.PRO, and the payment of 42.00 USD of 2026-03-15 by card (Finkare payment \
                   p-1) is in another currency, which the relay does not convert. Book it there by hand and cancel this dispatch \
                   (`dispatches cancel`)",
    });
    let english = tell(&message("relay.held", &known), &reader(Language::En));
    assert!(
        facts(&english).iter().any(|(label, value)| *label == "Reason" && Some(*value) == known["reason"].as_str())
    );
    let held = tell(&message("relay.held", &known), &reader(Language::Fr));
    assert!(
        facts(&held).contains(&(
            "Raison",
            "la facture F-1 est en EUR dans Facturation.PRO, et le paiement de 42,00\u{a0}USD du 15/03/2026 par carte (paiement \
             Finkare p-1) est dans une autre devise, que le relais ne convertit pas. Inscrivez-le là-bas à la main et classez \
             cet envoi"
        )),
        "{held:?}"
    );
    assert!(held.sentence.unwrap().starts_with("Le paiement et la facture n’ont pas la même devise. "));
    assert!(held.facts.iter().any(|fact| fact.value == "42,00\u{a0}USD"), "{:?}", held.facts);
    let digest = tell(&message("relay.digest", &data), &reader(Language::Fr));
    assert!(facts(&digest).contains(&("Comptabilisé", "11 paiements, 3\u{202f}306,00\u{a0}€ (compta)")), "{digest:?}");
    assert!(facts(&digest).contains(&("À voir", "compta\u{a0}: 1 à décider, 2 abandonnés, 3 en retard")));
    // What a later version tells is told in its own words.
    let later = tell(&message("relay.later", &data), &reader(Language::En));
    assert_eq!(later.sentence.as_deref(), Some("One sentence."));
}

#[test]
fn nothing_in_an_event_breaks_a_line() {
    let data = json!({"invoiceNumber": "F-1\r\nBcc: thief@example.com", "newStatus": format!("\u{202e}x{}", "y".repeat(3000))});
    let told = tell(&message("invoice.status_changed", &data), &reader(Language::Fr));
    let all = format!("{}{}", told.title, told.facts.iter().map(|fact| fact.value.clone()).collect::<String>());
    assert!(!all.contains(['\r', '\n', '\u{202e}']) && told.title.chars().count() <= 200, "{all}");
}
