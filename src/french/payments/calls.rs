//! Calls to invoicing systems: what they are for, and what their answers mean.

use crate::french::Pair;

pub(in crate::french) const PHRASES: &[Pair] = &[
    (
        "{reason:said} (maintenance, or a proxy in between?)",
        "{reason} (maintenance, ou un serveur mandataire entre les deux\u{202f}?)",
    ),
    // What an answer means. What the system says itself stays as it is.
    (
        "{system:word} answered {status} to {call:said}, but its body says that it was not done: {words}",
        "{system} a répondu {status} à {call}, mais le contenu de sa réponse dit que cela n’a pas été fait\u{a0}: {words}",
    ),
    (
        "{system:word} answered {status} (redirects are not followed: check `base_url`) to {call:said}: {words}",
        "{system} a répondu {status} (les redirections ne sont pas suivies\u{a0}: vérifiez `base_url`) à {call}\u{a0}: {words}",
    ),
    (
        "{system:word} answered {status} (redirects are not followed: check `base_url`) to {call:said}",
        "{system} a répondu {status} (les redirections ne sont pas suivies\u{a0}: vérifiez `base_url`) à {call}",
    ),
    (
        "{system:word} answered {status} (it does not accept what this version sends) to {call:said}: {words}",
        "{system} a répondu {status} (il n’accepte pas ce que cette version envoie) à {call}\u{a0}: {words}",
    ),
    (
        "{system:word} answered {status} (it does not accept what this version sends) to {call:said}",
        "{system} a répondu {status} (il n’accepte pas ce que cette version envoie) à {call}",
    ),
    (
        "{system:word} answered {status} (check the credentials, their rights and the subscription) to {call:said}: {words}",
        "{system} a répondu {status} (vérifiez les identifiants de connexion, leurs droits et l’abonnement) à {call}\u{a0}: {words}",
    ),
    (
        "{system:word} answered {status} (check the credentials, their rights and the subscription) to {call:said}",
        "{system} a répondu {status} (vérifiez les identifiants de connexion, leurs droits et l’abonnement) à {call}",
    ),
    (
        "{system:word} could not be asked for {call:said}: {what:said}",
        "{system} n’a pas pu être interrogé pour {call}\u{a0}: {what}",
    ),
    (
        "the time for this attempt ran out before {system:word} could be asked for {call:said}",
        "le temps de cet essai s’est écoulé avant que {system} puisse être interrogé pour {call}",
    ),
    (
        "the limit of calls to {system:word} is reached (`api_limits`): {call:said} waits",
        "la limite des appels à {system} est atteinte (`api_limits`)\u{a0}: {call} attend",
    ),
    ("it is too long", "elle est trop longue"),
    ("it is empty", "elle est vide"),
    ("it is a web page instead of data", "c’est une page web au lieu de données"),
    (
        "its structure differs from the documentation (line {line:number}, column {column:number})",
        "sa structure diffère de la documentation (ligne {line}, colonne {column})",
    ),
    (
        "it is not JSON (line {line:number}, column {column:number})",
        "ce n’est pas du JSON (ligne {line}, colonne {column})",
    ),
    (
        "this machine's clock is {seconds:number} s behind that of {system:word}: set it right (NTP), or payments get the wrong date",
        "l’horloge de cette machine retarde de {seconds} s sur celle de {system}\u{a0}: réglez-la (NTP), sinon les paiements reçoivent une fausse date",
    ),
    (
        "this machine's clock is {seconds:number} s ahead of that of {system:word}: set it right (NTP), or payments get the wrong date",
        "l’horloge de cette machine avance de {seconds} s sur celle de {system}\u{a0}: réglez-la (NTP), sinon les paiements reçoivent une fausse date",
    ),
    // What a call is for. French has it as a noun, so that it stands in the sentences above as well as alone.
    (
        "looking for the payment of invoice {number} at the bank",
        "la recherche à la banque du paiement de la facture {number}",
    ),
    ("looking for invoice of the newest number", "la recherche de la facture la plus récente"),
    ("looking for invoice {number:name}", "la recherche de la facture {number}"),
    ("looking at invoice {number:name}", "la consultation de la facture {number}"),
    ("looking for Finkare's payment {id:word}", "la recherche du paiement Finkare {id}"),
    ("reading back Finkare's payment {id:word}", "la relecture du paiement Finkare {id}"),
    (
        "recording the payment of {payment:said} on invoice {number:name}",
        "l’inscription du paiement de {payment} sur la facture {number}",
    ),
    ("recording {payment:said} on invoice {number:name}", "l’inscription de {payment} sur la facture {number}"),
    ("setting invoice {number} to {status:name}", "la mise à {status} de la facture {number}"),
    ("noting `{line}` on invoice {number:name}", "l’ajout de la note `{line}` à la facture {number}"),
    ("reading the invoice with the id {id:number}", "la lecture de la facture d’identifiant {id}"),
    (
        "reading the payments of the invoice with the id {id:number}",
        "la lecture des paiements de la facture d’identifiant {id}",
    ),
    ("reading its payment accounts", "la lecture de ses comptes de paiement"),
    ("reading its payments", "la lecture de ses paiements"),
    ("reading its invoices", "la lecture de ses factures"),
    ("the list of companies", "la liste des entreprises"),
    ("the business", "l’entreprise"),
    ("the first page of invoices", "la première page des factures"),
    ("the account", "l’accès au compte"),
    ("whether invoices can be read", "l’accès aux factures"),
    (
        "`base_url` must begin with https:// (or http://) and a host",
        "`base_url` doit commencer par https:// (ou http://) et un hôte",
    ),
    (
        "`base_url` must have no user, password, query or fragment",
        "`base_url` ne doit avoir ni utilisateur, ni mot de passe, ni requête, ni fragment",
    ),
];

/// An answer in the system's own words, with nothing known about it. The words may go on to the end of the text, so these stand
/// behind all phrases that say more.
pub(in crate::french) const ANSWERS: &[Pair] = &[
    ("{system:word} answered {status} to {call:said}: {words}", "{system} a répondu {status} à {call}\u{a0}: {words}"),
    ("{system:word} answered {status} to {call:said}", "{system} a répondu {status} à {call}"),
];
