//! What a reload of the configuration changes, and what it notices.

use crate::french::Pair;

pub(in crate::french) const PHRASES: &[Pair] = &[
    // What has changed: lists, each with names.
    ("sinks added: {names}; {more:said}", "destinations ajoutées\u{a0}: {names}\u{a0}; {more}"),
    ("sinks added: {names}", "destinations ajoutées\u{a0}: {names}"),
    ("sinks removed: {names}; {more:said}", "destinations retirées\u{a0}: {names}\u{a0}; {more}"),
    ("sinks removed: {names}", "destinations retirées\u{a0}: {names}"),
    ("sinks changed: {names}; {more:said}", "destinations modifiées\u{a0}: {names}\u{a0}; {more}"),
    ("sinks changed: {names}", "destinations modifiées\u{a0}: {names}"),
    ("endpoints added: {names}; {more:said}", "sources ajoutées\u{a0}: {names}\u{a0}; {more}"),
    ("endpoints added: {names}", "sources ajoutées\u{a0}: {names}"),
    ("endpoints removed: {names}; {more:said}", "sources retirées\u{a0}: {names}\u{a0}; {more}"),
    ("endpoints removed: {names}", "sources retirées\u{a0}: {names}"),
    ("endpoints changed: {names}; {more:said}", "sources modifiées\u{a0}: {names}\u{a0}; {more}"),
    ("endpoints changed: {names}", "sources modifiées\u{a0}: {names}"),
    ("options: {names}", "options\u{a0}: {names}"),
    ("nothing", "rien"),
    // What is noticed: where, and what.
    ("sinks[{place}: {what:said}", "sinks[{place}\u{a0}: {what}"),
    ("endpoints[{place}: {what:said}", "endpoints[{place}\u{a0}: {what}"),
    ("endpoints ({place}: {what:said}", "endpoints ({place}\u{a0}: {what}"),
    ("admin.tokens[{place}: {what:said}", "admin.tokens[{place}\u{a0}: {what}"),
    ("{place:word}: {what:said}", "{place}\u{a0}: {what}"),
    (
        "Finkare waits 5 seconds for an answer and then delivers again; {secs:number} leaves no time for the network",
        "Finkare attend une réponse 5 secondes, puis livre de nouveau\u{a0}; {secs} ne laisse pas de temps au réseau",
    ),
    ("is for Postgres; SQLite has one writer", "est fait pour Postgres\u{a0}; SQLite n’a qu’un seul écrivain"),
    (
        "{oddity:said}, which is taken for a part of the secret: take it out if it is none",
        "{oddity}, ce qui est pris pour une partie du secret\u{a0}: retirez-le si ce n’en est pas une",
    ),
    (
        "the token has fewer than {short:number} characters: make one with `openssl rand -hex 32`",
        "le jeton a moins de {short} caractères\u{a0}: faites-en un avec `openssl rand -hex 32`",
    ),
    ("has no effect without `proxy`", "n’a pas d’effet sans `proxy`"),
    (
        "the environment names no proxy (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY): calls leave directly",
        "l’environnement ne nomme aucun serveur mandataire (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY)\u{a0}: les appels partent directement",
    ),
    (
        "is set but not used, because [[sinks]] is configured",
        "est défini mais n’est pas utilisé, car [[sinks]] est configuré",
    ),
    (
        "is set but not used, because [[endpoints]] is configured: name it there by { env = \"{variable:word}\" }",
        "est défini mais n’est pas utilisé, car [[endpoints]] est configuré\u{a0}: nommez-le là par { env = \"{variable}\" }",
    ),
    (
        "`{event}` is not a type that Finkare documents (did you mean `{meant}`?)",
        "`{event}` n’est pas un type que Finkare décrit (vouliez-vous dire `{meant}`\u{202f}?)",
    ),
    (
        "`{method}` is not a method that Finkare documents (did you mean `{meant}`?)",
        "`{method}` n’est pas un moyen de paiement que Finkare décrit (vouliez-vous dire `{meant}`\u{202f}?)",
    ),
    (
        "the sink does not get events of the sandbox, which are those of: {names}",
        "la destination ne reçoit pas les événements du bac à sable, qui sont ceux de\u{a0}: {names}",
    ),
    (
        "`invoice` has no effect here: nothing is written, so each payment is reported at once, and none waits for another; leave it out",
        "`invoice` n’a pas d’effet ici\u{a0}: rien n’est écrit\u{a0}; chaque paiement est donc signalé tout de suite, et aucun n’attend un autre\u{a0}; retirez-le",
    ),
    (
        "a relative path starts from the folder of the configuration file: events go to `{file}`, and no longer to `{path}` in the working directory",
        "un chemin relatif part du dossier du fichier de configuration\u{a0}: les événements vont dans `{file}`, et non plus dans `{path}` du répertoire de travail",
    ),
    (
        "cannot work, and events would be held: {doubt:said}",
        "ne peut pas marcher, et des événements attendraient une décision\u{a0}: {doubt}",
    ),
    (
        "cannot work, and events would be held: {doubt}",
        "ne peut pas marcher, et des événements attendraient une décision\u{a0}: «\u{a0}{doubt}\u{a0}»",
    ),
];
