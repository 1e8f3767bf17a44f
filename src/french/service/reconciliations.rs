//! What reconciliations find.

use crate::french::Pair;

pub(in crate::french) const PHRASES: &[Pair] = &[
    // A difference.
    (
        "Finkare has {amount:money} for payment {payment:word}, and event {event:word} announced {said:money}: find out which is right, and correct what was booked.",
        "Finkare a {amount} pour le paiement {payment}, et l’événement {event} a annoncé {said}\u{a0}: cherchez lequel est exact, et corrigez ce qui a été inscrit.",
    ),
    (
        "Finkare and event {event:word} do not agree: {how:said}. Find out which is right, book the payment by hand, and cancel what is held of this event.",
        "Finkare et l’événement {event} se contredisent\u{a0}: {how}. Cherchez lequel est exact, inscrivez le paiement à la main, et classez ce qui attend une décision pour cet événement.",
    ),
    (
        "Finkare and event {event:word} do not agree: {how}. Find out which is right, book the payment by hand, and cancel what is held of this event.",
        "Finkare et l’événement {event} se contredisent\u{a0}: «\u{a0}{how}\u{a0}». Cherchez lequel est exact, inscrivez le paiement à la main, et classez ce qui attend une décision pour cet événement.",
    ),
    (
        "Payment {payment:word} of {booked:money} is in the books of {sink:word}, and is `{status:word}` at Finkare now: undo it there by hand. The relay undoes nothing by itself.",
        "Le paiement {payment} de {booked} est dans les livres de {sink}, et il est maintenant `{status}` chez Finkare\u{a0}: annulez-le à la main dans vos livres. Le relais n’annule rien de lui-même.",
    ),
    (
        "Finkare has {amount:money} for payment {payment:word}, and {booked:money} is in the books of {sink:word}: find out which is right, and correct the other one.",
        "Finkare a {amount} pour le paiement {payment}, et {booked} sont dans les livres de {sink}\u{a0}: cherchez lequel est exact, et corrigez l’autre.",
    ),
    (
        "It waits for a person in {sink:word} (dispatch {id:number}): {reason:said}. Decide with `dispatches retry {id:number}` or `dispatches cancel {id:number}`.",
        "Il attend la décision d’une personne pour {sink} (envoi {id})\u{a0}: {reason}. Faites réessayer l’envoi, ou classez-le.",
    ),
    (
        "It waits for a person in {sink:word} (dispatch {id:number}): {reason}. Decide with `dispatches retry {id:number}` or `dispatches cancel {id:number}`.",
        "Il attend la décision d’une personne pour {sink} (envoi {id})\u{a0}: «\u{a0}{reason}\u{a0}». Faites réessayer l’envoi, ou classez-le.",
    ),
    (
        "It was given up in {sink:word} (dispatch {id:number}): {reason:said}. Remove the cause, then `dispatches retry {id:number}`.",
        "Il a été abandonné pour {sink} (envoi {id})\u{a0}: {reason}. Remédiez à la cause, puis faites réessayer l’envoi.",
    ),
    (
        "It was given up in {sink:word} (dispatch {id:number}): {reason}. Remove the cause, then `dispatches retry {id:number}`.",
        "Il a été abandonné pour {sink} (envoi {id})\u{a0}: «\u{a0}{reason}\u{a0}». Remédiez à la cause, puis faites réessayer l’envoi.",
    ),
    ("no reason was stored", "aucune raison n’a été enregistrée"),
    (
        "Payment {payment:word} of {amount:money} is not in the books of {sink:word}, as far as the ledger knows; its dispatch was cancelled: if a person has booked it by hand, nothing is to be done; else replay its event (`events replay {event:word} --sink {sink:word}`).",
        "Le paiement {payment} de {amount} n’est pas dans les livres de {sink}, d’après le registre\u{a0}; son envoi a été classé\u{a0}: si une personne l’a inscrit à la main, il n’y a rien à faire\u{a0}; sinon, renvoyez son événement {event} vers cette destination.",
    ),
    (
        "Payment {payment:word} of {amount:money} is not in the books of {sink:word}, as far as the ledger knows; its event was never sent there, perhaps because it is older than the sink: replay its event (`events replay {event:word} --sink {sink:word}`).",
        "Le paiement {payment} de {amount} n’est pas dans les livres de {sink}, d’après le registre\u{a0}; son événement n’y a jamais été envoyé, peut-être parce qu’il est plus ancien que la destination\u{a0}: renvoyez son événement {event} vers cette destination.",
    ),
    (
        "Payment {payment:word} of {amount:money} is not in the books of {sink:word}, as far as the ledger knows; the ledger has no line of it: look whether it is there, then replay its event (`events replay {event:word} --sink {sink:word}`).",
        "Le paiement {payment} de {amount} n’est pas dans les livres de {sink}, d’après le registre\u{a0}; le registre n’en a aucune ligne\u{a0}: regardez s’il y est, puis renvoyez son événement {event} vers cette destination.",
    ),
    (
        "Finkare has payment {payment:word} of {amount:money}, completed, and no event announced it; event {event:word} of {said:money} on the same invoice has no payment: {hindrance:said}.",
        "Finkare a le paiement {payment} de {amount}, terminé, et aucun événement ne l’a annoncé\u{a0}; l’événement {event} de {said} sur la même facture n’a pas de paiement\u{a0}: {hindrance}.",
    ),
    (
        "Finkare has payment {payment:word} of {amount:money}, completed, and no event announced it; event {event:word} on the same invoice has no payment: {hindrance:said}.",
        "Finkare a le paiement {payment} de {amount}, terminé, et aucun événement ne l’a annoncé\u{a0}; l’événement {event} sur la même facture n’a pas de paiement\u{a0}: {hindrance}.",
    ),
    (
        "Finkare has payment {payment:word} of {amount:money}, completed, and no event announced it: {hindrance:said}.",
        "Finkare a le paiement {payment} de {amount}, terminé, et aucun événement ne l’a annoncé\u{a0}: {hindrance}.",
    ),
    (
        "an older event of this invoice may have announced it, whose payload has been removed, so it is not filled: look into the books, and book it by hand if it is missing",
        "un événement plus ancien de cette facture, dont le contenu a été supprimé, l’a peut-être annoncé\u{a0}; il n’est donc pas complété\u{a0}: regardez dans vos livres, et inscrivez-le à la main s’il manque",
    ),
    (
        "it has no date at Finkare, so it is not filled: book it by hand",
        "il n’a pas de date chez Finkare, et n’est donc pas complété\u{a0}: inscrivez-le à la main",
    ),
    (
        "its amount is not above zero, so it is not filled: check it at Finkare",
        "son montant n’est pas supérieur à zéro, et il n’est donc pas complété\u{a0}: vérifiez-le chez Finkare",
    ),
    (
        "make its event with `reconcile --endpoint {endpoint:word} --since {since:day} --until {until:day} --fill`, or book it by hand",
        "complétez-le (source {endpoint}, du {since} au {until}), ou inscrivez-le à la main",
    ),
    (
        "Event {event:word} announces a payment of {said:money}, and other events have already announced every such payment (for example {payment:word}): Finkare sent it twice, or does not show a payment. Compare with Finkare, then cancel what is held of this event.",
        "L’événement {event} annonce un paiement de {said}, et d’autres événements ont déjà annoncé tous les paiements de ce genre (par exemple {payment})\u{a0}: Finkare l’a envoyé deux fois, ou ne montre pas un paiement. Comparez avec Finkare, puis classez ce qui attend une décision pour cet événement.",
    ),
    (
        "Event {event:word} announces a payment, and other events have already announced every such payment (for example {payment:word}): Finkare sent it twice, or does not show a payment. Compare with Finkare, then cancel what is held of this event.",
        "L’événement {event} annonce un paiement, et d’autres événements ont déjà annoncé tous les paiements de ce genre (par exemple {payment})\u{a0}: Finkare l’a envoyé deux fois, ou ne montre pas un paiement. Comparez avec Finkare, puis classez ce qui attend une décision pour cet événement.",
    ),
    (
        "Which payment event {event:word} announces cannot be read: {problem:said}. Look at the event, and book the payment by hand.",
        "On ne peut pas lire quel paiement l’événement {event} annonce\u{a0}: {problem}. Regardez l’événement, et inscrivez le paiement à la main.",
    ),
    (
        "Which payment event {event:word} announces cannot be read: {problem}. Look at the event, and book the payment by hand.",
        "On ne peut pas lire quel paiement l’événement {event} annonce\u{a0}: «\u{a0}{problem}\u{a0}». Regardez l’événement, et inscrivez le paiement à la main.",
    ),
    (
        "Event {event:word} announces a payment of {said:money} that Finkare does not have: compare with Finkare. If there is no such payment, take it out of the books where it was booked, and cancel what is held of this event.",
        "L’événement {event} annonce un paiement de {said} que Finkare n’a pas\u{a0}: comparez avec Finkare. Si ce paiement n’existe pas, retirez-le des livres où il a été inscrit, et classez ce qui attend une décision pour cet événement.",
    ),
    (
        "Event {event:word} announces a payment that Finkare does not have: compare with Finkare. If there is no such payment, take it out of the books where it was booked, and cancel what is held of this event.",
        "L’événement {event} annonce un paiement que Finkare n’a pas\u{a0}: comparez avec Finkare. Si ce paiement n’existe pas, retirez-le des livres où il a été inscrit, et classez ce qui attend une décision pour cet événement.",
    ),
    (
        "Event {event:word} announced payment {payment:word} of {amount:money}, which Finkare no longer has: check this at Finkare, and take it out of the books where it was booked.",
        "L’événement {event} a annoncé le paiement {payment} de {amount}, que Finkare n’a plus\u{a0}: vérifiez-le chez Finkare, et retirez-le des livres où il a été inscrit.",
    ),
    (
        "Finkare has payment {payment:word} of {amount:money}, completed, which no event had announced. It was filled: event {event:word} goes to the sinks like any other, so do not book it by hand.",
        "Finkare a le paiement {payment} de {amount}, terminé, qu’aucun événement n’avait annoncé. Il a été complété\u{a0}: l’événement {event} va aux destinations comme tout autre\u{a0}; ne l’inscrivez donc pas à la main.",
    ),
    (
        "the relay recorded {amount:money} in {system} and read it back there, and {system} does not show it any more ({what:said}): find out who removed it. The relay records no payment twice; if it belongs there, record it by hand.",
        "le relais a inscrit {amount} dans {system} et l’y a relu, et {system} ne le montre plus ({what})\u{a0}: cherchez qui l’a retiré. Le relais n’inscrit aucun paiement deux fois\u{a0}; s’il a sa place dans ces livres, inscrivez-le à la main.",
    ),
    (
        "the relay recorded {amount:money} in {system} and read it back there, and {system} does not show it any more ({what}): find out who removed it. The relay records no payment twice; if it belongs there, record it by hand.",
        "le relais a inscrit {amount} dans {system} et l’y a relu, et {system} ne le montre plus («\u{a0}{what}\u{a0}»)\u{a0}: cherchez qui l’a retiré. Le relais n’inscrit aucun paiement deux fois\u{a0}; s’il a sa place dans ces livres, inscrivez-le à la main.",
    ),
    // Why it was not made.
    (
        "{error:said}. Give the endpoint an `api_key` with the scope `payments:read`, and reload",
        "{error}. Donnez à la source une `api_key` avec le droit `payments:read`, puis relisez la configuration",
    ),
    (
        "{error:said}. Check `api_url` and `api_paths` of the endpoint",
        "{error}. Vérifiez `api_url` et `api_paths` de la source",
    ),
    (
        "Finkare cannot be asked: set `api_key` of endpoint `{endpoint:word}`, and reload",
        "Finkare ne peut pas être interrogée\u{a0}: donnez une `api_key` à la source `{endpoint}`, puis relisez la configuration",
    ),
    (
        "Finkare lists more than {most:number} payments for these days: reconcile fewer days at a time",
        "Finkare montre plus de {most} paiements pour ces jours\u{a0}: rapprochez moins de jours à la fois",
    ),
    (
        "Finkare's list of payments changed during each reading, so nobody knows whether it is complete",
        "la liste des paiements de Finkare a changé pendant chaque lecture\u{a0}; personne ne sait donc si elle est complète",
    ),
    (
        "Finkare cannot be asked: set `api_key` of endpoint `{endpoint:word}`, with the scope `payments:read`, and reload.",
        "Finkare ne peut pas être interrogée\u{a0}: donnez à la source `{endpoint}` une `api_key` avec le droit `payments:read`, puis relisez la configuration.",
    ),
    (
        "`since` ({since:day}) is after `until` ({until:day}).",
        "Le premier jour ({since}) est après le dernier ({until}).",
    ),
    (
        "`since` may not be before {earliest:day}: events older than `retention.dedupe_days` are deleted, so their payments would seem to be missing.",
        "Le premier jour ne peut pas être avant le {earliest}\u{a0}: les événements plus anciens que `retention.dedupe_days` sont supprimés, et leurs paiements sembleraient manquer.",
    ),
    (
        "Reconciliation {id:word} of this endpoint is running: wait until it is done.",
        "Le rapprochement {id} de cette source est en cours\u{a0}: attendez qu’il soit terminé.",
    ),
];
