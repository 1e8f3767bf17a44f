//! Why a payment waits, in French: what a reason means, and what a person does about it.
//!
//! The reasons themselves are English sentences, as the logs and the commands show them; they are told apart here by words
//! that each of them has. `docs/guide/held.md` lists the same causes for operators.

/// What a reason means, in French.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// What happened, as a sentence.
    pub means: &'static str,
    /// What a person does, as a sentence.
    pub to_do: &'static str,
}

const BOOK_AND_CLOSE: &str = "Inscrivez le paiement à la main, puis faites classer la demande.";
const LOOK_AND_SAY: &str =
    "Cherchez le paiement dans votre logiciel et dites à la personne qui s’occupe du relais s’il y est.";
const CORRECT_OR_CLOSE: &str = "Corrigez la facture dans votre logiciel puis faites réessayer, ou inscrivez le paiement à la main et faites classer \
     la demande.";

/// Each cause, by words of its reasons. The first one that fits counts: the narrower ones stand before the wider ones.
const CAUSES: &[(&[&str], Cause)] = &[
    // --- what was written, or may have been
    (
        &[
            "It was sent twice, and is not there",
            "An earlier attempt may have recorded it",
            "got no answer, and the payment",
        ],
        Cause {
            means: "Le relais a envoyé le paiement à votre logiciel et n’a pas reçu de réponse claire\u{a0}: il est peut-être inscrit.",
            to_do: LOOK_AND_SAY,
        },
    ),
    (
        &["it is not known whether another payment of invoice"],
        Cause {
            means: "On ne sait pas encore si un autre paiement de cette facture a été inscrit\u{a0}; celui-ci attend derrière lui.",
            to_do: "Éclaircissez d’abord l’autre paiement, que nomme la raison.",
        },
    ),
    (
        &["it is not known whether the payment"],
        Cause { means: "On ne sait pas si ce paiement a été inscrit dans votre logiciel.", to_do: LOOK_AND_SAY },
    ),
    (
        &["two attempts may have recorded"],
        Cause {
            means: "Deux essais ont pu inscrire ce paiement.",
            to_do: "Cherchez-le dans votre logiciel\u{a0}; s’il y est deux fois, retirez-en un, puis faites classer la demande.",
        },
    ),
    (
        &["It was not recorded", "was not recorded in"],
        Cause { means: "Votre logiciel a refusé ce paiement. Rien n’a été inscrit.", to_do: CORRECT_OR_CLOSE },
    ),
    (
        &["bears the reference", "bear the reference", "bears our marker", "our marker"],
        Cause {
            means: "La référence du relais se trouve dans votre logiciel, mais sur un autre montant, deux fois, ou modifiée.",
            to_do: "Corrigez-la comme le dit la raison, puis faites réessayer.",
        },
    ),
    (
        &["was written for event"],
        Cause {
            means: "Ce paiement est déjà inscrit, pour une autre annonce de Finkare.",
            to_do: "Si les deux annonces parlent du même paiement, faites classer la demande\u{a0}; sinon, inscrivez l’autre à la main.",
        },
    ),
    (
        &["and was noted here as"],
        Cause {
            means: "Finkare montre maintenant ce paiement autrement que le jour où il a été inscrit.",
            to_do: "Corrigez-le à la main dans vos livres, puis faites classer la demande.",
        },
    ),
    // --- the payment at Finkare
    (
        &["no longer at Finkare"],
        Cause {
            means: "Le paiement qui avait été trouvé n’est plus chez Finkare.",
            to_do: "Vérifiez chez Finkare\u{a0}; si c’est exact, faites classer la demande.",
        },
    ),
    (
        &["is still pending at Finkare"],
        Cause {
            means: "Le paiement est encore en attente chez Finkare.",
            to_do: "En général, rien\u{a0}: le relais continue de lui-même quand Finkare le marque comme terminé.",
        },
    ),
    (
        &["other events have already announced every such payment"],
        Cause {
            means: "Tous les paiements de ce montant ont déjà été annoncés\u{a0}: Finkare a répété une annonce, ou un paiement ne se voit pas encore.",
            to_do: "Comptez les paiements de la facture chez Finkare et dans vos livres\u{a0}; s’il y en a autant, faites classer la demande.",
        },
    ),
    (
        &["days of the event"],
        Cause {
            means: "Le seul paiement visible chez Finkare est daté trop loin de son annonce pour être sûrement le bon.",
            to_do: "Comparez avec Finkare\u{a0}: si c’est bien lui, assurez-vous qu’il est inscrit, puis faites classer la demande.",
        },
    ),
    (
        &["at Finkare cannot be read"],
        Cause {
            means: "Finkare montre ce paiement avec des données illisibles.",
            to_do: "Regardez-le chez Finkare, inscrivez-le à la main, puis faites classer la demande.",
        },
    ),
    (
        &["does not know whether this means that it has arrived"],
        Cause {
            means: "Finkare donne à ce paiement un état que le relais ne connaît pas.",
            to_do: "Vérifiez chez Finkare s’il est arrivé\u{a0}; si oui, inscrivez-le à la main, puis faites classer la demande.",
        },
    ),
    (
        &["is `failed`", "is `refunded`", "which the event announces, is `"],
        Cause {
            means: "Selon Finkare, ce paiement a échoué ou a été remboursé. Il n’est pas inscrit.",
            to_do: "Vérifiez chez Finkare\u{a0}; si c’est exact, faites classer la demande.",
        },
    ),
    (
        &["the relay does not guess", "do not agree"],
        Cause {
            means: "Deux paiements conviennent aussi bien l’un que l’autre, ou l’annonce et Finkare se contredisent.",
            to_do: "Trouvez lequel est le bon, inscrivez-le à la main, puis faites classer la demande.",
        },
    ),
    (
        &["Finkare does not show"],
        Cause {
            means: "Finkare ne montre pas ce paiement.",
            to_do: "Comparez avec Finkare. Le relais continue de lui-même dès que le paiement se voit\u{a0}; s’il n’existe pas, faites classer la demande.",
        },
    ),
    // --- the invoice
    (
        &["was not booked: ", "has a payment of"],
        Cause {
            means: "Vos livres montrent déjà un paiement du même montant, à une date proche, que le relais n’a pas inscrit. C’est peut-être le même argent.",
            to_do: "Si c’est le même, faites classer la demande\u{a0}; sinon, inscrivez celui-ci à la main, puis faites-la classer.",
        },
    ),
    (
        &["that are still due", "more than", "overpaid"],
        Cause {
            means: "Le paiement est plus élevé que ce qui reste dû sur la facture. Le relais ne le réduit jamais.",
            to_do: "Décidez que faire du surplus (avoir, remboursement), inscrivez le paiement à la main, puis faites classer la demande.",
        },
    ),
    (
        &["is marked as paid there", "has nothing due there", "there already", "written off there"],
        Cause {
            means: "La facture est déjà soldée dans votre logiciel, sans ce paiement\u{a0}: une personne l’a inscrit, ou le débiteur a payé deux fois.",
            to_do: "Si ce paiement y a été inscrit à la main, faites classer la demande\u{a0}; sinon, rouvrez la facture et faites réessayer.",
        },
    ),
    (
        &["is in another currency", "does not convert"],
        Cause {
            means: "Le paiement et la facture n’ont pas la même devise. Le relais ne convertit rien.",
            to_do: BOOK_AND_CLOSE,
        },
    ),
    (
        &["is a draft", "is in the bin", "is locked", "was cancelled", "is cancelled", "is a credit note"],
        Cause {
            means: "Dans votre logiciel, cette facture est un brouillon, un avoir, annulée, verrouillée ou dans la corbeille\u{a0}: elle ne peut pas recevoir de paiement.",
            to_do: CORRECT_OR_CLOSE,
        },
    ),
    (
        &["cannot be relied on", "does not show"],
        Cause {
            means: "Votre logiciel montre cette facture de façon incomplète ou contradictoire.",
            to_do: CORRECT_OR_CLOSE,
        },
    ),
    (
        &[
            "Tiime shows",
            "FastFaktura shows",
            "shows invoice",
            "shows the invoice",
            "checks again, and closes this by itself",
        ],
        Cause {
            means: "Le relais n’écrit rien dans ce logiciel\u{a0}: il attend que la facture y soit marquée payée.",
            to_do: "Faites-y ce que dit la raison\u{a0}; la demande se referme d’elle-même.",
        },
    ),
    (
        &["invoices with the number"],
        Cause {
            means: "Plusieurs factures portent ce numéro dans votre logiciel.",
            to_do: "Trouvez laquelle est la bonne, inscrivez le paiement à la main, puis faites classer la demande.",
        },
    ),
    (
        &["there is no invoice", "which is not in", "has the number", "that were searched"],
        Cause {
            means: "Votre logiciel ne connaît pas de facture de ce numéro.",
            to_do: "Saisissez-la ou corrigez son numéro\u{a0}: le relais la cherche de nouveau de lui-même.",
        },
    ),
];

/// What a reason means in French; `None` for one that is not known here, such as an answer of a target in its own words.
pub fn in_french(reason: &str) -> Option<Cause> {
    let has = |words: &[&str]| words.iter().any(|words| reason.contains(words));
    CAUSES.iter().find(|(words, _)| has(words)).map(|(_, cause)| *cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_apart_by_its_words() {
        for (reason, begins) in [
            (
                "the payment of 900.00 EUR of 2026-11-28 by sepa_debit (Finkare payment p-1) is more than the 800.00 EUR that are \
                 still due on invoice F-1 in Facturation.PRO. Was a part of it booked there by hand?",
                "Le paiement est plus élevé",
            ),
            ("Finkare does not show a payment of 15.00 of invoice c3d4: compare with Finkare", "Finkare ne montre pas"),
            (
                "Finkare does not show a payment of 15.00 of invoice c3d4 that is dated within 7 days of the event (2026-11-01); \
                 the nearest is payment p-2",
                "Le seul paiement visible",
            ),
            (
                "payment p-1 (paid at 2026-11-01, method card, currency EUR), which the event seems to announce, is still pending at \
                 Finkare; payment p-2 is completed and has no event, but is not taken instead",
                "Le paiement est encore en attente",
            ),
            ("payment p-1, which the event announces, is `refunded` at Finkare: it is not passed on", "Selon Finkare"),
            ("invoice F-1 is a draft in Facturation.PRO, and nothing is booked on a draft", "Dans votre logiciel"),
            (
                "invoice F-1 (id 7) cannot be relied on in Facturation.PRO: it does not show `draft`. The payment was not booked. Look",
                "Votre logiciel montre cette facture",
            ),
            ("the connection broke. It was sent twice, and is not there: it may still appear", "Le relais a envoyé"),
            ("answered 422: mode unknown. It was not recorded: correct the cause there", "Votre logiciel a refusé"),
        ] {
            let cause = in_french(reason).unwrap_or_else(|| panic!("{reason}"));
            assert!(cause.means.starts_with(begins), "{reason}: {}", cause.means);
        }
        assert_eq!(in_french("https://erp.example.fr/hook answered 503"), None);
    }

    /// Each cause of the operators' page is one here.
    #[test]
    fn every_cause_that_operators_read_of_is_known() {
        let page = include_str!("../../../docs/guide/held.md");
        let end = page.find("## Bookings that stay unfinished").unwrap();
        let mut count = 0;
        for row in page[..end].lines().filter(|line| line.starts_with("| \"")) {
            let first = row.split('|').nth(1).unwrap();
            for quoted in first.split('"').skip(1).step_by(2) {
                let known = quoted
                    .trim_matches(|c: char| c == '…' || c == ' ')
                    .split(" … ")
                    .any(|part| in_french(part).is_some());
                assert!(known, "{quoted}");
                count += 1;
            }
        }
        assert!(count > 20, "{count}");
    }

    #[test]
    fn all_are_whole_sentences_of_a_mail() {
        for (words, Cause { means, to_do }) in CAUSES {
            assert!(!words.is_empty() && means.ends_with('.') && to_do.ends_with('.'), "{means} {to_do}");
            assert!(means.chars().count() + to_do.chars().count() < 400, "{means}");
        }
    }
}
