//! What is said of endpoints: their secrets, their webhooks at Finkare, and their silence.

use crate::french::Pair;

pub(in crate::french) const PHRASES: &[Pair] = &[
    // What needs attention.
    (
        "It is not known which secret Finkare signs with, and the service does not ask again by itself: a secret was configured while Finkare was being asked for another one. If deliveries are accepted, confirm it with `finkare-relay endpoints settle {name:word} --current`.",
        "On ne sait pas avec quel secret Finkare signe, et le relais ne redemande pas de lui-même\u{a0}: un secret a été configuré pendant qu’un autre était demandé à Finkare. Si des livraisons sont acceptées, confirmez-le par «\u{a0}Dire quel secret est le bon\u{a0}» sur la page de la source {name}, en choisissant le secret le plus récent connu ici.",
    ),
    (
        "It is not known which secret Finkare signs with, and the service does not ask again by itself: {count:number} successful answers contained no readable secret.",
        "On ne sait pas avec quel secret Finkare signe, et le relais ne redemande pas de lui-même\u{a0}: {count} réponses de réussite ne contenaient pas de secret lisible.",
    ),
    (
        "Deliveries that fit no known secret are answered 503.",
        "Les livraisons qui ne correspondent à aucun secret connu reçoivent la réponse 503.",
    ),
    (
        "Take the webhook's secret from Finkare's dashboard and enter it with `finkare-relay endpoints settle {endpoint:word}`, or configure it and reload; or try once more with `finkare-relay rotate-secret --endpoint {endpoint:word}`.",
        "Prenez le secret du webhook sur le tableau de bord de Finkare et saisissez-le par «\u{a0}Dire quel secret est le bon\u{a0}» sur la page de la source {endpoint}, ou écrivez-le dans la configuration puis relisez-la\u{a0}; ou essayez encore une fois par «\u{a0}Renouveler le secret\u{a0}».",
    ),
    (
        "A stored secret cannot be used: {problem:said}. The configured secret is used instead.",
        "Un secret enregistré ne peut pas être utilisé\u{a0}: {problem}. Le secret configuré est utilisé à sa place.",
    ),
    (
        "A stored secret cannot be used: {problem:said}. Deliveries that fit none of the endpoint's other secrets are answered 503.",
        "Un secret enregistré ne peut pas être utilisé\u{a0}: {problem}. Les livraisons qui ne correspondent à aucun autre secret de la source reçoivent la réponse 503.",
    ),
    (
        "the master key is not 32 bytes in base64: make one with `openssl rand -base64 32` and set RELAY_MASTER_KEY",
        "la clé maîtresse n’est pas faite de 32 octets en base64\u{a0}: faites-en une avec `openssl rand -base64 32` et mettez-la dans RELAY_MASTER_KEY",
    ),
    (
        "the secret {fingerprint:word} of endpoint {endpoint:word} was encrypted under the master key {key:word}, and this one is {ours:word}: set RELAY_MASTER_KEY (or the file beside the database) to the key that this database was used with. To change the key, run `finkare-relay rekey`",
        "le secret {fingerprint} de la source {endpoint} a été chiffré avec la clé maîtresse {key}, et celle-ci est {ours}\u{a0}: mettez dans RELAY_MASTER_KEY (ou dans le fichier à côté de la base de données) la clé avec laquelle cette base de données a été utilisée. Pour changer la clé, lancez `finkare-relay rekey`",
    ),
    (
        "the stored secret {fingerprint:word} of endpoint {endpoint:word} (row {row:word}) cannot be decrypted: the row was damaged or changed. Restore it from a backup, give the secret again by `finkare-relay endpoints settle {endpoint:word}`, or rotate it",
        "le secret enregistré {fingerprint} de la source {endpoint} (ligne {row}) ne peut pas être déchiffré\u{a0}: la ligne a été abîmée ou modifiée. Restaurez-la à partir d’une sauvegarde, redonnez le secret par «\u{a0}Dire quel secret est le bon\u{a0}», ou renouvelez-le",
    ),
    (
        "webhook secret {number:number} of {count:number} is empty: copy it again from Finkare, or remove it: check the endpoint's `secret_encoding`",
        "le secret de webhook {number} sur {count} est vide\u{a0}: copiez-le de nouveau chez Finkare, ou retirez-le\u{a0}: vérifiez le `secret_encoding` de la source",
    ),
    (
        "webhook secret {number:number} of {count:number} is not base64 behind its `whsec_`: copy it again from Finkare, or set `secret_encoding` to `literal`: check the endpoint's `secret_encoding`",
        "le secret de webhook {number} sur {count} n’est pas en base64 après son `whsec_`\u{a0}: copiez-le de nouveau chez Finkare, ou mettez `secret_encoding` à `literal`\u{a0}: vérifiez le `secret_encoding` de la source",
    ),
    (
        "webhook secret {number:number} of {count:number} is empty: copy it again from Finkare, or remove it",
        "le secret de webhook {number} sur {count} est vide\u{a0}: copiez-le de nouveau chez Finkare, ou retirez-le",
    ),
    (
        "webhook secret {number:number} of {count:number} is not base64 behind its `whsec_`: copy it again from Finkare, or set `secret_encoding` to `literal`",
        "le secret de webhook {number} sur {count} n’est pas en base64 après son `whsec_`\u{a0}: copiez-le de nouveau chez Finkare, ou mettez `secret_encoding` à `literal`",
    ),
    // Silence.
    (
        "no genuine delivery since {last:word}, which is more than {hours:number} h ago; {standing:said}",
        "aucune livraison authentique depuis le {last}, il y a plus de {hours} h\u{a0}; {standing}",
    ),
    (
        "no genuine delivery since {last:word}, which is more than {hours:number} h ago",
        "aucune livraison authentique depuis le {last}, il y a plus de {hours} h",
    ),
    (
        "no genuine delivery has ever arrived, and the endpoint has been watched since {since:word}, for more than {hours:number} h; {standing:said}",
        "aucune livraison authentique n’est jamais arrivée, et la source est surveillée depuis le {since}, depuis plus de {hours} h\u{a0}; {standing}",
    ),
    (
        "no genuine delivery has ever arrived, and the endpoint has been watched since {since:word}, for more than {hours:number} h",
        "aucune livraison authentique n’est jamais arrivée, et la source est surveillée depuis le {since}, depuis plus de {hours} h",
    ),
    ("Finkare says that the webhook is enabled", "Finkare dit que le webhook est actif"),
    (
        "Finkare says that the webhook is disabled: enable it there",
        "Finkare dit que le webhook est désactivé\u{a0}: activez-le chez Finkare",
    ),
    (
        "Finkare knows no such webhook: register it again",
        "Finkare ne connaît pas ce webhook\u{a0}: inscrivez-le de nouveau",
    ),
    ("Finkare could not tell whether the webhook is enabled", "Finkare n’a pas pu dire si le webhook est actif"),
    // A change that was asked for.
    (
        "the id of endpoint {name:word}'s webhook is not known: run `finkare-relay register --endpoint {name:word} --url URL`, or set the endpoint's `webhook_id` (FINKARE_WEBHOOK_ID for the endpoint `default`).",
        "L’identifiant du webhook de la source {name} n’est pas connu\u{a0}: inscrivez le webhook par «\u{a0}Inscrire le webhook\u{a0}», ou écrivez le `webhook_id` de la source dans la configuration (FINKARE_WEBHOOK_ID pour la source `default`).",
    ),
    (
        "an overlap of {given:number} seconds is too long: the previous secrets stay valid for at most {longest:number} seconds (30 days).",
        "Un délai de {given} secondes est trop long\u{a0}: les secrets précédents restent valables {longest} secondes au plus (30 jours).",
    ),
    (
        "endpoint {name:word} has no API key, so Finkare cannot be asked: set its `api_key` (FINKARE_API_KEY for the endpoint `default`) to a key with the scope `webhooks:manage`.",
        "La source {name} n’a pas de clé d’API, et Finkare ne peut donc pas être interrogée\u{a0}: donnez-lui comme `api_key` (FINKARE_API_KEY pour la source `default`) une clé avec le droit `webhooks:manage`.",
    ),
    (
        "the URL is {length:number} bytes long, and at most {longest:number} are allowed: write our public address, such as https://relay.example.com/webhooks/finkare.",
        "L’adresse a {length} octets, et {longest} au plus sont permis\u{a0}: écrivez l’adresse publique du relais, par exemple https://relay.example.com/webhooks/finkare.",
    ),
    (
        "the URL cannot be read ({error}): write our public address, such as https://relay.example.com/webhooks/finkare.",
        "L’adresse ne peut pas être lue ({error})\u{a0}: écrivez l’adresse publique du relais, par exemple https://relay.example.com/webhooks/finkare.",
    ),
    (
        "the URL begins with `{scheme:word}:`, and Finkare posts to HTTPS only: write our public address, such as https://relay.example.com/webhooks/finkare.",
        "L’adresse commence par `{scheme}:`, et Finkare n’envoie qu’en HTTPS\u{a0}: écrivez l’adresse publique du relais, par exemple https://relay.example.com/webhooks/finkare.",
    ),
    (
        "the URL contains a user or a password, which Finkare must not get: write our public address, such as https://relay.example.com/webhooks/finkare.",
        "L’adresse contient un utilisateur ou un mot de passe, que Finkare ne doit pas recevoir\u{a0}: écrivez l’adresse publique du relais, par exemple https://relay.example.com/webhooks/finkare.",
    ),
    (
        "the URL has a part after `#`, which is not sent in requests: write our public address, such as https://relay.example.com/webhooks/finkare.",
        "L’adresse a une partie après `#`, qui n’est pas envoyée dans les requêtes\u{a0}: écrivez l’adresse publique du relais, par exemple https://relay.example.com/webhooks/finkare.",
    ),
    (
        "no event types are named: write, for example, `payment.received`.",
        "Aucun type d’événement n’est nommé\u{a0}: écrivez par exemple `payment.received`.",
    ),
    (
        "{count:number} event types are named, and at most {most:number} are allowed.",
        "{count} types d’événements sont nommés, et {most} au plus sont permis.",
    ),
    (
        "`{event}` is not an event type: write a name of 1 to {longest:number} bytes without blanks, such as `payment.received`.",
        "`{event}` n’est pas un type d’événement\u{a0}: écrivez un nom de 1 à {longest} octets sans espaces, par exemple `payment.received`.",
    ),
    (
        "the description is too long: write at most {longest:number} bytes.",
        "La note est trop longue\u{a0}: écrivez {longest} octets au plus.",
    ),
    (
        "`overlap_secs` must be 0 to {longest:number} (30 days).",
        "`overlap_secs` doit être de 0 à {longest} (30 jours).",
    ),
    ("`events` must name 1 to {most:number} event types.", "Nommez de 1 à {most} types d’événements (`events`)."),
    (
        "`events[{index:number}]` must be a text of 1 to {most:number} bytes, on one line.",
        "`events[{index}]` doit être un texte de 1 à {most} octets, sur une ligne.",
    ),
    (
        "`description` must be a text of at most {most:number} bytes, on one line.",
        "La note (`description`) doit être un texte de {most} octets au plus, sur une ligne.",
    ),
    (
        "A change of the endpoint {endpoint:word} has been in progress since {since:word}, requested by `{actor}`. Try again when it has ended.",
        "Un changement de la source {endpoint} est en cours depuis le {since}, demandé par `{actor}`. Recommencez quand il sera terminé.",
    ),
    (
        "Nothing was changed at Finkare, and the previous secrets stay in force.",
        "Rien n’a été changé chez Finkare, et les secrets précédents restent en vigueur.",
    ),
    (
        "It is not known whether Finkare made the change. The previous secrets stay in force, and the service asks again by itself.",
        "On ne sait pas si Finkare a fait le changement. Les secrets précédents restent en vigueur, et le relais redemande de lui-même.",
    ),
    (
        "It is not known whether Finkare made the change, and the service does not ask again by itself. The previous secrets stay in force.",
        "On ne sait pas si Finkare a fait le changement, et le relais ne redemande pas de lui-même. Les secrets précédents restent en vigueur.",
    ),
    // What a registration leaves to do.
    (
        "Finkare did not accept these event types: {types}",
        "Finkare n’a pas accepté ces types d’événements\u{a0}: {types}",
    ),
    (
        "these event types were added to the webhook: {types}",
        "ces types d’événements ont été ajoutés au webhook\u{a0}: {types}",
    ),
    (
        "the webhook existed already, and the relay does not know its secret: every delivery is refused until you run `finkare-relay rotate-secret --endpoint {endpoint:word}` (or set the endpoint's `secret`)",
        "le webhook existait déjà, et le relais n’en connaît pas le secret\u{a0}: chaque livraison de la source {endpoint} est refusée jusqu’à ce que vous renouveliez le secret (ou définissiez `secret` dans la configuration)",
    ),
    (
        "the webhook existed already, and the relay assumes that its secret is {fingerprint:word}: if deliveries are refused, run `finkare-relay rotate-secret --endpoint {endpoint:word}`",
        "le webhook existait déjà, et le relais suppose que son secret est {fingerprint}\u{a0}: si des livraisons de la source {endpoint} sont refusées, renouvelez le secret",
    ),
    (
        "the webhook is disabled, so Finkare posts nothing: enable it there",
        "le webhook est désactivé, et Finkare n’envoie donc rien\u{a0}: activez-le là-bas",
    ),
    (
        "Finkare has other webhooks with this URL, which deliver the same events again under other secrets: delete them there ({others})",
        "Finkare a d’autres webhooks avec cette adresse, qui livrent les mêmes événements encore une fois sous d’autres secrets\u{a0}: supprimez-les là-bas ({others})",
    ),
    (
        "the URL's path does not end with {path:word}, where endpoint {endpoint:word} listens: make sure that your proxy leads there",
        "le chemin de l’adresse ne finit pas par {path}, où écoute la source {endpoint}\u{a0}: assurez-vous que votre proxy y mène",
    ),
    (
        "the endpoint's `webhook_id` is configured as {configured:word}, and this webhook is {id:word}: rotations ask for the configured one. Change `webhook_id`, or remove it",
        "le `webhook_id` de la source est configuré à {configured}, et ce webhook est {id}\u{a0}: les renouvellements du secret demandent celui de la configuration. Changez `webhook_id`, ou retirez-le",
    ),
    (
        "It is not known whether Finkare added the event types; nothing else was changed. Run the registration again.",
        "On ne sait pas si Finkare a ajouté les types d’événements\u{a0}; rien d’autre n’a été changé. Inscrivez le webhook encore une fois.",
    ),
    (
        "The stored secrets could not be read again, so Finkare was not asked, and nothing was changed. The log says why.",
        "Les secrets enregistrés n’ont pas pu être relus\u{a0}; Finkare n’a donc pas été interrogée, et rien n’a été changé. Les fichiers journaux du relais disent pourquoi.",
    ),
    (
        "The service is stopping; an unfinished change continues after the next start.",
        "Le relais s’arrête\u{a0}; un changement inachevé continue après le prochain démarrage.",
    ),
    (
        "endpoint {name:word} has no secret that could be confirmed: enter the secret that Finkare's dashboard shows.",
        "La source {name} n’a pas de secret qui puisse être confirmé\u{a0}: saisissez le secret que montre le tableau de bord de Finkare.",
    ),
    (
        "the secret for endpoint {endpoint:word} is empty: copy it again.",
        "Le secret pour la source {endpoint} est vide\u{a0}: copiez-le de nouveau.",
    ),
    (
        "the secret for endpoint {endpoint:word} is longer than any of Finkare's secrets: copy only the secret.",
        "Le secret pour la source {endpoint} est plus long que tous les secrets de Finkare\u{a0}: copiez seulement le secret.",
    ),
    (
        "the secret for endpoint {endpoint:word} is masked, or has a blank, a line break or another character that no secret has: copy it again.",
        "Le secret pour la source {endpoint} est masqué, ou contient un espace, un saut de ligne ou un autre caractère qu’aucun secret ne contient\u{a0}: copiez-le de nouveau.",
    ),
    (
        "the secret for endpoint {endpoint:word} cannot be used: {problem:said}.",
        "Le secret pour la source {endpoint} ne peut pas être utilisé\u{a0}: {problem}.",
    ),
    (
        "the secret for endpoint {endpoint:word} cannot be used: {problem}.",
        "Le secret pour la source {endpoint} ne peut pas être utilisé\u{a0}: {problem}.",
    ),
    (
        "The body is not usable: send {\"secret\":\"whsec_…\"}, or {\"current\":true}.",
        "Le contenu de la demande ne convient pas\u{a0}: envoyez {\"secret\":\"whsec_…\"} ou {\"current\":true}.",
    ),
    (
        "The body is missing: send {\"url\":\"https://…\"}.",
        "Le contenu de la demande manque\u{a0}: envoyez {\"url\":\"https://…\"}.",
    ),
    // What the audit trail notes of a change.
    ("webhook {id:word} is no longer in Finkare's list", "le webhook {id} n’est plus dans la liste de Finkare"),
    ("another process has created the webhook in the meantime", "un autre processus a créé le webhook entre-temps"),
    ("the webhook's id is not known", "l’identifiant du webhook n’est pas connu"),
    (
        "Finkare has no webhook with this URL: nothing was registered",
        "Finkare n’a pas de webhook avec cette adresse\u{a0}: rien n’a été inscrit",
    ),
    (
        "the stored secrets could not be read again, so Finkare was not asked",
        "les secrets enregistrés n’ont pas pu être relus, et Finkare n’a donc pas été interrogée",
    ),
];
