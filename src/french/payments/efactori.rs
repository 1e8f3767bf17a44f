//! What keeps a payment out of eFactori, and what differs there.

use crate::french::Pair;

pub(in crate::french) const PHRASES: &[Pair] = &[
    (
        "{reason:said}: eFactori does not filter by number; set `lookup = \"scan\"`",
        "{reason}\u{a0}: eFactori ne filtre pas par numéro\u{a0}; réglez `lookup = \"scan\"`",
    ),
    (
        "the payment of {payment:said} on invoice {number} was not recorded in eFactori: {what:said}. {todo:said}; then `dispatches retry`, or `dispatches cancel` if it is in the books",
        "le paiement de {payment} sur la facture {number} n’a pas été inscrit dans eFactori\u{a0}: {what}. {todo}\u{a0}; puis faites réessayer l’envoi, ou classez-le si le paiement est dans les livres",
    ),
    (
        "it is not known whether the payment of {payment:said} on invoice {number} was recorded in eFactori: {what:said}. {todo:said}; then `dispatches retry`",
        "on ne sait pas si le paiement de {payment} sur la facture {number} a été inscrit dans eFactori\u{a0}: {what}. {todo}\u{a0}; puis faites réessayer l’envoi",
    ),
    (
        "the payment of {payment:said} on invoice {number} has to be checked: {what:said}; then `dispatches retry`",
        "le paiement de {payment} sur la facture {number} doit être vérifié\u{a0}: {what}\u{a0}; puis faites réessayer l’envoi",
    ),
    (
        "invoice {number} is `{status}` at Finkare and was not set to `{paid}` in eFactori: {what:said}. {todo:said}; then `dispatches retry`, or `dispatches cancel`",
        "la facture {number} est `{status}` chez Finkare et n’est pas passée à `{paid}` dans eFactori\u{a0}: {what}. {todo}\u{a0}; puis faites réessayer l’envoi, ou classez-le",
    ),
    (
        "invoice {number} is `{status}` at Finkare: {why:said}; then `dispatches retry`",
        "la facture {number} est `{status}` chez Finkare\u{a0}: {why}\u{a0}; puis faites réessayer l’envoi",
    ),
    ("invoice {number} is `{status}` in eFactori already", "la facture {number} est déjà `{status}` dans eFactori"),
    ("`status_map` does nothing in eFactori for `{status}`", "`status_map` ne fait rien dans eFactori pour `{status}`"),
    // The invoice.
    (
        "there is no invoice {number} in eFactori, for the payment of {payment:said}: enter it there, or set `number` if it has another number there",
        "il n’y a pas de facture {number} dans eFactori, pour le paiement de {payment}\u{a0}: saisissez-la là-bas, ou réglez `number` si elle y a un autre numéro",
    ),
    (
        "there is no invoice {number} in eFactori, which is `{status}` at Finkare: enter it there",
        "il n’y a pas de facture {number} dans eFactori, qui est `{status}` chez Finkare\u{a0}: saisissez-la là-bas",
    ),
    (
        "invoice {number} is not among the {count:number} invoices that were read in eFactori, and there are more: raise `lookup_max_pages`, or try `lookup = \"query\"`",
        "la facture {number} n’est pas parmi les {count} factures qui ont été lues dans eFactori, et il y en a d’autres\u{a0}: augmentez `lookup_max_pages`, ou essayez `lookup = \"query\"`",
    ),
    (
        "invoice number {number} cannot be written into a filter: set `lookup = \"scan\"`",
        "le numéro de facture {number} ne peut pas être écrit dans un filtre\u{a0}: réglez `lookup = \"scan\"`",
    ),
    (
        "eFactori does not filter by number (it answered with {count:number} other invoices, and there are more): set `lookup = \"scan\"`",
        "eFactori ne filtre pas par numéro (il a répondu par {count} autres factures, et il y en a encore)\u{a0}: réglez `lookup = \"scan\"`",
    ),
    (
        "{count:number} invoices in eFactori have the number {number} (their ids there: {ids}): correct that there first",
        "{count} factures dans eFactori ont le numéro {number} (leurs identifiants là-bas\u{a0}: {ids})\u{a0}: corrigez-y d’abord cela",
    ),
    ("it is in the bin", "elle est dans la corbeille"),
    (
        "it is locked, because it is in the bookkeeping already",
        "elle est verrouillée, car elle est déjà dans la comptabilité",
    ),
    ("it is a draft (`concept`)", "c’est un brouillon (`concept`)"),
    (
        "eFactori does not say whether it is in the bin (`deleted`)",
        "eFactori ne dit pas si elle est dans la corbeille (`deleted`)",
    ),
    ("eFactori does not say whether it is locked (`locked`)", "eFactori ne dit pas si elle est verrouillée (`locked`)"),
    ("eFactori does not say whether it is open (`status`)", "eFactori ne dit pas si elle est ouverte (`status`)"),
    ("it is `{status}` there already", "elle y est déjà `{status}`"),
    (
        "its total (`total_amount_incl`) is not an amount in whole cents",
        "son total (`total_amount_incl`) n’est pas un montant en centimes entiers",
    ),
    ("its total is {total:money}, as of a credit note", "son total est de {total}, comme celui d’un avoir"),
    (
        "its total is {total:money}, of which the relay has booked {before:money} before, so that it would be overpaid",
        "son total est de {total}, dont le relais a déjà inscrit {before}, si bien qu’elle serait payée en trop",
    ),
    (
        "`accounts` names no payment account for the method `{method}`",
        "`accounts` ne nomme aucun compte de paiement pour le moyen `{method}`",
    ),
    // The payment.
    (
        "it is not known whether a payment of its amount is there already: {what:said}",
        "on ne sait pas si un paiement de ce montant y est déjà\u{a0}: {what}",
    ),
    (
        "it is not among the {count:number} payments that were read in eFactori, which do not go back to {day:day}: raise `payments_max_pages`",
        "il n’est pas parmi les {count} paiements qui ont été lus dans eFactori, qui ne remontent pas jusqu’au {day}\u{a0}: augmentez `payments_max_pages`",
    ),
    (
        "payments are not marked there (`marker_field = \"none\"`)",
        "les paiements n’y portent pas de repère (`marker_field = \"none\"`)",
    ),
    (
        "payment {id:word} in eFactori has our marker, but {differs:said}. Correct it there, or remove the marker from its name",
        "le paiement {id} dans eFactori porte le repère du relais, mais {differs}. Corrigez-le là-bas, ou retirez le repère de son nom",
    ),
    (
        "it is {count:number} times in eFactori, as payments {ids}. Remove all but one there",
        "il est {count} fois dans eFactori, comme paiements {ids}. Retirez-les là-bas, sauf un",
    ),
    (
        "payment {id:word} in eFactori may be it: its name of the other party is `` instead of `{marker}`. Compare both; if it is another payment, give it another name there, and {todo:said}",
        "le paiement {id} dans eFactori est peut-être celui-ci\u{a0}: le nom de l’autre partie y est vide au lieu de `{marker}`. Comparez les deux\u{a0}; si c’est un autre paiement, donnez-lui un autre nom là-bas, et {todo}",
    ),
    (
        "payment {id:word} in eFactori may be it: its name of the other party is `{name}` instead of `{marker}`. Compare both; if it is another payment, give it another name there, and {todo:said}",
        "le paiement {id} dans eFactori est peut-être celui-ci\u{a0}: le nom de l’autre partie y est `{name}` au lieu de `{marker}`. Comparez les deux\u{a0}; si c’est un autre paiement, donnez-lui un autre nom là-bas, et {todo}",
    ),
    (
        "eFactori's payments changed every time they were read: {call:said} was not possible",
        "les paiements d’eFactori ont changé à chaque lecture\u{a0}: {call} n’a pas été possible",
    ),
    // How it differs; several differences follow each other.
    (
        "its amount is {amount:money} instead of {wanted:money}, {more:said}",
        "son montant est de {amount} au lieu de {wanted}, {more}",
    ),
    ("its amount is {amount:money} instead of {wanted:money}", "son montant est de {amount} au lieu de {wanted}"),
    (
        "its amount cannot be read, and should be {wanted:money}, {more:said}",
        "son montant est illisible, et devrait être de {wanted}, {more}",
    ),
    (
        "its amount cannot be read, and should be {wanted:money}",
        "son montant est illisible, et devrait être de {wanted}",
    ),
    (
        "its currency is {currency} instead of {wanted:word}, {more:said}",
        "sa devise est {currency} au lieu de {wanted}, {more}",
    ),
    ("its currency is {currency} instead of {wanted:word}", "sa devise est {currency} au lieu de {wanted}"),
    ("its date is {day:day} instead of {wanted:day}, {more:said}", "sa date est le {day} au lieu du {wanted}, {more}"),
    ("its date is {day:day} instead of {wanted:day}", "sa date est le {day} au lieu du {wanted}"),
    (
        "its date cannot be read, and should be {wanted:day}, {more:said}",
        "sa date est illisible, et devrait être le {wanted}, {more}",
    ),
    ("its date cannot be read, and should be {wanted:day}", "sa date est illisible, et devrait être le {wanted}"),
    (
        "its payment account is {account} instead of {wanted:word}, {more:said}",
        "son compte de paiement est {account} au lieu de {wanted}, {more}",
    ),
    (
        "its payment account is {account} instead of {wanted:word}",
        "son compte de paiement est {account} au lieu de {wanted}",
    ),
    (
        "its name of the other party is `` instead of `{marker}` (without our marker a payment is not recognised after a crash: shorten `marker_prefix`, or set `marker_field = \"none\"`)",
        "le nom de l’autre partie y est vide au lieu de `{marker}` (sans le repère du relais, un paiement n’est pas reconnu après un arrêt brutal\u{a0}: raccourcissez `marker_prefix`, ou réglez `marker_field = \"none\"`)",
    ),
    (
        "its name of the other party is `{name}` instead of `{marker}` (without our marker a payment is not recognised after a crash: shorten `marker_prefix`, or set `marker_field = \"none\"`)",
        "le nom de l’autre partie y est `{name}` au lieu de `{marker}` (sans le repère du relais, un paiement n’est pas reconnu après un arrêt brutal\u{a0}: raccourcissez `marker_prefix`, ou réglez `marker_field = \"none\"`)",
    ),
    ("its currency is none", "sa devise n’est pas indiquée"),
    ("its currency is {currency:word}", "sa devise est {currency}"),
    // What a person does.
    ("Correct that first", "Corrigez d’abord cela"),
    ("Look at it there; this version needs to know", "Regardez-la là-bas\u{a0}; cette version a besoin de le savoir"),
    ("Look at it there, and book the payment by hand", "Regardez-la là-bas, et inscrivez le paiement à la main"),
    ("Take it out of the bin there", "Sortez-la de la corbeille"),
    ("Unlock it there", "Déverrouillez-la là-bas"),
    ("Finish it there", "Terminez-la là-bas"),
    (
        "Find out there by which payments, and whether this one is among them",
        "Cherchez-y par quels paiements, et si celui-ci en fait partie",
    ),
    ("Correct the invoice or book the payment by hand", "Corrigez la facture ou inscrivez le paiement à la main"),
    (
        "Decide what to do with the excess, and book the payment by hand",
        "Décidez que faire du surplus, et inscrivez le paiement à la main",
    ),
    (
        "Add `{method}` (or `other`, for all) to `accounts` in the settings",
        "Ajoutez `{method}` (ou `other`, pour tous) à `accounts` dans la configuration",
    ),
    (
        "Do that, or set `on_same_amount = \"book\"` for this sink, and reload",
        "Faites-le, ou réglez `on_same_amount = \"book\"` pour cette destination, et relisez la configuration",
    ),
    (
        "Make sure that Finkare's payment is there once, with `{marker}` as name of the other party, by which it is recognised",
        "Assurez-vous que le paiement de Finkare y est une seule fois, avec `{marker}` comme nom de l’autre partie, auquel il est reconnu",
    ),
    (
        "make sure that Finkare's payment is there once, with `{marker}` as name of the other party, by which it is recognised",
        "assurez-vous que le paiement de Finkare y est une seule fois, avec `{marker}` comme nom de l’autre partie, auquel il est reconnu",
    ),
    // What cannot be read, and what a check finds.
    ("it has another number than in the list", "elle a un autre numéro que dans la liste"),
    ("it is another invoice", "c’est une autre facture"),
    ("it is another payment", "c’est un autre paiement"),
    (
        "`accounts.{method}` is {id}, and eFactori has no such payment account: it has none",
        "`accounts.{method}` est {id}, et eFactori n’a pas de compte de paiement de ce genre\u{a0}: il n’en a aucun",
    ),
    (
        "`accounts.{method}` is {id}, and eFactori has no such payment account: it has {accounts}",
        "`accounts.{method}` est {id}, et eFactori n’a pas de compte de paiement de ce genre\u{a0}: il a {accounts}",
    ),
];
