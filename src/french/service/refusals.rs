//! What is said of deliveries that were refused.

use crate::french::Pair;

pub(in crate::french) const PHRASES: &[Pair] = &[
    (
        "The signature fits none of the endpoint's secrets; it will be examined in a moment.",
        "La signature ne correspond à aucun des secrets de la source\u{a0}; la livraison sera examinée dans un instant.",
    ),
    (
        "The signature fits none of the endpoint's secrets. It was not examined further, because too many deliveries were refused at the same time, or because its body is too large for that.",
        "La signature ne correspond à aucun des secrets de la source. La livraison n’a pas été examinée davantage, car trop de livraisons ont été refusées en même temps, ou car son contenu est trop grand pour cela.",
    ),
    (
        "The endpoint has no secret, so no delivery can be verified. Set its `secret`, or run `finkare-relay register`.",
        "La source n’a pas de secret\u{a0}: aucune livraison ne peut être vérifiée. Donnez-lui un `secret` dans la configuration, ou inscrivez le webhook.",
    ),
    (
        "There is no `{header:word}` header. Either the delivery does not come from Finkare, or a proxy removes the header: make the proxy pass it on.",
        "L’en-tête `{header}` manque. Ou bien la livraison ne vient pas de Finkare, ou bien un serveur mandataire retire l’en-tête\u{a0}: faites en sorte qu’il le transmette.",
    ),
    (
        "The `{header:word}` header is there more than once, and it is not defined which one is valid. Look for a proxy that adds or repeats the header.",
        "L’en-tête `{header}` s’y trouve plusieurs fois, et rien ne dit lequel est valable. Cherchez un serveur mandataire qui ajoute ou répète l’en-tête.",
    ),
    (
        "The `{header:word}` header is written in base64 instead of hexadecimal. If the delivery comes from Finkare, ask Finkare about the form of the header, or look for a proxy that rewrites it.",
        "L’en-tête `{header}` est écrit en base64 au lieu d’hexadécimal. Si la livraison vient de Finkare, renseignez-vous auprès de Finkare sur la forme de l’en-tête, ou cherchez un serveur mandataire qui le réécrit.",
    ),
    (
        "The `{header:word}` header has a prefix other than `sha256=`. If the delivery comes from Finkare, ask Finkare about the form of the header, or look for a proxy that rewrites it.",
        "L’en-tête `{header}` a un autre préfixe que `sha256=`. Si la livraison vient de Finkare, renseignez-vous auprès de Finkare sur la forme de l’en-tête, ou cherchez un serveur mandataire qui le réécrit.",
    ),
    (
        "The `{header:word}` header does not hold the 64 hexadecimal digits of an HMAC-SHA256. If the delivery comes from Finkare, ask Finkare about the form of the header, or look for a proxy that rewrites it.",
        "L’en-tête `{header}` ne contient pas les 64 chiffres hexadécimaux d’un HMAC-SHA256. Si la livraison vient de Finkare, renseignez-vous auprès de Finkare sur la forme de l’en-tête, ou cherchez un serveur mandataire qui le réécrit.",
    ),
    (
        "The delivery is signed with a secret of this endpoint whose overlap after a rotation has ended. If Finkare still signs with this secret, rotate again; otherwise, a third party has sent an old delivery again.",
        "La livraison est signée avec un secret de cette source dont le délai, après un renouvellement, est passé. Si Finkare signe encore avec ce secret, renouvelez-le encore une fois\u{a0}; sinon, un tiers a renvoyé une ancienne livraison.",
    ),
    (
        "The delivery is genuine, but its timestamp is older than `max_age_days`. Either a third party has sent an old delivery again, or Finkare was days late: compare Finkare's payments with yours.",
        "La livraison est authentique, mais sa date est plus ancienne que `max_age_days`. Ou bien un tiers a renvoyé une ancienne livraison, ou bien Finkare a eu des jours de retard\u{a0}: comparez les paiements de Finkare avec les vôtres.",
    ),
    // Why it was not known whether it is genuine.
    (
        "The signature fitted no known secret, and {why:said}, so Finkare was asked to send the delivery again. There is nothing to do unless this continues; in that case, look at the audit trail and rotate again.",
        "La signature ne correspondait à aucun secret connu, et {why}\u{a0}; il a donc été demandé à Finkare de renvoyer la livraison. Il n’y a rien à faire, sauf si cela continue\u{a0}; dans ce cas, regardez le journal et renouvelez le secret encore une fois.",
    ),
    (
        "a change of the secret was still in progress after {time:span}",
        "un changement du secret était encore en cours après {time}",
    ),
    (
        "it is not known whether Finkare has switched to another secret",
        "on ne sait pas si Finkare est passé à un autre secret",
    ),
    (
        "until a moment ago it was not known which secret Finkare uses",
        "jusqu’à l’instant, on ne savait pas quel secret Finkare utilise",
    ),
    (
        "too many deliveries ({count:number}) wait to be checked again",
        "trop de livraisons ({count}) attendent d’être vérifiées de nouveau",
    ),
    ("the stored secrets could not be read again", "les secrets enregistrés n’ont pas pu être relus"),
    ("the endpoint has just been removed from the configuration", "la source vient d’être retirée de la configuration"),
    (
        "a stored secret of this endpoint cannot be used (`finkare-relay endpoints list` says which one, and what to do)",
        "un secret enregistré de cette source ne peut pas être utilisé (la page de la source dit lequel, et que faire)",
    ),
    // Which other reading of the secrets or of the body fits.
    (
        "The signature fits none of the endpoint's secrets, in any reading. Either the delivery is forged, or the secret was changed at Finkare or copied wrongly: compare its fingerprint (`printf %s \"$SECRET\" | sha256sum`) with the endpoint's, and set it again.",
        "La signature ne correspond à aucun des secrets de la source, de quelque façon qu’on les lise. Ou bien la livraison est fausse, ou bien le secret a été changé chez Finkare ou mal copié\u{a0}: comparez son empreinte (`printf %s \"$SECRET\" | sha256sum`) avec celle de la source, et saisissez-le de nouveau.",
    ),
    (
        "The signature fits the endpoint's secret {fingerprint:word}, which was not known when the delivery came. There is nothing to do: the delivery is accepted when Finkare sends it again.",
        "La signature correspond au secret {fingerprint} de la source, qui n’était pas connu quand la livraison est arrivée. Il n’y a rien à faire\u{a0}: la livraison sera acceptée quand Finkare la renverra.",
    ),
    (
        "The signature fits the endpoint's secret {fingerprint:word}, over the body as it came.",
        "La signature correspond au secret {fingerprint} de la source, calculée sur le contenu tel qu’il est arrivé.",
    ),
    (
        "The signature fits the endpoint's secret {fingerprint:word} {how:said}.",
        "La signature correspond au secret {fingerprint} de la source {how}.",
    ),
    (
        "without the characters that do not belong to it, over the body as it came",
        "sans les caractères qui n’en font pas partie, calculée sur le contenu tel qu’il est arrivé",
    ),
    ("without the characters that do not belong to it", "sans les caractères qui n’en font pas partie"),
    ("used as a whole, over the body as it came", "pris en entier, calculée sur le contenu tel qu’il est arrivé"),
    ("used as a whole", "pris en entier"),
    (
        "used without `whsec_`, over the body as it came",
        "pris sans `whsec_`, calculée sur le contenu tel qu’il est arrivé",
    ),
    ("used without `whsec_`", "pris sans `whsec_`"),
    (
        "used without `whsec_` and decoded from base64, over the body as it came",
        "pris sans `whsec_` et décodé de base64, calculée sur le contenu tel qu’il est arrivé",
    ),
    ("used without `whsec_` and decoded from base64", "pris sans `whsec_` et décodé de base64"),
    ("if the body's JSON is serialised again without blanks", "si le JSON du contenu est réécrit sans espaces"),
    (
        "over the body if the blanks, newlines or byte order mark around it are removed: something added them",
        "si l’on retire du contenu les espaces, les sauts de ligne ou la marque d’ordre des octets qui l’entourent\u{a0}: quelque chose les a ajoutés",
    ),
    (
        "over the body if a newline is added at its end: something removed it",
        "si l’on ajoute un saut de ligne à la fin du contenu\u{a0}: quelque chose l’a retiré",
    ),
    (
        "over the body if its line ends are LF: something turned them into CRLF",
        "si les fins de ligne du contenu sont LF\u{a0}: quelque chose en a fait des CRLF",
    ),
    (
        "over the body if its line ends are CRLF: something turned them into LF",
        "si les fins de ligne du contenu sont CRLF\u{a0}: quelque chose en a fait des LF",
    ),
    (
        "The configured secret {oddity:said}: correct it where it is configured, and reload.",
        "Le secret configuré {oddity}\u{a0}: corrigez-le là où il est configuré, puis relisez la configuration.",
    ),
    (
        "begins with a byte order mark (U+FEFF), which editors on Windows write and nobody sees",
        "commence par une marque d’ordre des octets (U+FEFF), que des éditeurs de Windows écrivent et que personne ne voit",
    ),
    (
        "has characters that cannot be seen, such as a zero-width space",
        "contient des caractères que l’on ne voit pas, comme une espace sans largeur",
    ),
    (
        "ends in a carriage return: the file that it comes from has the line ends of Windows",
        "finit par un retour chariot\u{a0}: le fichier dont il vient a les fins de ligne de Windows",
    ),
    ("begins or ends with a blank or a newline", "commence ou finit par un espace ou un saut de ligne"),
    ("is in quotes", "est entre guillemets"),
    ("begins or ends with a quote", "commence ou finit par un guillemet"),
    ("Set `secret_encoding = \"{word:word}\"`.", "Écrivez `secret_encoding = \"{word}\"` dans la configuration."),
    ("Set `signature_over = \"raw\"`.", "Écrivez `signature_over = \"raw\"` dans la configuration."),
    (
        "Either something on the way adds blanks to the JSON, or Finkare signs another form of the JSON than it sends: set `signature_over = \"either\"`.",
        "Ou bien quelque chose ajoute en route des espaces au JSON, ou bien Finkare signe une autre forme du JSON que celle qu’elle envoie\u{a0}: écrivez `signature_over = \"either\"` dans la configuration.",
    ),
    (
        "Make the proxy pass on bodies byte for byte.",
        "Faites en sorte que le serveur mandataire transmette les contenus octet pour octet.",
    ),
    // A path that no endpoint has.
    ("No endpoint has the path `{path}`.", "Aucune source n’a le chemin `{path}`."),
    (
        "The endpoints of this process are at {known}. Change the webhook's URL at Finkare, or add an endpoint with this path and reload every replica.",
        "Les sources de ce processus sont à {known}. Changez l’adresse du webhook chez Finkare, ou ajoutez une source avec ce chemin et relisez la configuration de chaque réplique.",
    ),
    (
        "The endpoint `{name:word}` is at `{known}`: they differ by a slash at the end. Change the webhook's URL at Finkare, or the endpoint's `path`; if the path is a new one, reload this replica.",
        "La source `{name}` est à `{known}`\u{a0}: les deux chemins diffèrent par une barre oblique à la fin. Changez l’adresse du webhook chez Finkare, ou le `path` de la source\u{a0}; si le chemin est nouveau, relisez la configuration de cette réplique.",
    ),
    (
        "The endpoint `{name:word}` is at `{known}`: they differ in upper and lower case. Change the webhook's URL at Finkare, or the endpoint's `path`; if the path is a new one, reload this replica.",
        "La source `{name}` est à `{known}`\u{a0}: les deux chemins diffèrent par des majuscules et des minuscules. Changez l’adresse du webhook chez Finkare, ou le `path` de la source\u{a0}; si le chemin est nouveau, relisez la configuration de cette réplique.",
    ),
    (
        "The endpoint `{name:word}` is at `{known}`: is there a typo? Change the webhook's URL at Finkare, or the endpoint's `path`; if the path is a new one, reload this replica.",
        "La source `{name}` est à `{known}`\u{a0}: y a-t-il une faute de frappe\u{202f}? Changez l’adresse du webhook chez Finkare, ou le `path` de la source\u{a0}; si le chemin est nouveau, relisez la configuration de cette réplique.",
    ),
];
