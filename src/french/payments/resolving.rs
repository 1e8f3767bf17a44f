//! Why the payment that an event announces is not found, is not completed, or is not certain.

use crate::french::Pair;

pub(in crate::french) const PHRASES: &[Pair] = &[
    // What is said about any of the reasons below comes first: what stands before it is a sentence of its own.
    (
        "{what:said}. It may only be too early: the relay tries again",
        "{what}. Il est peut-être seulement trop tôt\u{a0}: le relais réessaie",
    ),
    (
        "{what:said}: {advice:said}. The relay checks again every hour",
        "{what}\u{a0}: {advice}. Le relais vérifie de nouveau toutes les heures",
    ),
    (
        "{what:said}. Check this at Finkare; if it is right, cancel this dispatch",
        "{what}. Vérifiez cela chez Finkare\u{a0}; si c’est exact, classez cet envoi",
    ),
    (
        "{reason:said}. Look at the event, book its payment by hand, and cancel this dispatch",
        "{reason}. Regardez l’événement, inscrivez son paiement à la main, et classez cet envoi",
    ),
    (
        "{reason:said}. Give endpoint `{endpoint}` an `api_key` with the scopes `invoices:read` and `payments:read`, reload, and resume the sink",
        "{reason}. Donnez à la source `{endpoint}` un `api_key` avec les droits `invoices:read` et `payments:read`, relisez la configuration, et remettez la destination en service",
    ),
    (
        "{reason:said}. Check `api_url` and `api_paths` of endpoint `{endpoint}`; the relay asks again every hour",
        "{reason}. Vérifiez `api_url` et `api_paths` de la source `{endpoint}`\u{a0}; le relais redemande toutes les heures",
    ),
    (
        "{what:said}; {payment:said} is completed and has no event, but is not taken instead",
        "{what}\u{a0}; {payment} est terminé et n’a pas d’événement, mais n’est pas pris à sa place",
    ),
    // Nobody can be asked.
    (
        "Finkare cannot be asked for the payment: set `api_key` of endpoint `{endpoint}`, with the scopes `invoices:read` and `payments:read`, and reload; or cancel this dispatch",
        "Finkare ne peut pas être interrogé sur le paiement\u{a0}: donnez à la source `{endpoint}` son `api_key`, avec les droits `invoices:read` et `payments:read`, et relisez la configuration\u{a0}; ou classez cet envoi",
    ),
    (
        "Finkare cannot be asked for the payment: endpoint `{endpoint}` is no longer configured. Configure it, with its `api_key`, and reload; or cancel this dispatch",
        "Finkare ne peut pas être interrogé sur le paiement\u{a0}: la source `{endpoint}` n’est plus configurée. Configurez-la, avec son `api_key`, et relisez la configuration\u{a0}; ou classez cet envoi",
    ),
    (
        "calls to Finkare's API have reached `api_rate_limit`: this event waits for its turn",
        "les appels à l’API de Finkare ont atteint `api_rate_limit`\u{a0}: cet événement attend son tour",
    ),
    (
        "could not find out which payment the event announces: {why:said}",
        "impossible de savoir quel paiement l’événement annonce\u{a0}: {why}",
    ),
    // What the event says.
    (
        "an event of type `{type}` announces no payment: cancel this dispatch",
        "un événement de type `{type}` n’annonce aucun paiement\u{a0}: classez cet envoi",
    ),
    (
        "the event names no invoice (`data.invoiceId`): cancel this dispatch",
        "l’événement ne nomme aucune facture (`data.invoiceId`)\u{a0}: classez cet envoi",
    ),
    (
        "the relay cannot read which payment the event announces: {what:said}. Look at the event, book the payment by hand, and cancel this dispatch",
        "le relais ne peut pas lire quel paiement l’événement annonce\u{a0}: {what}. Regardez l’événement, inscrivez le paiement à la main, et classez cet envoi",
    ),
    (
        "the body cannot be read: it is not JSON of the documented form at line {line:number}, column {column:number}",
        "le contenu est illisible\u{a0}: à la ligne {line}, colonne {column}, ce n’est pas du JSON de la forme documentée",
    ),
    ("`data` is missing", "`data` manque"),
    ("`data.invoiceId` is missing", "`data.invoiceId` manque"),
    ("`data.amountCents` is missing", "`data.amountCents` manque"),
    (
        "`data.amountCents` is not a whole number of cents above zero",
        "`data.amountCents` n’est pas un nombre entier de centimes supérieur à zéro",
    ),
    (
        "`data.paidAt` is neither a time with its offset from UTC nor a date",
        "`data.paidAt` n’est ni une heure avec son décalage par rapport à UTC, ni une date",
    ),
    (
        "`{name:word}` is empty, longer than {most:number} bytes, or has control characters",
        "`{name}` est vide, dépasse {most} octets, ou contient des caractères de contrôle",
    ),
    // Finkare and the event differ.
    (
        "Finkare and the event do not agree: {what:said}. Find out which is right, book the payment by hand, and cancel this dispatch",
        "Finkare et l’événement se contredisent\u{a0}: {what}. Cherchez lequel dit vrai, inscrivez le paiement à la main, et classez cet envoi",
    ),
    (
        "payment {id} was {before:money} of invoice {invoice} when the event was read, and is now {now:money} of invoice {other:word}",
        "le paiement {id} était de {before} pour la facture {invoice} quand l’événement a été lu, et il est maintenant de {now} pour la facture {other}",
    ),
    (
        "payment {id} belongs to invoice {invoice} at Finkare, but the event says invoice {other:word}",
        "le paiement {id} appartient à la facture {invoice} chez Finkare, mais l’événement dit la facture {other}",
    ),
    (
        "payment {id} has {cents} cents at Finkare, but the event says {said} cents",
        "le paiement {id} est de {cents} centimes chez Finkare, mais l’événement dit {said} centimes",
    ),
    (
        "payment {id} is in {currency} at Finkare, but the event says {said:word}",
        "le paiement {id} est en {currency} chez Finkare, mais l’événement dit {said}",
    ),
    // Which payment it is.
    (
        "other events took every payment that fits first",
        "d’autres événements ont pris d’abord tous les paiements qui conviennent",
    ),
    ("the payment must be checked again", "le paiement doit être vérifié de nouveau"),
    (
        "payment {id} of the event is still pending at Finkare",
        "le paiement {id} de l’événement est encore en attente chez Finkare",
    ),
    (
        "{payment:said}, which the event seems to announce, is still pending at Finkare",
        "{payment}, que l’événement semble annoncer, est encore en attente chez Finkare",
    ),
    (
        "payment {id} has the status `{status}` at Finkare, and the relay does not know whether this means that it has arrived",
        "le paiement {id} a l’état `{status}` chez Finkare, et le relais ne sait pas si cela veut dire qu’il est arrivé",
    ),
    (
        "payment {id}, which the event announces, is `failed` at Finkare: it is not passed on",
        "le paiement {id}, que l’événement annonce, a échoué chez Finkare (`failed`)\u{a0}: il n’est pas transmis",
    ),
    (
        "payment {id}, which the event announces, is `refunded` at Finkare: it is not passed on",
        "le paiement {id}, que l’événement annonce, a été remboursé chez Finkare (`refunded`)\u{a0}: il n’est pas transmis",
    ),
    (
        "payment {id}, which the event announces, is `{status}` at Finkare: it is not passed on",
        "le paiement {id}, que l’événement annonce, a l’état `{status}` chez Finkare\u{a0}: il n’est pas transmis",
    ),
    (
        "{wanted:said} may be the payment without a readable id, whose data at Finkare cannot be read: {problem:said}",
        "{wanted} est peut-être le paiement sans identifiant lisible dont les données chez Finkare sont illisibles\u{a0}: {problem}",
    ),
    (
        "{wanted:said} may be the payment {id}, whose data at Finkare cannot be read: {problem:said}",
        "{wanted} est peut-être le paiement {id}, dont les données chez Finkare sont illisibles\u{a0}: {problem}",
    ),
    (
        "{wanted:said} may be {one:said} as well as {other:said}, which differ in time, method or currency: the relay does not guess. Book the right one by hand, and cancel this dispatch",
        "{wanted} peut être {one} aussi bien que {other}, qui diffèrent par la date, le moyen ou la devise\u{a0}: le relais ne devine pas. Inscrivez le bon à la main, et classez cet envoi",
    ),
    (
        "Finkare shows {wanted:said}, but other events have already announced every such payment (for example payment {id})",
        "Finkare montre {wanted}, mais d’autres événements ont déjà annoncé tous les paiements de ce genre (par exemple le paiement {id})",
    ),
    (
        "Finkare does not show a payment of {amount:money} of invoice {invoice} that is dated within {days:number} days of the event ({day:day}); {nearest:said}, so it is not taken as the event's payment",
        "Finkare ne montre aucun paiement de {amount} pour la facture {invoice} daté à {days} jours au plus de l’événement ({day})\u{a0}; {nearest}, et n’est donc pas pris pour le paiement de l’événement",
    ),
    (
        "Finkare does not show a payment of {amount:money} of invoice {invoice} that is dated within {days:number} days of the event ({time}); {nearest:said}, so it is not taken as the event's payment",
        "Finkare ne montre aucun paiement de {amount} pour la facture {invoice} daté à {days} jours au plus de l’événement ({time})\u{a0}; {nearest}, et n’est donc pas pris pour le paiement de l’événement",
    ),
    ("the nearest is {payment:said}, `{status}`", "le plus proche est {payment}, `{status}`"),
    (
        "payment {id}, `{status}`, has no payment date at Finkare",
        "le paiement {id}, `{status}`, n’a pas de date de paiement chez Finkare",
    ),
    (
        "the payment that was found for the event is no longer at Finkare ({wanted:said}): it is not passed on",
        "le paiement qui avait été trouvé pour l’événement n’est plus chez Finkare ({wanted})\u{a0}: il n’est pas transmis",
    ),
    (
        "Finkare does not show a payment of {amount:money} of invoice {invoice:word}",
        "Finkare ne montre aucun paiement de {amount} pour la facture {invoice}",
    ),
    (
        "Finkare does not show payment {id} of {amount:money} of invoice {invoice:word}",
        "Finkare ne montre pas le paiement {id} de {amount} pour la facture {invoice}",
    ),
    (
        "payment {id} would fit, but was made only now, long after the event: its own event may still arrive",
        "le paiement {id} conviendrait, mais il vient seulement d’être fait, longtemps après l’événement\u{a0}: son propre événement peut encore arriver",
    ),
    // What a person does.
    (
        "the dispatch continues by itself once payment {id} is completed. If the event means payment {other}, make sure that this payment is in the books, and cancel this dispatch",
        "l’envoi continue de lui-même dès que le paiement {id} est terminé. Si l’événement désigne le paiement {other}, assurez-vous que celui-ci est dans les livres, et classez cet envoi",
    ),
    (
        "check the payment at Finkare: the dispatch continues by itself once the payment is `completed`; if the payment has arrived, book it by hand and cancel this dispatch",
        "vérifiez le paiement chez Finkare\u{a0}: l’envoi continue de lui-même dès que le paiement est terminé (`completed`)\u{a0}; si le paiement est arrivé, inscrivez-le à la main et classez cet envoi",
    ),
    (
        "check the payment at Finkare, book it by hand, and cancel this dispatch",
        "vérifiez le paiement chez Finkare, inscrivez-le à la main, et classez cet envoi",
    ),
    (
        "either Finkare sent the event twice, or a payment is not visible: compare with Finkare, then cancel this dispatch or retry it",
        "ou bien Finkare a envoyé l’événement deux fois, ou bien un paiement n’est pas visible\u{a0}: comparez avec Finkare, puis classez cet envoi ou faites-le réessayer",
    ),
    (
        "compare with Finkare: the dispatch continues by itself once the event's own payment is visible. If the event means payment {id}, make sure that this payment is in the books, and cancel this dispatch (`payment_window_days` of the endpoint says how far a payment may be dated from its event)",
        "comparez avec Finkare\u{a0}: l’envoi continue de lui-même dès que le propre paiement de l’événement est visible. Si l’événement désigne le paiement {id}, assurez-vous que celui-ci est dans les livres, et classez cet envoi (`payment_window_days` de la source dit de combien un paiement peut être daté loin de son événement)",
    ),
    (
        "compare with Finkare: the dispatch continues by itself once the payment is visible; if there is no such payment, cancel this dispatch",
        "comparez avec Finkare\u{a0}: l’envoi continue de lui-même dès que le paiement est visible\u{a0}; si ce paiement n’existe pas, classez cet envoi",
    ),
    (
        "compare with Finkare: the dispatch continues by itself once the invoice is visible; if there is no such invoice, cancel this dispatch",
        "comparez avec Finkare\u{a0}: l’envoi continue de lui-même dès que la facture est visible\u{a0}; si cette facture n’existe pas, classez cet envoi",
    ),
    // What is missing of a payment or an invoice.
    (
        "payment {id} cannot be passed on: {what:said}. The relay checks it again every hour",
        "le paiement {id} ne peut pas être transmis\u{a0}: {what}. Le relais le vérifie de nouveau toutes les heures",
    ),
    ("its id at Finkare cannot be stored", "son identifiant chez Finkare ne peut pas être enregistré"),
    ("neither Finkare nor the event says when it was paid", "ni Finkare ni l’événement ne disent quand il a été payé"),
    ("neither Finkare nor the event gives a currency", "ni Finkare ni l’événement n’indiquent de devise"),
    ("the payment is in {one}, and the invoice in {other:word}", "le paiement est en {one}, et la facture en {other}"),
    ("the payment is in {one}, and the event in {other:word}", "le paiement est en {one}, et l’événement en {other}"),
    ("the invoice is in {one}, and the event in {other:word}", "la facture est en {one}, et l’événement en {other}"),
    (
        "its currency `{currency}` is not one of three letters",
        "sa devise `{currency}` ne se compose pas de trois lettres",
    ),
    ("Finkare does not show invoice {id:word}", "Finkare ne montre pas la facture {id}"),
    (
        "Finkare's answer about invoice {id} cannot be used: {problem:said}. Check the invoice at Finkare",
        "la réponse de Finkare sur la facture {id} ne peut pas servir\u{a0}: {problem}. Vérifiez la facture chez Finkare",
    ),
    ("it is about invoice {id:word}", "elle porte sur la facture {id}"),
    ("its number cannot be used to find it in the books", "son numéro ne permet pas de la chercher dans les livres"),
    // Payments, as these sentences name them.
    ("payment {id} (paid at an unknown time, {how:said})", "le paiement {id} (payé à une date inconnue, {how})"),
    ("payment {id} (paid at {day:day}, {how:said})", "le paiement {id} (payé le {day}, {how})"),
    ("payment {id} (paid at {time}, {how:said})", "le paiement {id} (payé le {time}, {how})"),
    ("method not given, currency not given", "moyen et devise non indiqués"),
    ("method not given, currency {currency:word}", "moyen non indiqué, devise {currency}"),
    ("method {method:method}, currency not given", "moyen {method}, devise non indiquée"),
    ("method {method:method}, currency {currency:word}", "moyen {method}, devise {currency}"),
    ("a payment of {amount:money} of invoice {invoice:word}", "un paiement de {amount} pour la facture {invoice}"),
    (
        "payment {id} of {amount:money} of invoice {invoice:word}",
        "le paiement {id} de {amount} pour la facture {invoice}",
    ),
];
