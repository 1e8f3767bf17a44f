//! What others did not answer: the words of the crates that call invoicing systems, targets and Finkare.

use super::Pair;

pub(super) const PHRASES: &[Pair] = &[
    // --- why a request got no answer, in the words of `crates/outgoing`
    (
        "{what:said} (or, unless it is called directly, the proxy of `outgoing.proxy`)",
        "{what} (ou, sauf si l’appel est direct, le serveur mandataire de `outgoing.proxy`)",
    ),
    (
        "its name cannot be resolved ({cause}): check the host of the address and the DNS",
        "son nom ne peut pas être résolu ({cause})\u{a0}: vérifiez l’hôte de l’adresse et le DNS",
    ),
    (
        "no connection within {time:span}: check the host and port of the address, and firewalls",
        "pas de connexion en {time}\u{a0}: vérifiez l’hôte et le port de l’adresse, et les pare-feux",
    ),
    (
        "no answer within {time:span}: see what keeps it busy, or raise `timeout_secs`",
        "aucune réponse en {time}\u{a0}: voyez ce qui l’occupe, ou augmentez `timeout_secs`",
    ),
    (
        "the connection was refused: is the service running, and the port of the address right?",
        "la connexion a été refusée\u{a0}: le service est-il en marche, et le port de l’adresse est-il juste\u{202f}?",
    ),
    (
        "there is no network route to it: check the host of the address and this machine's network",
        "aucun chemin du réseau n’y mène\u{a0}: vérifiez l’hôte de l’adresse et le réseau de cette machine",
    ),
    (
        "it closed the connection before it had answered: see its own log",
        "il a fermé la connexion avant d’avoir répondu\u{a0}: voyez son propre journal",
    ),
    ("the request failed: no cause is known", "la requête a échoué\u{a0}: aucune cause n’est connue"),
    ("the request failed: {cause}", "la requête a échoué\u{a0}: {cause}"),
    (
        "the proxy asks for a user and a password: write them into `outgoing.proxy`",
        "le serveur mandataire demande un utilisateur et un mot de passe\u{a0}: écrivez-les dans `outgoing.proxy`",
    ),
    (
        "the proxy cannot be reached ({cause}): check `outgoing.proxy`",
        "le serveur mandataire ne peut pas être atteint ({cause})\u{a0}: vérifiez `outgoing.proxy`",
    ),
    (
        "the proxy of `outgoing.proxy` did not open a connection to it ({cause}): check the host of the address, and whether the proxy allows it; `outgoing.no_proxy` names hosts that are called directly",
        "le serveur mandataire de `outgoing.proxy` n’a pas ouvert de connexion vers lui ({cause})\u{a0}: vérifiez l’hôte de l’adresse, et si le serveur mandataire l’autorise\u{a0}; `outgoing.no_proxy` nomme les hôtes qui sont appelés directement",
    ),
    (
        "it answered, and the head of its answer is larger than this program reads: see which headers it, or a proxy in between, sends. The event may have arrived",
        "il a répondu, et l’en-tête de sa réponse est plus grand que ce que le relais lit\u{a0}: voyez quels en-têtes il envoie, lui ou un serveur mandataire entre les deux. L’événement est peut-être arrivé",
    ),
    (
        "its answer is not HTTP/1.1 ({cause}): check the scheme and the port of the address",
        "sa réponse n’est pas du HTTP/1.1 ({cause})\u{a0}: vérifiez le schéma et le port de l’adresse",
    ),
    (
        "it answered, and our HTTP library cannot read the headers of its answer ({cause}): it, or a proxy in between, sends a header line that is not allowed (a blank before the colon, a folded line, a control character, a contradictory length). Have that repaired. The event may have arrived",
        "il a répondu, et la bibliothèque HTTP du relais ne peut pas lire les en-têtes de sa réponse ({cause})\u{a0}: lui, ou un serveur mandataire entre les deux, envoie une ligne d’en-tête qui n’est pas permise (un blanc avant le deux-points, une ligne repliée, un caractère de contrôle, une longueur contradictoire). Faites-le réparer. L’événement est peut-être arrivé",
    ),
    (
        "its TLS certificate is not trusted: add its CA to the system's certificates or name it as `outgoing.ca_file`, or have it send the whole chain",
        "son certificat TLS n’est pas reconnu\u{a0}: ajoutez son autorité aux certificats du système ou nommez-la dans `outgoing.ca_file`, ou faites-lui envoyer toute la chaîne",
    ),
    (
        "its TLS certificate is for another name: check the host of the address",
        "son certificat TLS est établi pour un autre nom\u{a0}: vérifiez l’hôte de l’adresse",
    ),
    (
        "its TLS certificate has expired: have it renewed, or check this machine's clock",
        "son certificat TLS a expiré\u{a0}: faites-le renouveler, ou vérifiez l’horloge de cette machine",
    ),
    (
        "its TLS certificate is not valid yet: check this machine's clock",
        "son certificat TLS n’est pas encore valable\u{a0}: vérifiez l’horloge de cette machine",
    ),
    (
        "its TLS certificate is not accepted ({cause}): have it replaced",
        "son certificat TLS n’est pas accepté ({cause})\u{a0}: faites-le remplacer",
    ),
    (
        "it does not speak TLS: should the address begin with http://, or have another port?",
        "il ne parle pas TLS\u{a0}: l’adresse doit-elle commencer par http://, ou avoir un autre port\u{202f}?",
    ),
    (
        "the HTTPS client cannot start ({cause}): install the system's CA certificates (ca-certificates)",
        "le client HTTPS ne peut pas démarrer ({cause})\u{a0}: installez les certificats des autorités du système (ca-certificates)",
    ),
    ("the TLS handshake failed: {cause}", "l’établissement de la connexion TLS a échoué\u{a0}: {cause}"),
    // --- what a call to Finkare came to, in the words of `crates/finkare`
    (
        "Finkare answered {status:number} ({code}) to {call:said}: it gave no reason",
        "Finkare a répondu {status} ({code}) à {call}\u{a0}: aucune raison n’a été donnée",
    ),
    (
        "Finkare answered {status:number} ({code}) to {call:said}: {message}",
        "Finkare a répondu {status} ({code}) à {call}\u{a0}: {message}",
    ),
    (
        "Finkare answered {status:number} to {call:said}: it gave no reason",
        "Finkare a répondu {status} à {call}\u{a0}: aucune raison n’a été donnée",
    ),
    (
        "Finkare answered {status:number} to {call:said}: {message}",
        "Finkare a répondu {status} à {call}\u{a0}: {message}",
    ),
    (
        "Finkare could not be reached for {call:said}: {cause}",
        "Finkare n’a pas pu être joint pour {call}\u{a0}: {cause}",
    ),
    ("Finkare could not be reached for {call:said}", "Finkare n’a pas pu être joint pour {call}"),
    (
        "Finkare did not answer in time to {call:said}: {cause}",
        "Finkare n’a pas répondu à temps à {call}\u{a0}: {cause}",
    ),
    ("Finkare did not answer in time to {call:said}", "Finkare n’a pas répondu à temps à {call}"),
    (
        "the connection broke before Finkare had answered to {call:said}: {cause}",
        "la connexion s’est rompue avant que Finkare ait répondu à {call}\u{a0}: {cause}",
    ),
    (
        "the connection broke before Finkare had answered to {call:said}",
        "la connexion s’est rompue avant que Finkare ait répondu à {call}",
    ),
    (
        "Finkare cannot be asked for {call:said}: {problem:said}",
        "Finkare ne peut pas être interrogé pour {call}\u{a0}: {problem}",
    ),
    ("the id is empty", "l’identifiant est vide"),
    ("the id is longer than any of Finkare's", "l’identifiant est plus long que tous ceux de Finkare"),
    (
        "the id is made of dots or has control characters",
        "l’identifiant est fait de points ou contient des caractères de contrôle",
    ),
    ("`api_url` cannot have a path", "`api_url` ne peut pas avoir de chemin"),
    (
        "its idempotency key must be 1 to {most:number} visible characters of ASCII",
        "sa clé d’idempotence doit avoir de 1 à {most} caractères ASCII visibles",
    ),
    (
        "pages are counted from 1, and have at least one item",
        "les pages sont comptées à partir de 1, et ont au moins un élément",
    ),
    ("a page has at least one item", "une page a au moins un élément"),
    (
        "the amount of invoice {number} must be more than 0 cents",
        "le montant de la facture {number} doit dépasser 0 centime",
    ),
    // Also for the answers of invoicing systems.
    (
        "Finkare's answer to {call:said} cannot be read: {problem:said}",
        "la réponse de Finkare à {call} est illisible\u{a0}: {problem}",
    ),
    (
        "{system:word}'s answer to {call:said} cannot be read: {problem:said}",
        "la réponse de {system} à {call} est illisible\u{a0}: {problem}",
    ),
    ("it is longer than {most:number} bytes", "elle dépasse {most} octets"),
    (
        "it is no JSON from line {line:number}, column {column:number} on",
        "ce n’est plus du JSON à partir de la ligne {line}, colonne {column}",
    ),
    (
        "it announces {total:number} items, but page {page:number} has none that is new",
        "elle annonce {total} éléments, mais la page {page} n’en a aucun de nouveau",
    ),
    (
        "it goes on after {most:number} pages: ask for a part of it, such as the payments of a month",
        "elle continue après {most} pages\u{a0}: demandez-en une partie, par exemple les paiements d’un mois",
    ),
    (
        "it shows an amount of {shown:number} cents, and {sent:number} cents were sent: cancel invoice {number} at Finkare, and try the other `amount_field`",
        "elle montre un montant de {shown} centimes, et {sent} centimes ont été envoyés\u{a0}: annulez la facture {number} chez Finkare, et essayez l’autre `amount_field`",
    ),
    ("item {index:number}: {problem:said}", "élément {index}\u{a0}: {problem}"),
    ("`data` is not a list", "`data` n’est pas une liste"),
    ("it is not an object", "ce n’est pas un objet"),
    ("`amountCents` is missing", "`amountCents` manque"),
    ("`events` is missing", "`events` manque"),
    ("`{name:word}` is missing", "`{name}` manque"),
    ("`{name:word}` is empty", "`{name}` est vide"),
    ("`{name:word}` is not a text", "`{name}` n’est pas un texte"),
    ("`{name:word}` is not a list of texts", "`{name}` n’est pas une liste de textes"),
    ("`{name:word}` is neither true nor false", "`{name}` n’est ni vrai ni faux"),
    ("`{name:word}` is not a number of items", "`{name}` n’est pas un nombre d’éléments"),
    ("`{name:word}` is not an integer of cents", "`{name}` n’est pas un nombre entier de centimes"),
    ("`{name:word}` is masked, or no secret at all", "`{name}` est masqué, ou n’est pas un secret"),
    // What a call to Finkare is for: a noun in French, as it stands behind a preposition.
    ("{call:said} (page {page:number})", "{call} (page {page})"),
    ("reading invoice {id:name}", "la lecture de la facture {id}"),
    ("reading payment {id:word}", "la lecture du paiement {id}"),
    ("listing the payments of invoice {id:word}", "la liste des paiements de la facture {id}"),
    ("listing payments", "la liste des paiements"),
    ("listing invoices", "la liste des factures"),
    ("creating an invoice", "la création d’une facture"),
    ("importing invoices", "l’importation de factures"),
    ("changing invoice {id:word}", "la modification de la facture {id}"),
    ("cancelling invoice {id:word}", "l’annulation de la facture {id}"),
    ("listing debtors", "la liste des débiteurs"),
    ("reading debtor {id:word}", "la lecture du débiteur {id}"),
    ("reading the workflow of invoice {id:word}", "la lecture du suivi de la facture {id}"),
    ("triggering the workflow of invoice {id:word}", "la demande de déclenchement du suivi de la facture {id}"),
    ("listing the webhooks", "la liste des webhooks"),
    ("reading webhook {id:word}", "la lecture du webhook {id}"),
    ("creating a webhook", "la création d’un webhook"),
    ("changing webhook {id:word}", "la modification du webhook {id}"),
    ("deleting webhook {id:word}", "la suppression du webhook {id}"),
    ("rotating the secret of webhook {id:word}", "la demande de renouvellement du secret du webhook {id}"),
    ("listing the deliveries of webhook {id:word}", "la liste des livraisons du webhook {id}"),
    ("listing the API keys", "la liste des clés d’API"),
    ("creating an API key", "la création d’une clé d’API"),
    ("rotating API key {id:word}", "la demande de renouvellement de la clé d’API {id}"),
    ("revoking API key {id:word}", "la révocation de la clé d’API {id}"),
];
