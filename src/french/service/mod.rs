//! What the service says of its own doings: of deliveries, endpoints, sinks, reconciliations and requests.

pub(super) mod endpoints;
pub(super) mod problems;
pub(super) mod reconciliations;
pub(super) mod refusals;
pub(super) mod reload;
pub(super) mod sinks;

#[cfg(test)]
mod tests {
    use crate::french::said;

    /// Sentences as they are put together, whole and to the letter.
    #[test]
    fn what_the_service_says_is_told_in_french() {
        for (english, french) in [
            (
                "The signature fits the endpoint's secret 0011223344556677 used without `whsec_`, over the body as it came. Set \
                 `secret_encoding = \"stripped\"`. Set `signature_over = \"raw\"`.",
                "La signature correspond au secret 0011223344556677 de la source pris sans `whsec_`, calculée sur le contenu \
                 tel qu’il est arrivé. Écrivez `secret_encoding = \"stripped\"` dans la configuration. Écrivez \
                 `signature_over = \"raw\"` dans la configuration.",
            ),
            (
                "no genuine delivery since 2026-11-28T07:00:00Z, which is more than 24 h ago; Finkare knows no such webhook: \
                 register it again",
                "aucune livraison authentique depuis le 2026-11-28T07:00:00Z, il y a plus de 24 h\u{a0}; Finkare ne connaît \
                 pas ce webhook\u{a0}: inscrivez-le de nouveau",
            ),
            (
                "It is not known which secret Finkare signs with, and the service does not ask again by itself: 3 successful \
                 answers contained no readable secret. Deliveries that fit no known secret are answered 503. Take the \
                 webhook's secret from Finkare's dashboard and enter it with `finkare-relay endpoints settle acme`, or \
                 configure it and reload; or try once more with `finkare-relay rotate-secret --endpoint acme`.",
                "On ne sait pas avec quel secret Finkare signe, et le relais ne redemande pas de lui-même\u{a0}: 3 réponses de \
                 réussite ne contenaient pas de secret lisible. Les livraisons qui ne correspondent à aucun secret connu \
                 reçoivent la réponse 503. Prenez le secret du webhook sur le tableau de bord de Finkare et saisissez-le par \
                 «\u{a0}Dire quel secret est le bon\u{a0}» sur la page de la source acme, ou écrivez-le dans la \
                 configuration puis relisez-la\u{a0}; ou essayez encore une fois par «\u{a0}Renouveler le secret\u{a0}».",
            ),
            (
                "https://erp.example.fr answered 401 Unauthorized (check `headers`, `secret` and the user in `url`): who. are \
                 you",
                "https://erp.example.fr a répondu 401 Unauthorized (vérifiez `headers`, `secret` et l’utilisateur dans \
                 `url`)\u{a0}: who. are you",
            ),
            (
                "https://hooks.slack.com answered 404: no_service. The webhook was probably removed: make a new one, set \
                 `url`, reload, and resume the sink (`sinks resume`)",
                "https://hooks.slack.com a répondu 404\u{a0}: no_service. Le webhook a probablement été supprimé\u{a0}: \
                 faites-en un nouveau, mettez-le dans `url`, relisez la configuration, et remettez la destination en service",
            ),
            (
                "https://hooks.slack.com answered 404. The webhook was probably removed: make a new one, set `url`, reload, \
                 and resume the sink (`sinks resume`)",
                "https://hooks.slack.com a répondu 404. Le webhook a probablement été supprimé\u{a0}: faites-en un nouveau, \
                 mettez-le dans `url`, relisez la configuration, et remettez la destination en service",
            ),
            (
                "mail.example.fr:465 refused the recipient a@example.fr: the answer was 550 no such user; \
                 mail.example.fr:465 refused the recipient b@example.fr: the answer was 550 nor this; the other recipients \
                 have the mail",
                "mail.example.fr:465 a refusé le destinataire a@example.fr\u{a0}: la réponse était 550 no such user\u{a0}; \
                 mail.example.fr:465 a refusé le destinataire b@example.fr\u{a0}: la réponse était 550 nor this\u{a0}; les \
                 autres destinataires ont reçu le message",
            ),
            (
                "mail.example.fr:587 did not accept the login: the answer was 535 5.7.8 Denied. Go away. Check user and \
                 password in `smtp_url`, and resume the sink (`sinks resume`)",
                "mail.example.fr:587 n’a pas accepté l’identification\u{a0}: la réponse était 535 5.7.8 Denied. Go away. \
                 Vérifiez l’utilisateur et le mot de passe dans `smtp_url`, et remettez la destination en service",
            ),
            (
                "the sink's `template` failed for this event: line 2, column 4 of the template: the event has no \
                 `payment.method`. Change the template (`try` shows its result), reload, and retry; or cancel this dispatch",
                "le `template` de la destination a échoué pour cet événement\u{a0}: ligne 2, colonne 4 du modèle\u{a0}: \
                 l’événement n’a pas de `payment.method`. Changez le modèle («\u{a0}Voir ce qu’une destination \
                 recevrait\u{a0}» montre son résultat), relisez la configuration, et faites réessayer\u{a0}; ou classez cet \
                 envoi",
            ),
            (
                "cannot write to /data/events.jsonl: No space left on device (os error 28); free some space there",
                "impossible d’écrire dans /data/events.jsonl\u{a0}: No space left on device (os error 28)\u{a0}; libérez-y de \
                 la place",
            ),
            ("no answer within 9.5s", "aucune réponse en 9,5\u{a0}s"),
            (
                "its `filter` failed on this event, which counts as no match: it compares a text with a number",
                "son `filter` a échoué sur cet événement, ce qui compte comme une absence de correspondance\u{a0}: il compare \
                 un texte avec un nombre",
            ),
            (
                "It waits for a person in books (dispatch 7): no reason was stored. Decide with `dispatches retry 7` or \
                 `dispatches cancel 7`.",
                "Il attend la décision d’une personne pour books (envoi 7)\u{a0}: aucune raison n’a été enregistrée. Faites \
                 réessayer l’envoi, ou classez-le.",
            ),
            (
                "Finkare has payment p-1 of 1500.00 EUR, completed, and no event announced it; event e-1 of 20.00 on the same \
                 invoice has no payment: make its event with `reconcile --endpoint acme --since 2026-11-27 --until 2026-11-27 \
                 --fill`, or book it by hand.",
                "Finkare a le paiement p-1 de 1\u{202f}500,00\u{a0}€, terminé, et aucun événement ne l’a annoncé\u{a0}; \
                 l’événement e-1 de 20,00 sur la même facture n’a pas de paiement\u{a0}: complétez-le (source acme, du \
                 27/11/2026 au 27/11/2026), ou inscrivez-le à la main.",
            ),
            (
                "sinks added: erp, crm; sinks changed: books; options: server.ack_timeout_secs",
                "destinations ajoutées\u{a0}: erp, crm\u{a0}; destinations modifiées\u{a0}: books\u{a0}; options\u{a0}: \
                 server.ack_timeout_secs",
            ),
            (
                "sinks[0] (erp).url: is in quotes, which is taken for a part of the secret: take it out if it is none",
                "sinks[0] (erp).url\u{a0}: est entre guillemets, ce qui est pris pour une partie du secret\u{a0}: retirez-le si \
                 ce n’en est pas une",
            ),
            (
                "The request is not usable: the form names no event.",
                "La demande ne convient pas\u{a0}: le formulaire ne nomme aucun événement.",
            ),
            (
                "The token `anna` has the role viewer; this needs operator.",
                "Le jeton `anna` a le droit «\u{a0}lecture seule\u{a0}»\u{a0}; ceci demande le droit «\u{a0}opérateur\u{a0}».",
            ),
        ] {
            assert_eq!(said(english).as_deref(), Some(french), "{english}");
        }
    }

    /// What only begins or ends as something known is not told as if it were known.
    #[test]
    fn what_others_say_is_not_mistaken_for_it() {
        for text in [
            "the webhook answered 503 to listing the webhooks: busy",
            "https://erp.example.fr: it is on fire",
            "the disk: held",
            "paused",
            "sinks added: erp\nand more",
        ] {
            assert_eq!(said(text), None, "{text}");
        }
    }
}
