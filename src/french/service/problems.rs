//! What the admin API and the pages refuse, and why.

use crate::french::Pair;

pub(in crate::french) const PHRASES: &[Pair] = &[
    // Of every request.
    (
        "An internal error occurred. The service's log has the details under this request id.",
        "Une erreur interne s’est produite. Les fichiers journaux du relais en ont les détails sous l’identifiant de cette requête.",
    ),
    ("There is nothing at this path.", "Il n’y a rien à cette adresse."),
    (
        "This path does not accept this method; it accepts {allow}.",
        "Cette adresse n’accepte pas cette méthode\u{a0}; elle accepte {allow}.",
    ),
    (
        "The database does not answer now. Please try again.",
        "La base de données ne répond pas en ce moment. Recommencez plus tard.",
    ),
    ("The service is stopping.", "Le relais s’arrête."),
    (
        "No admin token is configured, so only callers on this machine are admitted. Set RELAY_ADMIN_TOKEN.",
        "Aucun jeton d’administration n’est configuré\u{a0}: seul cet ordinateur a accès. Définissez RELAY_ADMIN_TOKEN.",
    ),
    (
        "Send an admin token as `Authorization: Bearer <token>`.",
        "Envoyez un jeton d’administration sous la forme `Authorization: Bearer <token>`.",
    ),
    (
        "The token `{name}` has the role {role:said}; this needs {needed:said}.",
        "Le jeton `{name}` a le droit «\u{a0}{role}\u{a0}»\u{a0}; ceci demande le droit «\u{a0}{needed}\u{a0}».",
    ),
    ("viewer", "lecture seule"),
    ("operator", "opérateur"),
    ("admin", "administrateur"),
    (
        "The request was forwarded by a proxy (it has the header `{name:word}`), and without an admin token only callers on this machine are admitted. Set RELAY_ADMIN_TOKEN, or call the admin listener directly.",
        "La requête a été transmise par un serveur mandataire (elle a l’en-tête `{name}`), et sans jeton d’administration, seul cet ordinateur a accès. Définissez RELAY_ADMIN_TOKEN, ou appelez directement l’adresse d’administration.",
    ),
    ("The admin listener does not answer for this host.", "L’adresse d’administration ne répond pas pour cet hôte."),
    (
        "Use an address, `localhost` or a name without a dot, or add the name to `admin.hosts`.",
        "Utilisez une adresse, `localhost` ou un nom sans point, ou ajoutez le nom à `admin.hosts`.",
    ),
    (
        "Without an admin token, use 127.0.0.1, [::1] or `localhost`, or add the name to `admin.hosts`.",
        "Sans jeton d’administration, utilisez 127.0.0.1, [::1] ou `localhost`, ou ajoutez le nom à `admin.hosts`.",
    ),
    (
        "The request was sent by a page of another site. The admin listener answers only its own pages and programs.",
        "La requête a été envoyée par une page d’un autre site. L’adresse d’administration ne répond qu’à ses propres pages et à des programmes.",
    ),
    // What does not exist.
    ("There is no event with this id.", "Il n’y a pas d’événement avec cet identifiant."),
    ("There is no dispatch with this id.", "Il n’y a pas d’envoi avec cet identifiant."),
    ("There is no payment with this id.", "Il n’y a pas de paiement avec cet identifiant."),
    ("There is no reconciliation with this id.", "Il n’y a pas de rapprochement avec cet identifiant."),
    ("There is no link with this id.", "Il n’y a pas de lien avec cet identifiant."),
    (
        "There is no booking of this payment in this sink.",
        "Il n’y a pas d’inscription de ce paiement dans cette destination.",
    ),
    ("There is no sink with this name.", "Il n’y a pas de destination de ce nom."),
    ("There is no configured sink with this name.", "Il n’y a pas de destination configurée de ce nom."),
    ("There is no endpoint with this name.", "Il n’y a pas de source de ce nom."),
    ("There is no endpoint of this name.", "Il n’y a pas de source de ce nom."),
    ("There is no event of this invoice.", "Il n’y a pas d’événement de cette facture."),
    ("There is no sink `{sink:word}`.", "Il n’y a pas de destination `{sink}`."),
    ("There is no such sink.", "Il n’y a pas de telle destination."),
    (
        "There is no configured sink `{name}`; the configured sinks are: {configured}.",
        "Il n’y a pas de destination configurée `{name}`\u{a0}; les destinations configurées sont\u{a0}: {configured}.",
    ),
    // What cannot be used.
    (
        "The query is not usable: {reason}.",
        "Les paramètres de l’adresse ne conviennent pas\u{a0}: «\u{a0}{reason}\u{a0}».",
    ),
    (
        "The path is not usable: its percent-encoded bytes are not UTF-8.",
        "L’adresse ne convient pas\u{a0}: ses octets codés en pourcentage ne sont pas de l’UTF-8.",
    ),
    (
        "The body is larger than {most:number} bytes, or was cut off.",
        "Le contenu de la demande dépasse {most} octets, ou a été coupé.",
    ),
    ("The body did not arrive within {secs:number} s.", "Le contenu de la demande n’est pas arrivé en {secs} s."),
    (
        "The body is not usable: it must be a JSON object.",
        "Le contenu de la demande ne convient pas\u{a0}: il doit être un objet JSON.",
    ),
    (
        "The body is not usable: `pages` names no page.",
        "Le contenu de la demande ne convient pas\u{a0}: aucune page n’est choisie.",
    ),
    (
        "The body is not usable: `days` is {days:number}; it must be 1 to {most:number}.",
        "Le contenu de la demande ne convient pas\u{a0}: le nombre de jours est {days}\u{a0}; il doit être de 1 à {most}.",
    ),
    (
        "The body is not usable: `label` must have at most {longest:number} characters, in one line.",
        "Le contenu de la demande ne convient pas\u{a0}: le nom doit avoir {longest} caractères au plus, sur une ligne.",
    ),
    (
        "`look_at` is for `dry_run` only: a decision is about everything that is selected.",
        "`look_at` ne va qu’avec `dry_run`\u{a0}: une décision porte sur tout ce qui est choisi.",
    ),
    ("The body is not usable: say `event_id`.", "Le contenu de la demande ne convient pas\u{a0}: indiquez `event_id`."),
    (
        "The body is not usable: say `sink`, `payment_id` and `recorded`.",
        "Le contenu de la demande ne convient pas\u{a0}: indiquez `sink`, `payment_id` et `recorded`.",
    ),
    (
        "The body is not usable: there are several endpoints, so say `endpoint`.",
        "Le contenu de la demande ne convient pas\u{a0}: il y a plusieurs sources\u{a0}; indiquez donc laquelle.",
    ),
    (
        "The body is not usable: `{name:word}` must be a day such as 2026-10-31.",
        "Le contenu de la demande ne convient pas\u{a0}: `{name}` doit être un jour comme 2026-10-31.",
    ),
    ("The body is not usable: {error}.", "Le contenu de la demande ne convient pas\u{a0}: «\u{a0}{error}\u{a0}»."),
    ("The body is not JSON: {error}.", "Le contenu de la demande n’est pas du JSON\u{a0}: «\u{a0}{error}\u{a0}»."),
    ("`limit` is {limit:number}; it must be 1 to 500.", "`limit` vaut {limit}\u{a0}; il doit être de 1 à 500."),
    (
        "`hours` is {hours:number}; it must be 1 to {most:number}.",
        "`hours` vaut {hours}\u{a0}; il doit être de 1 à {most}.",
    ),
    ("`cursor` is below 0.", "`cursor` est inférieur à 0."),
    (
        "`{name:word}` must be a time like 2026-03-15T10:30:00Z.",
        "`{name}` doit être une heure comme 2026-03-15T10:30:00Z.",
    ),
    ("`{name:word}`: `{given}` is not one of {allowed}.", "`{name}`\u{a0}: `{given}` n’est pas l’un de {allowed}."),
    ("`{name:word}`: {error}.", "`{name}`\u{a0}: «\u{a0}{error}\u{a0}»."),
    ("`format` must be `json`, `csv` or `fec`.", "`format` doit être `json`, `csv` ou `fec`."),
    ("`part` must be `booked`, or be left out.", "`part` doit être `booked`, ou être laissé de côté."),
    (
        "The accounting entries of several endpoints may be those of several companies: give `endpoint`.",
        "Les écritures de plusieurs sources peuvent être celles de plusieurs entreprises\u{a0}: choisissez une source.",
    ),
    (
        "The statement of {month:word} has more than {most:number} payments: limit it by `endpoint` or `sink`.",
        "Le relevé de {month} a plus de {most} paiements\u{a0}: limitez-le à une source ou à une destination.",
    ),
    (
        "Payments of the endpoints {names} have this id: give `endpoint`.",
        "Des paiements des sources {names} ont cet identifiant\u{a0}: choisissez une source.",
    ),
    // Dispatches and events.
    (
        "The dispatch {id:number} is {state:said} and cannot be retried.",
        "L’envoi {id} est à l’état «\u{a0}{state}\u{a0}» et ne peut pas être réessayé.",
    ),
    (
        "The dispatch {id:number} is {state:said} and cannot be cancelled.",
        "L’envoi {id} est à l’état «\u{a0}{state}\u{a0}» et ne peut pas être classé.",
    ),
    (
        "Dispatches that are {state:said} cannot be retried; these states can: dead, held, pending.",
        "Les envois à l’état «\u{a0}{state}\u{a0}» ne peuvent pas être réessayés\u{a0}; ceux-ci le peuvent\u{a0}: abandonné, en attente d’une décision, en cours.",
    ),
    (
        "Dispatches that are {state:said} cannot be cancelled; these states can: dead, held, pending.",
        "Les envois à l’état «\u{a0}{state}\u{a0}» ne peuvent pas être classés\u{a0}; ceux-ci le peuvent\u{a0}: abandonné, en attente d’une décision, en cours.",
    ),
    ("pending", "en cours"),
    ("leased", "envoi en cours"),
    ("delivered", "transmis"),
    ("held", "en attente d’une décision"),
    ("dead", "abandonné"),
    ("cancelled", "classé"),
    (
        "Another bulk operation is running. Please try again when it has finished.",
        "Une autre opération sur de nombreux envois est en cours. Recommencez quand elle sera terminée.",
    ),
    (
        "Select dispatches by `sink`, `state`, or both.",
        "Choisissez des envois par leur destination, leur état, ou les deux.",
    ),
    (
        "The payload of this event has been purged or erased: there is nothing left to send.",
        "Le contenu de cet événement a été supprimé ou effacé\u{a0}: il ne reste rien à envoyer.",
    ),
    (
        "The payload of the event has been purged or erased: nothing can be sent.",
        "Le contenu de l’événement a été supprimé ou effacé\u{a0}: rien ne peut être envoyé.",
    ),
    (
        "More than {most:number} events are selected: narrow `since` and `until`, and replay one part after the other.",
        "Plus de {most} événements sont choisis\u{a0}: resserrez la période, et renvoyez une partie après l’autre.",
    ),
    (
        "`sinks` is empty: name sinks, or leave it out to send to all sinks whose route accepts the event.",
        "Aucune destination n’est nommée\u{a0}: nommez-en, ou laissez `sinks` de côté pour envoyer à toutes celles qui reçoivent l’événement.",
    ),
    (
        "`all` selects every event, and a filter selects some: use only one of them.",
        "`all` choisit tous les événements, et un filtre en choisit quelques-uns\u{a0}: n’utilisez que l’un des deux.",
    ),
    (
        "Say which events: `type`, `endpoint`, `invoice_id`, `since` or `until`; or `\"all\": true` for every one.",
        "Indiquez quels événements\u{a0}: `type`, `endpoint`, `invoice_id`, `since` ou `until`\u{a0}; ou `\"all\": true` pour tous.",
    ),
    // Bookings.
    (
        "`target_id` must have 1 to {longest:number} characters, without control characters such as line breaks.",
        "L’identifiant dans les livres doit avoir de 1 à {longest} caractères, sans caractères de contrôle tels que des sauts de ligne.",
    ),
    (
        "A payment that is not in the books has no `target_id` there: leave `target_id` out, or set `recorded` to true.",
        "Un paiement qui n’est pas dans les livres n’y a pas d’identifiant\u{a0}: laissez l’identifiant vide, ou dites que le paiement y est.",
    ),
    (
        "The booking has been `{state:word}` for {secs:number} s only: the worker that began it may still be running, and the books may change. Look into the books again in {wait:number} s and settle the booking then.",
        "L’inscription n’est `{state}` que depuis {secs} s\u{a0}: ce qui l’a commencée est peut-être encore en cours, et les livres peuvent changer. Regardez de nouveau dans les livres dans {wait} s, et dites alors si le paiement y est inscrit.",
    ),
    ("The booking is finished: `{state:word}`.", "L’inscription est terminée\u{a0}: `{state}`."),
    (
        "It already counts as recorded: there is nothing to settle.",
        "Le paiement compte déjà comme inscrit\u{a0}: il n’y a rien à décider.",
    ),
    (
        "A finished booking is not written again. If the payment is no longer in the books, record it there by hand.",
        "Une inscription terminée n’est pas écrite de nouveau. Si le paiement n’est plus dans les livres, inscrivez-le à la main.",
    ),
    // Links.
    (
        "No admin token is configured, so only callers on this machine are admitted, and a link would let nobody in. Set RELAY_ADMIN_TOKEN.",
        "Aucun jeton d’administration n’est configuré\u{a0}: seul cet ordinateur a accès, et un lien n’ouvrirait à personne. Définissez RELAY_ADMIN_TOKEN.",
    ),
    (
        "There are {most:number} links, which is the most. Revoke one that is not needed.",
        "Il y a {most} liens, ce qui est le maximum. Révoquez-en un dont personne n’a besoin.",
    ),
    (
        "This link has ended, or it is not whole. Ask the person who gave it to you for a new one.",
        "Ce lien est terminé, ou il n’est pas entier. Demandez-en un nouveau à la personne qui vous l’a donné.",
    ),
    // Reloads.
    (
        "The new configuration cannot be used; the old one stays in force. See `problems`.",
        "La nouvelle configuration ne peut pas être utilisée\u{a0}; l’ancienne reste en vigueur. Les problèmes suivent.",
    ),
    ("Another reload is under way.", "La configuration est déjà en train d’être relue."),
    (
        "{name:word} takes effect at a start only: restart the service, or change it back",
        "`{name}` ne prend effet qu’au démarrage\u{a0}: redémarrez le relais, ou remettez la valeur d’avant",
    ),
    // Forms of the pages.
    (
        "You are not signed in, or your session has ended. Sign in and try again: nothing was done.",
        "Vous n’êtes pas connecté, ou votre session est terminée. Connectez-vous et recommencez\u{a0}: rien n’a été fait.",
    ),
    (
        "The form is not one of this session: it is older than your sign-in, or another page has sent it. Open the page again and repeat it: nothing was done.",
        "Ce formulaire n’est pas de cette session\u{a0}: il est plus ancien que votre connexion, ou une autre page l’a envoyé. Ouvrez de nouveau la page et recommencez\u{a0}: rien n’a été fait.",
    ),
    (
        "The form was sent by a page of another site. Open the dashboard itself and try again.",
        "Le formulaire a été envoyé par une page d’un autre site. Ouvrez le tableau de bord lui-même et recommencez.",
    ),
    (
        "The form was sent by a page of another origin. A proxy in front of the dashboard has to pass the header `Host` on as it is.",
        "Le formulaire a été envoyé par une page d’une autre origine. Un serveur mandataire devant le tableau de bord doit transmettre l’en-tête `Host` tel qu’il est.",
    ),
    (
        "The form is larger than {most:number} bytes, or was cut off.",
        "Le formulaire dépasse {most} octets, ou a été coupé.",
    ),
    ("The form did not arrive within {secs:number} s.", "Le formulaire n’est pas arrivé en {secs} s."),
    (
        "The dashboard takes forms (`application/x-www-form-urlencoded`) only; programs use the API.",
        "Le tableau de bord ne prend que des formulaires (`application/x-www-form-urlencoded`)\u{a0}; les programmes utilisent l’API.",
    ),
    ("The request is not usable: {detail:said}.", "La demande ne convient pas\u{a0}: {detail}."),
    ("a day is written like 2026-10-31", "un jour s’écrit comme 2026-10-31"),
    ("a month is written like 2026-10", "un mois s’écrit comme 2026-10"),
    ("the form names no action", "le formulaire ne nomme aucune action"),
    ("the address names no action", "l’adresse ne nomme aucune action"),
    ("the form names no event", "le formulaire ne nomme aucun événement"),
    ("the form names no invoice", "le formulaire ne nomme aucune facture"),
    ("the days are a number", "les jours sont un nombre"),
    ("say whether the books hold the payment", "dites si le paiement est dans les livres"),
    ("say which secret Finkare signs with", "dites avec quel secret Finkare signe"),
    ("the address could not be read", "l’adresse n’a pas pu être lue"),
];
