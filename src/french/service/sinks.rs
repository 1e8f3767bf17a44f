//! What sinks answer, and what a test or a preview of one says.

use crate::french::Pair;

pub(in crate::french) const PHRASES: &[Pair] = &[
    // HTTP targets. What the target itself says stays as it is.
    (
        "http{target:word} answered {status:number} {name} (redirects are not followed: set `url` to the final address): {said}",
        "http{target} a répondu {status} {name} (les redirections ne sont pas suivies\u{a0}: mettez dans `url` l’adresse finale)\u{a0}: {said}",
    ),
    (
        "http{target:word} answered {status:number} {name} (redirects are not followed: set `url` to the final address)",
        "http{target} a répondu {status} {name} (les redirections ne sont pas suivies\u{a0}: mettez dans `url` l’adresse finale)",
    ),
    (
        "http{target:word} answered {status:number} {name} (check `headers`, `secret` and the user in `url`): {said}",
        "http{target} a répondu {status} {name} (vérifiez `headers`, `secret` et l’utilisateur dans `url`)\u{a0}: {said}",
    ),
    (
        "http{target:word} answered {status:number} {name} (check `headers`, `secret` and the user in `url`)",
        "http{target} a répondu {status} {name} (vérifiez `headers`, `secret` et l’utilisateur dans `url`)",
    ),
    (
        "http{target:word} answered {status:number} {name} (check `url`): {said}",
        "http{target} a répondu {status} {name} (vérifiez `url`)\u{a0}: {said}",
    ),
    (
        "http{target:word} answered {status:number} {name} (check `url`)",
        "http{target} a répondu {status} {name} (vérifiez `url`)",
    ),
    (
        "http{target:word} answered {status:number} {name} (the target wants no more events: the sink is paused until it is resumed): {said}",
        "http{target} a répondu {status} {name} (la cible ne veut plus d’événements\u{a0}: la destination est en pause jusqu’à ce qu’elle soit remise en service)\u{a0}: {said}",
    ),
    (
        "http{target:word} answered {status:number} {name} (the target wants no more events: the sink is paused until it is resumed)",
        "http{target} a répondu {status} {name} (la cible ne veut plus d’événements\u{a0}: la destination est en pause jusqu’à ce qu’elle soit remise en service)",
    ),
    // Chat services. Their stops are whole sentences behind the answer.
    (
        "http{target:word} answered {status:number}: {said} (redirects are not followed: set `url` to the final address)",
        "http{target} a répondu {status}\u{a0}: {said} (les redirections ne sont pas suivies\u{a0}: mettez dans `url` l’adresse finale)",
    ),
    (
        "http{target:word} answered {status:number} (redirects are not followed: set `url` to the final address)",
        "http{target} a répondu {status} (les redirections ne sont pas suivies\u{a0}: mettez dans `url` l’adresse finale)",
    ),
    (
        "The webhook was probably removed: make a new one, set `url`, reload, and resume the sink (`sinks resume`)",
        "Le webhook a probablement été supprimé\u{a0}: faites-en un nouveau, mettez-le dans `url`, relisez la configuration, et remettez la destination en service",
    ),
    (
        "The service refuses this webhook: allow it there, or make a new one, set `url`, reload, and resume the sink (`sinks resume`)",
        "Le service refuse ce webhook\u{a0}: autorisez-le là-bas, ou faites-en un nouveau, mettez-le dans `url`, relisez la configuration, et remettez la destination en service",
    ),
    (
        "That is not what {service} answers when it has posted a message: copy the address of the incoming webhook again, set `url`, reload, and resume the sink (`sinks resume`)",
        "Ce n’est pas ce que {service} répond quand il a publié un message\u{a0}: copiez de nouveau l’adresse du webhook entrant, mettez-la dans `url`, relisez la configuration, et remettez la destination en service",
    ),
    // Both, without advice.
    ("http{target:word} answered {status:number}: {said}", "http{target} a répondu {status}\u{a0}: {said}"),
    (
        "http{target:word} answered {status:number} {name}: {said}",
        "http{target} a répondu {status} {name}\u{a0}: {said}",
    ),
    ("http{target:word} answered {status:number} {name}", "http{target} a répondu {status} {name}"),
    ("http{target:word} answered {status:number}", "http{target} a répondu {status}"),
    ("http{target:word}: {why:said}", "http{target}\u{a0}: {why}"),
    // Mail servers.
    ("{first:said}; the other recipient has the mail", "{first}\u{a0}; l’autre destinataire a reçu le message"),
    ("{first:said}; the other recipients have the mail", "{first}\u{a0}; les autres destinataires ont reçu le message"),
    (
        "{server:word} refused the recipient {to:word}: {what:said}. Nobody gets the mail before all recipients can",
        "{server} a refusé le destinataire {to}\u{a0}: {what}. Personne ne reçoit le message avant que tous puissent le recevoir",
    ),
    (
        "{server:word} refused the recipient {to:word}: {what}. Nobody gets the mail before all recipients can",
        "{server} a refusé le destinataire {to}\u{a0}: {what}. Personne ne reçoit le message avant que tous puissent le recevoir",
    ),
    (
        "{server:word} refused the recipient {to:word}: the answer was {answer}; {more:said}",
        "{server} a refusé le destinataire {to}\u{a0}: la réponse était {answer}\u{a0}; {more}",
    ),
    (
        "{server:word} refused the recipient {to:word}: {what:said}",
        "{server} a refusé le destinataire {to}\u{a0}: {what}",
    ),
    ("{server:word} refused the recipient {to:word}: {what}", "{server} a refusé le destinataire {to}\u{a0}: {what}"),
    (
        "{server:word} refused the sender {from:word}: {what:said}",
        "{server} a refusé l’expéditeur {from}\u{a0}: {what}",
    ),
    ("{server:word} refused the sender {from:word}: {what}", "{server} a refusé l’expéditeur {from}\u{a0}: {what}"),
    ("{server:word} refused the mail: {what:said}", "{server} a refusé le message\u{a0}: {what}"),
    ("{server:word} refused the mail: {what}", "{server} a refusé le message\u{a0}: {what}"),
    ("{server:word} did not accept the login: {what:said}", "{server} n’a pas accepté l’identification\u{a0}: {what}"),
    ("{server:word} did not accept the login: {what}", "{server} n’a pas accepté l’identification\u{a0}: {what}"),
    ("{server:word} could not be connected to: {what:said}", "la connexion à {server} a échoué\u{a0}: {what}"),
    ("{server:word} could not be connected to: {what}", "la connexion à {server} a échoué\u{a0}: {what}"),
    ("{server:word} failed at STARTTLS: {what:said}", "{server} a échoué à STARTTLS\u{a0}: {what}"),
    ("{server:word} failed at STARTTLS: {what}", "{server} a échoué à STARTTLS\u{a0}: {what}"),
    ("{server:word} cannot be reached with TLS: {what:said}", "{server} ne peut pas être atteint en TLS\u{a0}: {what}"),
    ("{server:word} cannot be reached with TLS: {what}", "{server} ne peut pas être atteint en TLS\u{a0}: {what}"),
    ("{server:word} did not answer within {time:span}", "{server} n’a pas répondu en {time}"),
    (
        "{server:word} does not offer STARTTLS, which `tls=required` asks for: nothing was sent. Is the port right? For TLS from the start write `smtps://`",
        "{server} n’offre pas STARTTLS, que `tls=required` demande\u{a0}: rien n’a été envoyé. Le port est-il le bon\u{202f}? Pour TLS dès le début, écrivez `smtps://`",
    ),
    (
        "Ask who runs the mail server, correct `smtp_url` or `from`, and resume the sink (`sinks resume`)",
        "Demandez à qui s’occupe du serveur de messagerie, corrigez `smtp_url` ou `from`, et remettez la destination en service",
    ),
    (
        "Check user and password in `smtp_url`, and resume the sink (`sinks resume`)",
        "Vérifiez l’utilisateur et le mot de passe dans `smtp_url`, et remettez la destination en service",
    ),
    ("TLS failed: {what}", "TLS a échoué\u{a0}: {what}"),
    ("the answer was {answer}", "la réponse était {answer}"),
    (
        "the mail cannot be written: {problem}. Check `from`, `to` and the templates",
        "le message ne peut pas être écrit\u{a0}: {problem}. Vérifiez `from`, `to` et les modèles",
    ),
    // Templates.
    (
        "the sink's `template` failed for this event: {broken:said}. Change the template (`try` shows its result), reload, and retry; or cancel this dispatch",
        "le `template` de la destination a échoué pour cet événement\u{a0}: {broken}. Changez le modèle («\u{a0}Voir ce qu’une destination recevrait\u{a0}» montre son résultat), relisez la configuration, et faites réessayer\u{a0}; ou classez cet envoi",
    ),
    (
        "the sink's `text` failed for this event: {broken:said}. Change the template (`try` shows its result), reload, and retry; or cancel this dispatch",
        "le `text` de la destination a échoué pour cet événement\u{a0}: {broken}. Changez le modèle («\u{a0}Voir ce qu’une destination recevrait\u{a0}» montre son résultat), relisez la configuration, et faites réessayer\u{a0}; ou classez cet envoi",
    ),
    (
        "the sink's `template` failed for this event: {broken}. Change the template (`try` shows its result), reload, and retry; or cancel this dispatch",
        "le `template` de la destination a échoué pour cet événement\u{a0}: {broken}. Changez le modèle («\u{a0}Voir ce qu’une destination recevrait\u{a0}» montre son résultat), relisez la configuration, et faites réessayer\u{a0}; ou classez cet envoi",
    ),
    (
        "the sink's `text` failed for this event: {broken}. Change the template (`try` shows its result), reload, and retry; or cancel this dispatch",
        "le `text` de la destination a échoué pour cet événement\u{a0}: {broken}. Changez le modèle («\u{a0}Voir ce qu’une destination recevrait\u{a0}» montre son résultat), relisez la configuration, et faites réessayer\u{a0}; ou classez cet envoi",
    ),
    (
        "the sink's `subject` or `text` failed for this event: {broken:said}. Change the template (`try` shows its result), reload, and retry; or cancel this dispatch",
        "le `subject` ou le `text` de la destination a échoué pour cet événement\u{a0}: {broken}. Changez le modèle («\u{a0}Voir ce qu’une destination recevrait\u{a0}» montre son résultat), relisez la configuration, et faites réessayer\u{a0}; ou classez cet envoi",
    ),
    (
        "the sink's `subject` or `text` failed for this event: {broken}. Change the template (`try` shows its result), reload, and retry; or cancel this dispatch",
        "le `subject` ou le `text` de la destination a échoué pour cet événement\u{a0}: {broken}. Changez le modèle («\u{a0}Voir ce qu’une destination recevrait\u{a0}» montre son résultat), relisez la configuration, et faites réessayer\u{a0}; ou classez cet envoi",
    ),
    (
        "line {line:number}, column {column:number} of the template: {problem:said}",
        "ligne {line}, colonne {column} du modèle\u{a0}: {problem}",
    ),
    (
        "line {line:number}, column {column:number} of the template: {problem}",
        "ligne {line}, colonne {column} du modèle\u{a0}: {problem}",
    ),
    ("line {line:number} of the template: {problem:said}", "ligne {line} du modèle\u{a0}: {problem}"),
    ("line {line:number} of the template: {problem}", "ligne {line} du modèle\u{a0}: {problem}"),
    ("its result is longer than {most:number} bytes", "son résultat dépasse {most} octets"),
    ("the event has no {fields}", "l’événement n’a pas de {fields}"),
    (
        "its result is not JSON from line {line:number}, column {column:number} on (at `{tail}` before `{rest}`)",
        "son résultat n’est plus du JSON à partir de la ligne {line}, colonne {column} (à `{tail}`, avant `{rest}`)",
    ),
    (
        "its result is not JSON from line {line:number}, column {column:number} on",
        "son résultat n’est plus du JSON à partir de la ligne {line}, colonne {column}",
    ),
    (
        "every `{{ … }}` writes its own quotes, so it cannot be put between quotes of the template: let one `{{ … }}` write the whole text, such as {\"text\": {{ \"before \" ~ {expression} ~ \" after\" }}}",
        "chaque `{{ … }}` écrit ses propres guillemets, et ne peut donc pas être mis entre des guillemets du modèle\u{a0}: laissez un seul `{{ … }}` écrire tout le texte, par exemple {\"text\": {{ \"before \" ~ {expression} ~ \" after\" }}}",
    ),
    (
        "invalid operation: `moment` takes a time, such as event.received_at",
        "opération non valable\u{a0}: `moment` prend une heure, par exemple event.received_at",
    ),
    (
        "invalid operation: `{filter:word}` takes a whole number of cents, such as payment.amount_cents",
        "opération non valable\u{a0}: `{filter}` prend un nombre entier de centimes, par exemple payment.amount_cents",
    ),
    // Files and standard output.
    (
        "{path:word} was deleted while it was written; it will be created again",
        "{path} a été supprimé pendant l’écriture\u{a0}; il sera créé de nouveau",
    ),
    (
        "{path:word} is being written by another process or sink; give each its own `path`",
        "{path} est en train d’être écrit par un autre processus ou une autre destination\u{a0}; donnez à chacun son propre `path`",
    ),
    ("{path:word} was replaced while it was opened", "{path} a été remplacé pendant son ouverture"),
    (
        "{path:word} ends with something that is not an event: move it away or choose another `path`",
        "{path} finit par quelque chose qui n’est pas un événement\u{a0}: déplacez-le ou choisissez un autre `path`",
    ),
    (
        "{path:word} is not a regular file: choose another `path`, or the sink type `stdout` for a pipe",
        "{path} n’est pas un fichier ordinaire\u{a0}: choisissez un autre `path`, ou le type de destination `stdout` pour un tube",
    ),
    (
        "cannot write to {path:word}: {error}; {advice:said}",
        "impossible d’écrire dans {path}\u{a0}: {error}\u{a0}; {advice}",
    ),
    (
        "cannot create the folder of {path:word}: {error}; {advice:said}",
        "impossible de créer le dossier de {path}\u{a0}: {error}\u{a0}; {advice}",
    ),
    ("cannot open {path:word}: {error}; {advice:said}", "impossible d’ouvrir {path}\u{a0}: {error}\u{a0}; {advice}"),
    (
        "cannot lock {path:word}: {error}; {advice:said}",
        "impossible de verrouiller {path}\u{a0}: {error}\u{a0}; {advice}",
    ),
    (
        "cannot sync the folder of {path:word}: {error}; {advice:said}",
        "impossible de synchroniser le dossier de {path}\u{a0}: {error}\u{a0}; {advice}",
    ),
    (
        "cannot repair the end of {path:word}: {error}; {advice:said}",
        "impossible de réparer la fin de {path}\u{a0}: {error}\u{a0}; {advice}",
    ),
    (
        "cannot check {path:word}: {error}; {advice:said}",
        "impossible de vérifier {path}\u{a0}: {error}\u{a0}; {advice}",
    ),
    (
        "cannot create files in {path:word}: {error}; {advice:said}",
        "impossible de créer des fichiers dans {path}\u{a0}: {error}\u{a0}; {advice}",
    ),
    (
        "it is mounted by itself: mount its folder instead; or set `max_bytes = 0` and rotate it from outside by copying and truncating it",
        "il est monté tout seul\u{a0}: montez plutôt son dossier\u{a0}; ou mettez `max_bytes = 0` et faites sa rotation de l’extérieur, en le copiant puis en le vidant",
    ),
    ("free some space there", "libérez-y de la place"),
    ("let the user of this service write there", "permettez à l’utilisateur de ce service d’y écrire"),
    ("mount it writable or choose another `path`", "montez-le en écriture ou choisissez un autre `path`"),
    (
        "its folder is gone: mount it or create it again",
        "son dossier a disparu\u{a0}: montez-le ou créez-le de nouveau",
    ),
    (
        "a part of `path` is a file and not a folder: correct it",
        "une partie de `path` est un fichier et non un dossier\u{a0}: corrigez-la",
    ),
    ("see to the disk or choose another `path`", "vérifiez le disque ou choisissez un autre `path`"),
    (
        "standard output cannot be written: {error}; {advice:said}",
        "impossible d’écrire sur la sortie standard\u{a0}: {error}\u{a0}; {advice}",
    ),
    (
        "its reader has ended: restart the service together with the reader",
        "son lecteur s’est arrêté\u{a0}: redémarrez le relais avec le lecteur",
    ),
    (
        "its reader is slow, and the pipe is set to non-blocking",
        "son lecteur est lent, et le tube est réglé sans blocage",
    ),
    ("free some space where it is redirected to", "libérez de la place là où elle est redirigée"),
    ("check where it is redirected to", "vérifiez où elle est redirigée"),
    (
        "the sink's writing thread has ended, which is a bug: restart the service and report it",
        "le fil d’écriture de la destination s’est arrêté, ce qui est un défaut du relais\u{a0}: redémarrez-le et signalez-le",
    ),
    // What concerns every sink.
    (
        "this sink's code panicked; the service's log has the details",
        "le code de cette destination a échoué\u{a0}; les fichiers journaux du relais ont les détails",
    ),
    ("no answer within {time:span}", "aucune réponse en {time}"),
    (
        "Finkare's API did not provide the event's invoice and payment within {time:span}",
        "l’API de Finkare n’a pas fourni la facture et le paiement de l’événement en {time}",
    ),
    (
        "the event came through `{endpoint:word}`, which Finkare's sandbox feeds, and this sink is marked `live`: cancel the dispatch, or remove the mark if the sink is meant for tests",
        "l’événement est venu par `{endpoint}`, que le bac à sable de Finkare alimente, et cette destination est marquée `live`\u{a0}: classez l’envoi, ou retirez la marque si la destination est faite pour des essais",
    ),
    ("paused by {who}", "mise en pause par {who}"),
    (
        "the payload of its event was erased: there is nothing left to send",
        "le contenu de son événement a été effacé\u{a0}: il ne reste rien à envoyer",
    ),
    (
        "its event is not in the database (was only a part restored?): there is nothing to send; restore the event, or cancel this",
        "son événement n’est pas dans la base de données (une partie seulement a-t-elle été restaurée\u{202f}?)\u{a0}: il n’y a rien à envoyer\u{a0}; restaurez l’événement, ou classez cet envoi",
    ),
    ("erased", "effacé"),
    // Whether a sink gets an event, and what it would get.
    ("the sink gets it", "la destination le reçoit"),
    ("the sink does not ask for this type (`events`)", "la destination ne demande pas ce type (`events`)"),
    ("the event is about this sink itself", "l’événement concerne cette destination elle-même"),
    (
        "the sink does not take events of this endpoint (`endpoints`, or `live` and the sandbox)",
        "la destination ne prend pas les événements de cette source (`endpoints`, ou `live` et le bac à sable)",
    ),
    (
        "its `filter` does not match this event, or needs a field that is missing",
        "son `filter` ne correspond pas à cet événement, ou il a besoin d’un champ qui manque",
    ),
    ("it has a `filter`, and the body is not JSON", "elle a un `filter`, et le contenu n’est pas du JSON"),
    (
        "its `filter` failed on this event, which counts as no match: {why:said}",
        "son `filter` a échoué sur cet événement, ce qui compte comme une absence de correspondance\u{a0}: {why}",
    ),
    (
        "its `filter` failed on this event, which counts as no match: {why}",
        "son `filter` a échoué sur cet événement, ce qui compte comme une absence de correspondance\u{a0}: «\u{a0}{why}\u{a0}»",
    ),
    ("it looks at something that is missing", "il regarde quelque chose qui manque"),
    ("it compares {one:said} with {other:said}", "il compare {one} avec {other}"),
    ("something missing", "quelque chose qui manque"),
    ("something else", "autre chose"),
    ("a boolean", "un booléen"),
    ("a number", "un nombre"),
    ("a text", "un texte"),
    ("a list", "une liste"),
    ("an object", "un objet"),
    ("none", "rien"),
    ("it took longer than an attempt may ({time:span})", "cela a duré plus longtemps qu’un essai ne le peut ({time})"),
    // A part of a stored row that cannot be read.
    (
        "{column:word} cannot be read: {micros} µs since 1970 is no time of the years 1 to 9999; {more:said}",
        "`{column}` ne peut pas être lu\u{a0}: {micros} µs depuis 1970 n’est pas une heure des années 1 à 9999\u{a0}; {more}",
    ),
    (
        "{column:word} cannot be read: {micros} µs since 1970 is no time of the years 1 to 9999",
        "`{column}` ne peut pas être lu\u{a0}: {micros} µs depuis 1970 n’est pas une heure des années 1 à 9999",
    ),
    (
        "{column:word} cannot be read: {value:word} is no count of this kind; {more:said}",
        "`{column}` ne peut pas être lu\u{a0}: {value} n’est pas un nombre de cette sorte\u{a0}; {more}",
    ),
    (
        "{column:word} cannot be read: {value:word} is no count of this kind",
        "`{column}` ne peut pas être lu\u{a0}: {value} n’est pas un nombre de cette sorte",
    ),
    (
        "{column:word} cannot be read: `{word}` is not one of {allowed}; {more:said}",
        "`{column}` ne peut pas être lu\u{a0}: `{word}` n’est pas l’un de {allowed}\u{a0}; {more}",
    ),
    (
        "{column:word} cannot be read: `{word}` is not one of {allowed}",
        "`{column}` ne peut pas être lu\u{a0}: `{word}` n’est pas l’un de {allowed}",
    ),
    // Why a template cannot work for any event.
    ("there is no filter `{name:word}`", "il n’y a pas de filtre `{name}`"),
    ("there is no test `{name:word}`", "il n’y a pas de test `{name}`"),
    ("there is no function `{name:word}`", "il n’y a pas de fonction `{name}`"),
    (
        "no event has `{unknown}`: there are `event`, `payload` and, with `enrich = true`, `invoice` and `payment`",
        "aucun événement n’a `{unknown}`\u{a0}: il y a `event`, `payload` et, avec `enrich = true`, `invoice` et `payment`",
    ),
    (
        "no event has `{unknown}`: `{name:word}` has {fields}",
        "aucun événement n’a `{unknown}`\u{a0}: `{name}` a {fields}",
    ),
];
