//! Why a payment waits, is held or dead, what the ledger notes of it, and what would be done with it.

pub(super) mod booking;
pub(super) mod calls;
pub(super) mod efactori;
pub(super) mod facturation_pro;
pub(super) mod ledger;
pub(super) mod resolving;
pub(super) mod watching;

#[cfg(test)]
mod tests {
    use crate::french::said;

    const PAYMENT: &str = "150.00 EUR of 2026-03-15 by sepa_debit (Finkare payment p-1)";

    /// Reasons as they are put together, whole and to the letter.
    #[test]
    fn why_a_payment_waits_is_told_in_french() {
        for (english, french) in [
            (
                "Finkare does not show a payment of 1500.00 EUR of invoice c3d4. It may only be too early: the relay tries again",
                "Finkare ne montre aucun paiement de 1\u{202f}500,00\u{a0}€ pour la facture c3d4. Il est peut-être seulement trop \
                 tôt\u{a0}: le relais réessaie",
            ),
            (
                "payment a (paid at 2026-10-03T08:00:00Z, method sepa_debit, currency EUR), which the event seems to announce, is \
                 still pending at Finkare; payment b (paid at an unknown time, method not given, currency not given) is \
                 completed and has no event, but is not taken instead: the dispatch continues by itself once payment a is \
                 completed. If the event means payment b, make sure that this payment is in the books, and cancel this \
                 dispatch. The relay checks again every hour",
                "le paiement a (payé le 2026-10-03T08:00:00Z, moyen prélèvement SEPA, devise EUR), que l’événement semble \
                 annoncer, est encore en attente chez Finkare\u{a0}; le paiement b (payé à une date inconnue, moyen et devise \
                 non indiqués) est terminé et n’a pas d’événement, mais n’est pas pris à sa place\u{a0}: l’envoi continue de \
                 lui-même dès que le paiement a est terminé. Si l’événement désigne le paiement b, assurez-vous que celui-ci \
                 est dans les livres, et classez cet envoi. Le relais vérifie de nouveau toutes les heures",
            ),
            (
                "Finkare answered 401 (AUTH_001) to listing the payments of invoice i (page 1): The key is wrong. Ask us. Give \
                 endpoint `acme` an `api_key` with the scopes `invoices:read` and `payments:read`, reload, and resume the sink",
                "Finkare a répondu 401 (AUTH_001) à la liste des paiements de la facture i (page 1)\u{a0}: The key is wrong. Ask \
                 us. Donnez à la source `acme` un `api_key` avec les droits `invoices:read` et `payments:read`, relisez la \
                 configuration, et remettez la destination en service",
            ),
            (
                "Finkare could not be reached for reading invoice i: error sending request: connection refused",
                "Finkare n’a pas pu être joint pour la lecture de la facture i\u{a0}: error sending request: connection refused",
            ),
            (
                "could not find out which payment the event announces: could not read which payment event e-1 announces: the \
                 database failed: pool timed out",
                "impossible de savoir quel paiement l’événement annonce\u{a0}: impossible de lire quel paiement l’événement e-1 \
                 annonce\u{a0}: la base de données a échoué\u{a0}: pool timed out",
            ),
            (
                "Facturation.PRO answered 422 Unprocessable Entity to recording the payment of 150.00 EUR of 2026-03-15 by \
                 sepa_debit (Finkare payment p-1) on invoice F-1: {\"errors\":[\"total: is too much. Sorry\"]}. It was not \
                 recorded: correct the cause there and retry this dispatch (`dispatches retry`), or record the payment there by \
                 hand and cancel this dispatch (`dispatches cancel`)",
                "Facturation.PRO a répondu 422 Unprocessable Entity à l’inscription du paiement de 150,00\u{a0}€ du 15/03/2026 \
                 par prélèvement SEPA (paiement Finkare p-1) sur la facture F-1\u{a0}: {\"errors\":[\"total: is too much. \
                 Sorry\"]}. Il n’a pas été inscrit\u{a0}: corrigez-y la cause et faites réessayer cet envoi, ou inscrivez-y le \
                 paiement à la main et classez cet envoi",
            ),
            (
                "eFactori could not be asked for recording 150.00 EUR of 2026-03-15 (Finkare payment p-1) on invoice F 1: no \
                 answer within 20s: see what keeps it busy, or raise `timeout_secs`. It is not known whether the payment was \
                 recorded: the relay looks for it before it writes again",
                "eFactori n’a pas pu être interrogé pour l’inscription de 150,00\u{a0}€ du 15/03/2026 (paiement Finkare p-1) sur \
                 la facture F 1\u{a0}: aucune réponse en 20\u{a0}s\u{a0}: voyez ce qui l’occupe, ou augmentez `timeout_secs`. On \
                 ne sait pas si le paiement a été inscrit\u{a0}: le relais le cherche avant d’écrire de nouveau",
            ),
            (
                "the payment of 150.00 EUR of 2026-03-15 by sepa_debit (Finkare payment p-1) on invoice F-1 was not booked: \
                 Facturation.PRO has a payment of 150.00 EUR of 2026-03-14 (id 7, with the reference `VIR 4711`) already, which \
                 this service did not book. If it is the same money, cancel this dispatch (`dispatches cancel`), or write \
                 `finkare:p-1` as its reference there and retry it. If it is another payment, book this one there by hand and \
                 cancel this dispatch; or set `on_same_amount = \"book\"` for this sink, reload, and retry it (`dispatches \
                 retry`)",
                "le paiement de 150,00\u{a0}€ du 15/03/2026 par prélèvement SEPA (paiement Finkare p-1) sur la facture F-1 n’a pas \
                 été inscrit\u{a0}: Facturation.PRO a déjà un paiement de 150,00\u{a0}€ du 14/03/2026 (identifiant 7, avec la \
                 référence `VIR 4711`), que le relais n’a pas inscrit. Si c’est le même argent, classez cet envoi, ou écrivez \
                 `finkare:p-1` comme sa référence là-bas et faites-le réessayer. Si c’est un autre paiement, inscrivez celui-ci à \
                 la main là-bas et classez cet envoi\u{a0}; ou réglez `on_same_amount = \"book\"` pour cette destination, \
                 relisez la configuration, et faites réessayer l’envoi",
            ),
            (
                "Finkare has the payment of 150.00 EUR of 2026-03-15 (Finkare payment p-1), and Tiime shows invoice F-1 as `sent`. \
                 Tiime has no public way to record a payment, so link the line of the bank to the invoice there; it pays a part \
                 of the invoice, 150.00 of 300.00 EUR: note it there, and mark the invoice as paid once all of it is paid. At \
                 the bank it may be the line `VIR FINKARE` of 2026-03-16 (id 12) or the line `X` of 2026-03-17 (id 13). The \
                 relay checks again, and closes this by itself once Tiime shows the invoice as paid; `dispatches retry` checks \
                 at once",
                "Finkare a le paiement de 150,00\u{a0}€ du 15/03/2026 (paiement Finkare p-1), et Tiime montre la facture F-1 comme \
                 `sent`. Tiime n’a pas de moyen public d’inscrire un paiement\u{a0}: rattachez-y donc la ligne de la banque à la \
                 facture\u{a0}; il paie une partie de la facture, 150,00 sur 300,00\u{a0}€\u{a0}: notez-y le paiement, et \
                 marquez-y la facture comme payée quand tout est payé. À la banque, c’est peut-être la ligne `VIR FINKARE` du \
                 16/03/2026 (identifiant 12) ou la ligne `X` du 17/03/2026 (identifiant 13). Le relais vérifie de nouveau, et \
                 referme cet envoi de lui-même dès que Tiime montre la facture comme payée\u{a0}; «\u{a0}Réessayer\u{a0}» \
                 vérifie tout de suite",
            ),
        ] {
            assert_eq!(said(english).as_deref(), Some(french), "{english}");
        }
    }

    /// A reason that goes on where the words of others end is not told by half.
    #[test]
    fn what_is_not_known_at_the_end_is_not_left_in_english() {
        for text in [
            "Finkare does not show a payment of 1500.00 EUR of invoice c3d4: do something new. The relay checks again every hour",
            "invoice F-1 is in the bin in Facturation.PRO, and nothing is known of it",
            "payment a has the status `odd` at Finkare, and the relay does not know whether this means that it has arrived; more",
        ] {
            assert_eq!(said(text), None, "{text}");
        }
        assert_eq!(said("Finkare does not show invoice c3d4, for a new reason"), None);
        assert_eq!(
            said(PAYMENT).as_deref(),
            Some("150,00\u{a0}€ du 15/03/2026 par prélèvement SEPA (paiement Finkare p-1)")
        );
    }

    /// The longest reasons, with as much in them as there can be, are found within the bound on trying.
    #[test]
    fn the_longest_reasons_are_told() {
        let differs = "its amount is 1.00 instead of 150.00, its currency is CHF instead of EUR, its date is 2026-03-14 instead of \
                       2026-03-15, its payment account is 3 instead of 1, its name of the other party is `` instead of \
                       `Finkare p-1` (without our marker a payment is not recognised after a crash: shorten `marker_prefix`, or \
                       set `marker_field = \"none\"`)";
        for text in [
            format!(
                "the payment of {PAYMENT} on invoice F-1 was recorded in eFactori as 77, but not as it should be: {differs}. \
                 Nothing more is written until a person has looked at it there and resumed the sink"
            ),
            format!(
                "Finkare has the payment of {PAYMENT}, and FastFaktura shows invoice F-1 as `odd`, a word that this version does \
                 not know and archived (its page for the debtor: https://fastfaktura.example/p/1). FastFaktura has no call that \
                 records a payment, so do it by hand: it pays the whole invoice: mark the invoice as paid there. Until it is \
                 marked as paid, FastFaktura may still treat it as overdue and remind the debtor. The relay checks again, and \
                 closes this by itself once FastFaktura shows the invoice as paid; `dispatches retry` checks at once"
            ),
            "payment 9 in eFactori may be it: its name of the other party is `Finkare` instead of `Finkare p-1`. Compare both; if \
             it is another payment, give it another name there, and make sure that Finkare's payment is there once, with \
             `Finkare p-1` as name of the other party, by which it is recognised"
                .to_owned(),
            format!(
                "the payment of {PAYMENT} on invoice F-1 was not recorded in eFactori: it is not known whether a payment of its \
                 amount is there already: it is not among the 300 payments that were read in eFactori, which do not go back to \
                 2026-03-08: raise `payments_max_pages`. Do that, or set `on_same_amount = \"book\"` for this sink, and reload; \
                 then `dispatches retry`, or `dispatches cancel` if it is in the books"
            ),
            format!(
                "Tiime answered 401 Unauthorized (check the credentials, their rights and the subscription) to looking for \
                 invoice F-1: {}. A token of Tiime expires after about two hours: put a new one where `token` is read from, \
                 reload the configuration, and resume the sink. If the token is new, set `app_version` to what Tiime's web \
                 application sends",
                "no. really: not. ".repeat(11)
            ),
        ] {
            assert!(said(&text).is_some(), "{text}");
        }
    }
}
