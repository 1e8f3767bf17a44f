//! What a person has to see to in Tiime and FastFaktura, in which no payment can be recorded.

use crate::french::Pair;

pub(in crate::french) const PHRASES: &[Pair] = &[
    // What is said about any reason comes first.
    (
        "{reason:said}. A token of Tiime expires after about two hours: put a new one where `token` is read from, reload the configuration, and resume the sink. If the token is new, set `app_version` to what Tiime's web application sends",
        "{reason}. Un jeton de Tiime expire après deux heures environ\u{a0}: mettez-en un nouveau là où `token` est lu, relisez la configuration, et remettez la destination en service. Si le jeton est nouveau, mettez dans `app_version` ce que l’application web de Tiime envoie",
    ),
    (
        "{reason:said}. Keys are created in FastFaktura's settings and begin with `ffk_`: put a valid one where `api_key` is read from, reload the configuration, and resume the sink",
        "{reason}. Les clés se créent dans les réglages de FastFaktura et commencent par `ffk_`\u{a0}: mettez-en une valable là où `api_key` est lu, relisez la configuration, et remettez la destination en service",
    ),
    (
        "{reason:said} (is `company_id` right, and may the token see that company?)",
        "{reason} (`company_id` est-il juste, et le jeton a-t-il le droit de voir cette entreprise\u{202f}?)",
    ),
    ("{reason:said} (check `base_url`)", "{reason} (vérifiez `base_url`)"),
    (
        "{shown:said}. Tiime has no public way to record a payment, so link the line of the bank to the invoice there; {share:said}. At the bank it may be {lines:said}. {closes:said}",
        "{shown}. Tiime n’a pas de moyen public d’inscrire un paiement\u{a0}: rattachez-y donc la ligne de la banque à la facture\u{a0}; {share}. À la banque, c’est peut-être {lines}. {closes}",
    ),
    (
        "{shown:said}. Tiime has no public way to record a payment, so link the line of the bank to the invoice there; {share:said}. {closes:said}",
        "{shown}. Tiime n’a pas de moyen public d’inscrire un paiement\u{a0}: rattachez-y donc la ligne de la banque à la facture\u{a0}; {share}. {closes}",
    ),
    (
        "{shown:said}. FastFaktura has no call that records a payment, so do it by hand: {share:said}. Until it is marked as paid, FastFaktura may still treat it as overdue and remind the debtor. {closes:said}",
        "{shown}. FastFaktura n’a pas d’appel qui inscrit un paiement\u{a0}: faites-le donc à la main\u{a0}: {share}. Tant qu’elle n’est pas marquée payée, FastFaktura peut encore la tenir pour échue et relancer le débiteur. {closes}",
    ),
    ("{shown:said} (its page for the debtor: {page:word})", "{shown} (sa page pour le débiteur\u{a0}: {page})"),
    ("{shown:said} and archived", "{shown} et archivée"),
    // What is there.
    (
        "{about:said}, and Tiime shows invoice {number} as `{status}`, a word that this version does not know",
        "{about}, et Tiime montre la facture {number} comme `{status}`, un mot que cette version ne connaît pas",
    ),
    (
        "{about:said}, and Tiime shows invoice {number} as `{status}`",
        "{about}, et Tiime montre la facture {number} comme `{status}`",
    ),
    (
        "{about:said}, and FastFaktura shows invoice {number} as `{status}`, a word that this version does not know",
        "{about}, et FastFaktura montre la facture {number} comme `{status}`, un mot que cette version ne connaît pas",
    ),
    (
        "{about:said}, and FastFaktura shows invoice {number} as `{status}`",
        "{about}, et FastFaktura montre la facture {number} comme `{status}`",
    ),
    (
        "note it there, and mark the invoice as paid once all of it is paid",
        "notez-y le paiement, et marquez-y la facture comme payée quand tout est payé",
    ),
    (
        "it pays the whole invoice: mark the invoice as paid there",
        "il paie toute la facture\u{a0}: marquez-y la facture comme payée",
    ),
    (
        "it pays a part of the invoice, {amount:money} of {total:money}: note it there, and mark the invoice as paid once all of it is paid",
        "il paie une partie de la facture, {amount} sur {total}\u{a0}: notez-y le paiement, et marquez-y la facture comme payée quand tout est payé",
    ),
    (
        "the line `{wording}` of {day:day} (id {id:word}) or {more:said}",
        "la ligne `{wording}` du {day} (identifiant {id}) ou {more}",
    ),
    ("the line `{wording}` of {day:day} (id {id:word})", "la ligne `{wording}` du {day} (identifiant {id})"),
    (
        "The relay checks again, and closes this by itself once {system:word} shows the invoice as paid; `dispatches retry` checks at once",
        "Le relais vérifie de nouveau, et referme cet envoi de lui-même dès que {system} montre la facture comme payée\u{a0}; «\u{a0}Réessayer\u{a0}» vérifie tout de suite",
    ),
    (
        "Tiime shows invoice {number} (id {id:word}) as paid",
        "Tiime montre la facture {number} (identifiant {id}) comme payée",
    ),
    (
        "FastFaktura shows invoice {number} (id {id:word}) as paid",
        "FastFaktura montre la facture {number} (identifiant {id}) comme payée",
    ),
    // What a person has to see to.
    (
        "{about:said}, and {system:word} has {count:number} invoices with the number {number} (ids {ids}): find out there which one is meant, see to it by hand, and cancel this dispatch",
        "{about}, et {system} a {count} factures avec le numéro {number} (identifiants {ids})\u{a0}: cherchez-y laquelle est visée, faites le nécessaire à la main, et classez cet envoi",
    ),
    (
        "{about:said}, and none of the {seen:number} invoices that {system:word} shows has the number {number}: look for it there. If it has another number there, set `number` in the settings; if the invoice is not kept there, see to the payment by hand and cancel this dispatch",
        "{about}, et aucune des {seen} factures que {system} montre n’a le numéro {number}\u{a0}: cherchez-la là-bas. Si elle y a un autre numéro, réglez `number` dans la configuration\u{a0}; si la facture n’y est pas tenue, occupez-vous du paiement à la main et classez cet envoi",
    ),
    (
        "{about:said}, and none of the {seen:number} invoices that were searched in {system:word} has the number {number}; there may be more: raise `lookup_max_pages`, or see to it by hand there and cancel this dispatch",
        "{about}, et aucune des {seen} factures qui ont été parcourues dans {system} n’a le numéro {number}\u{a0}; il y en a peut-être d’autres\u{a0}: augmentez `lookup_max_pages`, ou faites-y le nécessaire à la main et classez cet envoi",
    ),
    (
        "{about:said}, and {system:word} shows invoice {number} as paid, but does not show its amount (`{field:word}`): check there whether this payment is included, and cancel this dispatch",
        "{about}, et {system} montre la facture {number} comme payée, mais ne montre pas son montant (`{field}`)\u{a0}: vérifiez-y si ce paiement est compris, et classez cet envoi",
    ),
    (
        "{about:said}, and Tiime shows invoice {number} in {currency}: compare both, see to it by hand, and cancel this dispatch",
        "{about}, et Tiime montre la facture {number} en {currency}\u{a0}: comparez les deux, faites le nécessaire à la main, et classez cet envoi",
    ),
    (
        "{about:said}, and invoice {number} is in {currency} in FastFaktura: compare both, see to it by hand, and cancel this dispatch",
        "{about}, et la facture {number} est en {currency} dans FastFaktura\u{a0}: comparez les deux, faites le nécessaire à la main, et classez cet envoi",
    ),
    (
        "{about:said}, and invoice {number} is a `{status}` in Tiime: finish it there and see to the payment, then `dispatches retry`; or cancel this dispatch",
        "{about}, et la facture {number} est un `{status}` dans Tiime\u{a0}: terminez-la là-bas et occupez-vous du paiement, puis faites réessayer l’envoi\u{a0}; ou classez cet envoi",
    ),
    (
        "{about:said}, and invoice {number} is `{status}` in FastFaktura: find out why, see to the payment by hand there, then `dispatches retry`; or cancel this dispatch",
        "{about}, et la facture {number} est `{status}` dans FastFaktura\u{a0}: cherchez pourquoi, occupez-vous-y du paiement à la main, puis faites réessayer l’envoi\u{a0}; ou classez cet envoi",
    ),
    (
        "{about:said}, and invoice {number} (id {id:word}) cannot be understood as Tiime shows it: {odd:said}. Look at it there, see to it by hand, and cancel this dispatch",
        "{about}, et la facture {number} (identifiant {id}) ne peut pas être comprise telle que Tiime la montre\u{a0}: {odd}. Regardez-la là-bas, faites le nécessaire à la main, et classez cet envoi",
    ),
    (
        "{about:said}, and invoice {number} (id {id:word}) cannot be understood as FastFaktura shows it: {odd:said}. Look at it there, see to it by hand, and cancel this dispatch",
        "{about}, et la facture {number} (identifiant {id}) ne peut pas être comprise telle que FastFaktura la montre\u{a0}: {odd}. Regardez-la là-bas, faites le nécessaire à la main, et classez cet envoi",
    ),
    (
        "the payment of {payment:said} on invoice {number} is not in EUR, but Tiime's invoices are: see to it by hand there, and cancel this dispatch",
        "le paiement de {payment} sur la facture {number} n’est pas en EUR, mais les factures de Tiime le sont\u{a0}: faites-y le nécessaire à la main, et classez cet envoi",
    ),
    (
        "the payment of {payment:said}, together with the {before:money} noted before it, is more than the total of invoice {number}, which is {total:money} in {system:word}: find out what the rest is for, see to it by hand there (a credit or a refund), and cancel this dispatch",
        "le paiement de {payment}, avec les {before} notés avant lui, dépasse le total de la facture {number}, qui est de {total} dans {system}\u{a0}: cherchez à quoi correspond le reste, faites-y le nécessaire à la main (un avoir ou un remboursement), et classez cet envoi",
    ),
    (
        "the payment of {payment:said} is more than the total of invoice {number}, which is {total:money} in {system:word}: find out what the rest is for, see to it by hand there (a credit or a refund), and cancel this dispatch",
        "le paiement de {payment} dépasse le total de la facture {number}, qui est de {total} dans {system}\u{a0}: cherchez à quoi correspond le reste, faites-y le nécessaire à la main (un avoir ou un remboursement), et classez cet envoi",
    ),
    (
        "Finkare reported on {day:day} that invoice {number} is now `{status}`, and {system:word} shows it as `{shown}`, where `status_map` expects `{action}`: find out which is right, and change it by hand there. The relay checks again, and closes this by itself once {same:word} shows `{expected}`; cancel this dispatch if it should stay as it is",
        "Finkare a signalé le {day} que la facture {number} est maintenant `{status}`, et {system} la montre comme `{shown}`, là où `status_map` attend `{action}`\u{a0}: cherchez lequel dit vrai, et changez-la à la main là-bas. Le relais vérifie de nouveau, et referme cet envoi de lui-même dès que {same} montre `{expected}`\u{a0}; classez cet envoi si cela doit rester ainsi",
    ),
    (
        "{system:word} shows invoice {number} as `{shown}`, as `status_map` expects",
        "{system} montre la facture {number} comme `{shown}`, comme `status_map` l’attend",
    ),
    (
        "Finkare reported on {day:day} that invoice {number} is now `{status}`",
        "Finkare a signalé le {day} que la facture {number} est maintenant `{status}`",
    ),
    ("Finkare has the payment of {payment:said}", "Finkare a le paiement de {payment}"),
    // Searching, and what cannot be read.
    (
        "searching {system:word}'s invoices for {number} takes longer than one attempt: the search continues",
        "la recherche de {number} parmi les factures de {system} prend plus de temps qu’un essai\u{a0}: elle continue",
    ),
    (
        "none of the {seen:number} invoices that {system:word} shows has a number, which cannot be right",
        "aucune des {seen} factures que {system} montre n’a de numéro, ce qui ne peut pas être juste",
    ),
    ("there is no object where an invoice should be", "il n’y a pas d’objet là où une facture devrait être"),
    ("an invoice cannot be understood: {what:said}", "une facture ne peut pas être comprise\u{a0}: {what}"),
    ("it has no `{name:word}`", "elle n’a pas de `{name}`"),
    ("its `{name:word}` has an unexpected value: {value}", "son `{name}` a une valeur inattendue\u{a0}: {value}"),
    ("there is no list where `list_key` says", "il n’y a pas de liste là où `list_key` le dit"),
    ("it has no list `transactions`", "elle n’a pas de liste `transactions`"),
    (
        "nothing is ever recorded in Tiime, so not {payment:said} either",
        "rien n’est jamais inscrit dans Tiime, donc pas non plus {payment}",
    ),
    ("nothing is ever recorded in Tiime", "rien n’est jamais inscrit dans Tiime"),
    (
        "nothing is ever recorded in FastFaktura, so not {payment:said} either",
        "rien n’est jamais inscrit dans FastFaktura, donc pas non plus {payment}",
    ),
    ("nothing is ever recorded in FastFaktura", "rien n’est jamais inscrit dans FastFaktura"),
    ("a company is no object", "une entreprise n’est pas un objet"),
    ("a company cannot be understood: {what:said}", "une entreprise ne peut pas être comprise\u{a0}: {what}"),
    (
        "the token does not see the company of `company_id`; it sees none: set `company_id` to one of these",
        "le jeton ne voit pas l’entreprise de `company_id`\u{a0}; il n’en voit aucune",
    ),
    (
        "the token does not see the company of `company_id`; it sees {companies}: set `company_id` to one of these",
        "le jeton ne voit pas l’entreprise de `company_id`\u{a0}; il voit {companies}\u{a0}: mettez l’une d’elles dans `company_id`",
    ),
    ("there is no object where the business should be", "il n’y a pas d’objet là où l’entreprise devrait être"),
];
