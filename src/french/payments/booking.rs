//! What the bookkeeper says, whatever the system: what waits, what is in doubt, what the ledger notes, and what would be done.

use crate::french::Pair;

pub(in crate::french) const PHRASES: &[Pair] = &[
    // What is said about any reason, be it of the books or of the resolver, comes first.
    (
        "{reason:said} (the invoice may be new: the relay looks again)",
        "{reason} (la facture est peut-être nouvelle\u{a0}: le relais cherche de nouveau)",
    ),
    (
        "{reason:said}. An earlier attempt may have recorded it: look there, report what you found with `bookings settle`, and retry or cancel this dispatch",
        "{reason}. Un essai précédent l’a peut-être inscrit\u{a0}: regardez-y, dites ce que vous avez trouvé par «\u{a0}Dire s’il est inscrit\u{a0}», et faites réessayer ou classez cet envoi",
    ),
    (
        "{reason:said}. It was not recorded: correct the cause there and retry this dispatch (`dispatches retry`), or record the payment there by hand and cancel this dispatch (`dispatches cancel`)",
        "{reason}. Il n’a pas été inscrit\u{a0}: corrigez-y la cause et faites réessayer cet envoi, ou inscrivez-y le paiement à la main et classez cet envoi",
    ),
    (
        "{reason:said}. It was sent twice, and is not there: it may still appear. Look for it in {system:word}, report what you found with `bookings settle`, and retry or cancel this dispatch",
        "{reason}. Il a été envoyé deux fois, et n’est pas là\u{a0}: il peut encore apparaître. Cherchez-le dans {system}, dites ce que vous avez trouvé par «\u{a0}Dire s’il est inscrit\u{a0}», et faites réessayer ou classez cet envoi",
    ),
    (
        "{reason:said}. It was sent twice, and is not there: {system:word} does not accept payments as this version sends them. Find out why, look for the payment there, and resume the sink (`sinks resume`)",
        "{reason}. Il a été envoyé deux fois, et n’est pas là\u{a0}: {system} n’accepte pas les paiements tels que cette version les envoie. Cherchez pourquoi, cherchez-y le paiement, et remettez la destination en service",
    ),
    (
        "{reason:said}. It is not known whether the payment was recorded: the relay looks for it before it writes again",
        "{reason}. On ne sait pas si le paiement a été inscrit\u{a0}: le relais le cherche avant d’écrire de nouveau",
    ),
    (
        "{reason:said}. The change is not there: look at the invoice in {system:word}, and resume the sink (`sinks resume`)",
        "{reason}. La modification n’est pas là\u{a0}: regardez la facture dans {system}, et remettez la destination en service",
    ),
    (
        "{reason:said}. The change is not there: look at the invoice in {system:word}; then retry this dispatch or cancel it",
        "{reason}. La modification n’est pas là\u{a0}: regardez la facture dans {system}\u{a0}; puis faites réessayer cet envoi ou classez-le",
    ),
    (
        "{reason:said}. This version expects another answer, and sends nothing more there until a person has looked: check `base_url` and what it leads to, report it if the system has changed, then resume the sink (`sinks resume`)",
        "{reason}. Cette version attend une autre réponse, et n’y envoie plus rien avant qu’une personne ait regardé\u{a0}: vérifiez `base_url` et où il mène, signalez-le si le logiciel a changé, puis remettez la destination en service",
    ),
    (
        "{paid:said}, and the payment of {payment:said} is not among its payments",
        "{paid}, et le paiement de {payment} n’est pas parmi ses paiements",
    ),
    // Other attempts, and what the ledger knows.
    ("the ledger could not be used: {why:said}", "le registre n’a pas pu être utilisé\u{a0}: {why}"),
    ("another attempt is booking this payment", "un autre essai est en train d’inscrire ce paiement"),
    (
        "another attempt is noting this payment, or another one of this invoice",
        "un autre essai est en train de noter ce paiement, ou un autre de cette facture",
    ),
    (
        "another payment of invoice {number} is being booked",
        "un autre paiement de la facture {number} est en train d’être inscrit",
    ),
    (
        "it is not known whether another payment of invoice {number} ({amount:money}, Finkare's payment {id:word}) was recorded in {system:word}: retry or replay its event {event:word} first; if that does not help, look there and report what you found with `bookings settle`",
        "on ne sait pas si un autre paiement de la facture {number} ({amount}, paiement Finkare {id}) a été inscrit dans {system}\u{a0}: faites d’abord réessayer ou renvoyer son événement {event}\u{a0}; si cela n’aide pas, regardez-y et dites ce que vous avez trouvé par «\u{a0}Dire s’il est inscrit\u{a0}»",
    ),
    (
        "an earlier attempt to record the payment in {system:word} got no answer, and the payment is not there: the relay waits until that request has certainly ended before it writes again",
        "un essai précédent d’inscrire le paiement dans {system} n’a pas reçu de réponse, et le paiement n’y est pas\u{a0}: le relais attend que cette demande soit certainement terminée avant d’écrire de nouveau",
    ),
    (
        "payment {id:word} of {amount:money} on invoice {number} is in the books of {system:word} already (booked), and was written for event {event:word}; now event {other:word} announces it again. If both events mean the same payment, cancel this dispatch; if this event means another one, book that one by hand and cancel this dispatch",
        "le paiement {id} de {amount} sur la facture {number} est déjà dans les livres de {system} (inscrit), et il a été noté pour l’événement {event}\u{a0}; maintenant l’événement {other} l’annonce de nouveau. Si les deux événements désignent le même paiement, classez cet envoi\u{a0}; si cet événement en désigne un autre, inscrivez celui-là à la main et classez cet envoi",
    ),
    (
        "payment {id:word} of {amount:money} on invoice {number} is in the books of {system:word} already (seen), and was written for event {event:word}; now event {other:word} announces it again. If both events mean the same payment, cancel this dispatch; if this event means another one, book that one by hand and cancel this dispatch",
        "le paiement {id} de {amount} sur la facture {number} est déjà dans les livres de {system} (déjà inscrit), et il a été noté pour l’événement {event}\u{a0}; maintenant l’événement {other} l’annonce de nouveau. Si les deux événements désignent le même paiement, classez cet envoi\u{a0}; si cet événement en désigne un autre, inscrivez celui-là à la main et classez cet envoi",
    ),
    (
        "Finkare's payment {id:word} is now {now:money} on invoice {number}, and was noted here as {before:money} on invoice {other}: look for either in the books, correct it there by hand, and cancel this dispatch",
        "le paiement Finkare {id} est maintenant de {now} sur la facture {number}, et il avait été noté ici pour {before} sur la facture {other}\u{a0}: cherchez l’un et l’autre dans les livres, corrigez-y à la main, et classez cet envoi",
    ),
    (
        "two attempts may have recorded the payment of {payment:said} on invoice {number} in {system:word}: look there for an unknown id and for not known, and remove one if there are two",
        "deux essais ont pu inscrire le paiement de {payment} sur la facture {number} dans {system}\u{a0}: cherchez-y les deux, dont les identifiants ne sont pas connus, et retirez-en un s’il y en a deux",
    ),
    (
        "two attempts may have recorded the payment of {payment:said} on invoice {number} in {system:word}: look there for an unknown id and for {other}, and remove one if there are two",
        "deux essais ont pu inscrire le paiement de {payment} sur la facture {number} dans {system}\u{a0}: cherchez-y {other} et un autre dont l’identifiant n’est pas connu, et retirez-en un s’il y en a deux",
    ),
    (
        "two attempts may have recorded the payment of {payment:said} on invoice {number} in {system:word}: look there for {id} and for not known, and remove one if there are two",
        "deux essais ont pu inscrire le paiement de {payment} sur la facture {number} dans {system}\u{a0}: cherchez-y {id} et un autre dont l’identifiant n’est pas connu, et retirez-en un s’il y en a deux",
    ),
    (
        "two attempts may have recorded the payment of {payment:said} on invoice {number} in {system:word}: look there for {id} and for {other}, and remove one if there are two",
        "deux essais ont pu inscrire le paiement de {payment} sur la facture {number} dans {system}\u{a0}: cherchez-y {id} et {other}, et retirez-en un s’il y en a deux",
    ),
    // What cannot be booked as it is.
    (
        "Finkare's payment has an id that cannot be used as a marker: book the payment by hand",
        "le paiement de Finkare a un identifiant qui ne peut pas servir de repère\u{a0}: inscrivez le paiement à la main",
    ),
    (
        "Finkare's payment {id:word} has the amount {amount:money}: only amounts above zero are booked",
        "le paiement Finkare {id} a le montant {amount}\u{a0}: seuls les montants supérieurs à zéro sont inscrits",
    ),
    (
        "`number` in the settings failed on Finkare's invoice number `{number}`: it names something that an invoice does not have",
        "`number` dans les réglages a échoué sur le numéro de facture `{number}` de Finkare\u{a0}: il nomme quelque chose qu’une facture n’a pas",
    ),
    (
        "`number` in the settings failed on Finkare's invoice number `{number}`: {error}",
        "`number` dans les réglages a échoué sur le numéro de facture `{number}` de Finkare\u{a0}: {error}",
    ),
    (
        "the result of `number` in the settings for Finkare's invoice number `{number}` is not a text",
        "le résultat de `number` dans les réglages pour le numéro de facture `{number}` de Finkare n’est pas un texte",
    ),
    (
        "Finkare's invoice {id} has no number that books could have",
        "la facture {id} de Finkare n’a pas de numéro que des livres pourraient avoir",
    ),
    (
        "a payment was about to be written to a system that takes none; this is a bug: report it",
        "un paiement allait être écrit dans un logiciel qui n’en prend pas\u{a0}; c’est un défaut du relais\u{a0}: signalez-le",
    ),
    // What was written, read back.
    ("found by our marker", "trouvé par le repère du relais"),
    ("read back", "relu"),
    ("recorded there, as a person has confirmed", "inscrit dans les livres, comme une personne l’a confirmé"),
    (
        "{system:word} accepted the payment as {id} but does not show it: {what:said}",
        "{system} a accepté le paiement comme {id} mais ne le montre pas\u{a0}: {what}",
    ),
    (
        "the payment of {payment:said} on invoice {number} was recorded in {system:word} as {id}, but not as it should be: {what:said}. Nothing more is written until a person has looked at it there and resumed the sink",
        "le paiement de {payment} sur la facture {number} a été inscrit dans {system} comme {id}, mais pas comme il devrait l’être\u{a0}: {what}. Plus rien n’est écrit avant qu’une personne l’y ait regardé et ait remis la destination en service",
    ),
    // A payment of the same amount.
    (
        "the payment of {payment:said} on invoice {number} was not booked: {system:word} has {rival:said} already, with the marker of Finkare's payment {other}, which is not in the ledger here.",
        "le paiement de {payment} sur la facture {number} n’a pas été inscrit\u{a0}: {system} a déjà {rival}, avec le repère du paiement Finkare {other}, qui n’est pas dans le registre d’ici.",
    ),
    (
        "the payment of {payment:said} on invoice {number} was not booked: {system:word} has {rival:said} already, which this service did not book.",
        "le paiement de {payment} sur la facture {number} n’a pas été inscrit\u{a0}: {system} a déjà {rival}, que le relais n’a pas inscrit.",
    ),
    (
        "If it is the same money, cancel this dispatch (`dispatches cancel`), or {how:said} there and retry it.",
        "Si c’est le même argent, classez cet envoi, ou {how} là-bas et faites-le réessayer.",
    ),
    (
        "If it is the same money, cancel this dispatch (`dispatches cancel`).",
        "Si c’est le même argent, classez cet envoi.",
    ),
    (
        "If it is another payment, book this one there by hand and cancel this dispatch; or set `on_same_amount = \"book\"` for this sink, reload, and retry it (`dispatches retry`)",
        "Si c’est un autre paiement, inscrivez celui-ci à la main là-bas et classez cet envoi\u{a0}; ou réglez `on_same_amount = \"book\"` pour cette destination, relisez la configuration, et faites réessayer l’envoi",
    ),
    (
        "a payment of {amount:money} {date:said} (id {id}, {named:said}; its invoice is not shown)",
        "un paiement de {amount} {date} (identifiant {id}, {named}\u{a0}; sa facture n’est pas montrée)",
    ),
    (
        "a payment of {amount:money} {date:said} (id {id}, {bears:said})",
        "un paiement de {amount} {date} (identifiant {id}, {bears})",
    ),
    ("without a date", "sans date"),
    ("of {day:day}", "du {day}"),
    ("without a reference", "sans référence"),
    ("with the reference `{reference}`", "avec la référence `{reference}`"),
    ("without a name", "sans nom"),
    ("of `{name}`", "de `{name}`"),
    ("write `{marker}` as its reference", "écrivez `{marker}` comme sa référence"),
    ("write `{marker}` as name of the other party", "écrivez `{marker}` comme nom de l’autre partie"),
    // What would be done.
    (
        "nothing is done in {system:word} for the status `{status}` (`status_map`)",
        "rien n’est fait dans {system} pour le statut `{status}` (`status_map`)",
    ),
    ("nothing is done in {system:word} for `{type}`", "rien n’est fait dans {system} pour `{type}`"),
    (
        "the payment of {payment:said} on invoice {number} is in {system:word} already as {id} (the ledger says `written`): nothing would be written",
        "le paiement de {payment} sur la facture {number} est déjà dans {system} comme {id} (le registre dit «\u{a0}accepté, à relire\u{a0}»)\u{a0}: rien ne serait écrit",
    ),
    (
        "the payment of {payment:said} on invoice {number} is in {system:word} already (the ledger says `written`): nothing would be written",
        "le paiement de {payment} sur la facture {number} est déjà dans {system} (le registre dit «\u{a0}accepté, à relire\u{a0}»)\u{a0}: rien ne serait écrit",
    ),
    (
        "the payment of {payment:said} on invoice {number} is in {system:word} already as {id} (the ledger says `booked`): nothing would be written",
        "le paiement de {payment} sur la facture {number} est déjà dans {system} comme {id} (le registre dit «\u{a0}inscrit\u{a0}»)\u{a0}: rien ne serait écrit",
    ),
    (
        "the payment of {payment:said} on invoice {number} is in {system:word} already (the ledger says `booked`): nothing would be written",
        "le paiement de {payment} sur la facture {number} est déjà dans {system} (le registre dit «\u{a0}inscrit\u{a0}»)\u{a0}: rien ne serait écrit",
    ),
    (
        "the payment of {payment:said} on invoice {number} is in {system:word} already as {id} (the ledger says `seen`): nothing would be written",
        "le paiement de {payment} sur la facture {number} est déjà dans {system} comme {id} (le registre dit «\u{a0}déjà inscrit\u{a0}»)\u{a0}: rien ne serait écrit",
    ),
    (
        "the payment of {payment:said} on invoice {number} is in {system:word} already (the ledger says `seen`): nothing would be written",
        "le paiement de {payment} sur la facture {number} est déjà dans {system} (le registre dit «\u{a0}déjà inscrit\u{a0}»)\u{a0}: rien ne serait écrit",
    ),
    (
        "the payment of {payment:said} on invoice {number} is in {system:word} already as {id}: nothing would be written",
        "le paiement de {payment} sur la facture {number} est déjà dans {system} comme {id}\u{a0}: rien ne serait écrit",
    ),
    (
        "the payment of {payment:said} on invoice {number} would be recorded in {system:word} and then read back",
        "le paiement de {payment} sur la facture {number} serait inscrit dans {system}, puis relu",
    ),
    (
        "the payment of {payment:said} on invoice {number}: {note:said}. Nothing would be written",
        "le paiement de {payment} sur la facture {number}\u{a0}: {note}. Rien ne serait écrit",
    ),
    ("the change of status would be written to {system:word}", "le changement de statut serait écrit dans {system}"),
    (
        "the event is not JSON: look at it, and cancel this dispatch",
        "l’événement n’est pas du JSON\u{a0}: regardez-le, et classez cet envoi",
    ),
    (
        "the event has no `data.newStatus` that is a text: look at it, and cancel this dispatch",
        "l’événement n’a pas de `data.newStatus` qui soit un texte\u{a0}: regardez-le, et classez cet envoi",
    ),
    // A payment, as these sentences name it.
    (
        "{amount:money} of {day:day} by {method:method} (Finkare payment {id:word})",
        "{amount} du {day} par {method} (paiement Finkare {id})",
    ),
    ("{amount:money} of {day:day} (Finkare payment {id:word})", "{amount} du {day} (paiement Finkare {id})"),
    (
        "what a sink of type `{type:word}` does depends on its books, not only on the event",
        "ce que fait une destination de type `{type}` dépend de ses livres, et pas seulement de l’événement",
    ),
];
