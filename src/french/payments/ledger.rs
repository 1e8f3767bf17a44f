//! What the ledger could not do.

use crate::french::Pair;

pub(in crate::french) const PHRASES: &[Pair] = &[
    (
        "could not {action:said}: the database failed: {cause}",
        "impossible de {action}\u{a0}: la base de données a échoué\u{a0}: {cause}",
    ),
    ("could not {action:said}: the database failed", "impossible de {action}\u{a0}: la base de données a échoué"),
    (
        "could not {action:said}: the database refused a statement: {cause}",
        "impossible de {action}\u{a0}: la base de données a refusé une instruction\u{a0}: {cause}",
    ),
    (
        "could not {action:said}: the database refused a statement",
        "impossible de {action}\u{a0}: la base de données a refusé une instruction",
    ),
    (
        "table {table:word}, column {column:word}, row {row:word}: {problem:said}",
        "table {table}, colonne {column}, ligne {row}\u{a0}: {problem}",
    ),
    (
        "{micros:word} µs since 1970 is no time of this calendar",
        "{micros} µs depuis 1970 n’est pas une heure de ce calendrier",
    ),
    (
        "`{word}` is not one of `reserved`, `sending`, `written`, `booked`, `seen`",
        "`{word}` n’est ni `reserved`, ni `sending`, ni `written`, ni `booked`, ni `seen`",
    ),
    (
        "the event {event:word} is not stored (any more): no payment can be assigned to it",
        "l’événement {event} n’est pas (ou plus) enregistré\u{a0}: aucun paiement ne peut lui être attribué",
    ),
    (
        "the booking of payment {id} in sink {sink:word} cannot go back to `{state:word}`",
        "l’inscription du paiement {id} pour la destination {sink} ne peut pas revenir à `{state}`",
    ),
    (
        "there is no booking of payment {id} in sink {sink:word} to go on with",
        "il n’y a pas d’inscription du paiement {id} pour la destination {sink} à continuer",
    ),
    // What could not be done.
    ("read which payment event {event:word} announces", "lire quel paiement l’événement {event} annonce"),
    (
        "read which payments of an invoice are assigned to events",
        "lire quels paiements d’une facture sont attribués à des événements",
    ),
    (
        "read which payments of an invoice belong to other events",
        "lire quels paiements d’une facture appartiennent à d’autres événements",
    ),
    ("assign a payment to event {event:word}", "attribuer un paiement à l’événement {event}"),
    (
        "read which events of an invoice have no payment yet",
        "lire quels événements d’une facture n’ont pas encore de paiement",
    ),
    (
        "store what is known of the payment of event {event:word}",
        "enregistrer ce que l’on sait du paiement de l’événement {event}",
    ),
    ("read what was learned of the payments of events", "lire ce qui a été appris des paiements d’événements"),
    ("read what is known of the payments of events", "lire ce que l’on sait des paiements d’événements"),
    (
        "read the bookings of a payment in sink {sink:word}",
        "lire les inscriptions d’un paiement pour la destination {sink}",
    ),
    ("reserve a payment in sink {sink:word}", "réserver un paiement pour la destination {sink}"),
    (
        "record that a payment is about to be written in sink {sink:word}",
        "noter qu’un paiement va être écrit pour la destination {sink}",
    ),
    (
        "withdraw the booking of a payment in sink {sink:word}",
        "retirer l’inscription d’un paiement pour la destination {sink}",
    ),
    (
        "record how a person settled a payment in sink {sink:word}",
        "noter ce qu’une personne a dit d’un paiement pour la destination {sink}",
    ),
    (
        "record the outcome of a payment in sink {sink:word}",
        "noter le résultat d’un paiement pour la destination {sink}",
    ),
    (
        "add up the bookings of an invoice in sink {sink:word}",
        "additionner les inscriptions d’une facture pour la destination {sink}",
    ),
    ("purge old bookings", "supprimer les anciennes inscriptions"),
    ("list bookings", "lister les inscriptions"),
    ("search for payments", "chercher des paiements"),
];
