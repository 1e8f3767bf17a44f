//! What keeps a payment out of Facturation.PRO, and what differs there.

use crate::french::Pair;

pub(in crate::french) const PHRASES: &[Pair] = &[
    (
        "{state:said} (due: not shown), and the payment of {payment:said} is not among its payments in Facturation.PRO. If it was booked there by hand, cancel this dispatch (`dispatches cancel`); if not, reopen the invoice there and retry this dispatch (`dispatches retry`), or see whether the debtor has paid twice",
        "{state} (reste dû\u{a0}: non indiqué), et le paiement de {payment} n’est pas parmi ses paiements dans Facturation.PRO. S’il y a été inscrit à la main, classez cet envoi\u{a0}; sinon, rouvrez-y la facture et faites réessayer cet envoi, ou voyez si le débiteur a payé deux fois",
    ),
    (
        "{state:said} (due: {due:money}), and the payment of {payment:said} is not among its payments in Facturation.PRO. If it was booked there by hand, cancel this dispatch (`dispatches cancel`); if not, reopen the invoice there and retry this dispatch (`dispatches retry`), or see whether the debtor has paid twice",
        "{state} (reste dû\u{a0}: {due}), et le paiement de {payment} n’est pas parmi ses paiements dans Facturation.PRO. S’il y a été inscrit à la main, classez cet envoi\u{a0}; sinon, rouvrez-y la facture et faites réessayer cet envoi, ou voyez si le débiteur a payé deux fois",
    ),
    (
        "{state:said}, without a payment that bears our reference",
        "{state}, sans paiement qui porte la référence du relais",
    ),
    ("{state:said} since {day:day}", "{state} depuis le {day}"),
    ("invoice {number} has nothing due there", "il ne reste rien à payer sur la facture {number} là-bas"),
    (
        "invoice {number} was written off there as a bad debt",
        "la facture {number} y a été passée en créance irrécouvrable",
    ),
    (
        "invoice {number} is marked as paid there since {when:name}",
        "la facture {number} y est marquée comme payée depuis {when}",
    ),
    ("invoice {number} is marked as paid there", "la facture {number} y est marquée comme payée"),
    // The invoice takes no payment.
    (
        "invoice {number} is a draft in Facturation.PRO, and nothing is booked on a draft: the payment of {payment:said} waits. Finalise the invoice there and retry this dispatch (`dispatches retry`); or book the payment there by hand and cancel this dispatch (`dispatches cancel`)",
        "la facture {number} est un brouillon dans Facturation.PRO, et rien n’est inscrit sur un brouillon\u{a0}: le paiement de {payment} attend. Finalisez-y la facture et faites réessayer cet envoi\u{a0}; ou inscrivez-y le paiement à la main et classez cet envoi",
    ),
    (
        "invoice {number} is in the bin in Facturation.PRO, and the payment of {payment:said} belongs to it. Restore the invoice there and retry this dispatch (`dispatches retry`); or book the payment where it belongs and cancel this dispatch (`dispatches cancel`)",
        "la facture {number} est dans la corbeille de Facturation.PRO, et le paiement de {payment} lui appartient. Restaurez-y la facture et faites réessayer cet envoi\u{a0}; ou inscrivez le paiement là où est sa place et classez cet envoi",
    ),
    (
        "{number:name} is a credit note in Facturation.PRO, or was cancelled by one, and the payment of {payment:said} cannot be booked on it. Find out there which invoice was paid, or whether the debtor gets the money back; book it by hand and cancel this dispatch (`dispatches cancel`)",
        "{number} est un avoir dans Facturation.PRO, ou a été annulée par un avoir, et le paiement de {payment} ne peut pas y être inscrit. Cherchez-y quelle facture a été payée, ou si le débiteur est remboursé\u{a0}; inscrivez-le à la main et classez cet envoi",
    ),
    (
        "invoice {number} is in {currency} in Facturation.PRO, and the payment of {payment:said} is in another currency, which the relay does not convert. Book it there by hand and cancel this dispatch (`dispatches cancel`)",
        "la facture {number} est en {currency} dans Facturation.PRO, et le paiement de {payment} est dans une autre devise, que le relais ne convertit pas. Inscrivez-le là-bas à la main et classez cet envoi",
    ),
    (
        "the payment of {payment:said} is more than the {due:money} that are still due on invoice {number} in Facturation.PRO. Was a part of it booked there by hand, or did the debtor pay too much? Correct the invoice there and retry this dispatch (`dispatches retry`); or book the payment by hand and cancel this dispatch (`dispatches cancel`)",
        "le paiement de {payment} dépasse les {due} encore dus sur la facture {number} dans Facturation.PRO. Une partie y a-t-elle été inscrite à la main, ou le débiteur a-t-il payé trop\u{202f}? Corrigez-y la facture et faites réessayer cet envoi\u{a0}; ou inscrivez le paiement à la main et classez cet envoi",
    ),
    (
        "{what:said} waits for invoice {number}, which is not in Facturation.PRO. If it has another number there, set `number` or `number_field`; if it is in another firm, set `firm_id`; or deal with it there by hand and cancel this dispatch (`dispatches cancel`)",
        "{what} attend la facture {number}, qui n’est pas dans Facturation.PRO. Si elle y a un autre numéro, réglez `number` ou `number_field`\u{a0}; si elle est dans une autre entreprise, réglez `firm_id`\u{a0}; ou faites-y le nécessaire à la main et classez cet envoi",
    ),
    (
        "{count:number} invoices in Facturation.PRO have the number {number} (their ids: {ids}), and {what:said} belongs to one of them. Book it there by hand and cancel this dispatch (`dispatches cancel`), or give each its own number and retry it (`dispatches retry`)",
        "{count} factures dans Facturation.PRO ont le numéro {number} (leurs identifiants\u{a0}: {ids}), et {what} appartient à l’une d’elles. Inscrivez-y cela à la main et classez cet envoi, ou donnez à chacune son propre numéro et faites réessayer cet envoi",
    ),
    (
        "invoice {number} cannot be found reliably in Facturation.PRO: {problem:said}. Book {what:said} there by hand and cancel this dispatch (`dispatches cancel`); `number_field = \"full_invoice_ref\"` searches exactly",
        "la facture {number} ne peut pas être trouvée de façon sûre dans Facturation.PRO\u{a0}: {problem}. Inscrivez-y {what} à la main et classez cet envoi\u{a0}; `number_field = \"full_invoice_ref\"` cherche exactement",
    ),
    (
        "the search finds {pages:number} pages of invoices, of which {read:number} are read",
        "la recherche trouve {pages} pages de factures, dont {read} sont lues",
    ),
    ("the search finds {count:number} invoices without a number", "la recherche trouve {count} factures sans numéro"),
    // The invoice cannot be relied on.
    (
        "invoice {number} (id {id:word}) cannot be relied on in Facturation.PRO: {what:said}. The payment of {payment:said} was not booked. Look at the invoice there; book the payment by hand and cancel this dispatch (`dispatches cancel`), or correct the invoice and retry this dispatch (`dispatches retry`)",
        "on ne peut pas se fier à la facture {number} (identifiant {id}) dans Facturation.PRO\u{a0}: {what}. Le paiement de {payment} n’a pas été inscrit. Regardez-y la facture\u{a0}; inscrivez le paiement à la main et classez cet envoi, ou corrigez la facture et faites réessayer cet envoi",
    ),
    (
        "it does not show `{field:word}`, without which nothing is booked",
        "elle ne montre pas `{field}`, sans quoi rien n’est inscrit",
    ),
    (
        "it does not show whether it is paid (`paid_on`, `payment_mode` or `balance`)",
        "elle ne montre pas si elle est payée (`paid_on`, `payment_mode` ou `balance`)",
    ),
    (
        "it does not show what is due (`balance` or `total_with_vat`)",
        "elle ne montre pas ce qui est dû (`balance` ou `total_with_vat`)",
    ),
    (
        "it shows neither `balance` nor `total_with_vat`, and by its total without VAT only {due:money} are certainly still due",
        "elle ne montre ni `balance` ni `total_with_vat`, et d’après son total hors TVA, seuls {due} sont certainement encore dus",
    ),
    (
        "its total less its payments is {due:money}, and its balance is {balance:money}",
        "son total moins ses paiements donne {due}, et son solde est de {balance}",
    ),
    ("its balance of {balance:money} has a part of a cent", "son solde de {balance} a une fraction de centime"),
    ("its amounts cannot be a sum of money", "ses montants ne peuvent pas être une somme d’argent"),
    ("its amounts are too large to calculate with", "ses montants sont trop grands pour être calculés"),
    // The relay's reference is there.
    (
        "an earlier attempt to record the payment of {payment:said} on invoice {number} in Facturation.PRO got no answer, and the payment {id:word} there has the same amount, and either no reference or the beginning of ours. If it is this payment, write `{marker}` as its reference there, or cancel this dispatch (`dispatches cancel`); if it is another one, book this payment by hand and cancel this dispatch (`dispatches cancel`)",
        "un essai précédent d’inscrire le paiement de {payment} sur la facture {number} dans Facturation.PRO n’a pas reçu de réponse, et le paiement {id} y a le même montant, et soit aucune référence, soit le début de celle du relais. Si c’est ce paiement, écrivez-y `{marker}` comme sa référence, ou classez cet envoi\u{a0}; si c’en est un autre, inscrivez ce paiement-ci à la main et classez cet envoi",
    ),
    (
        "invoice {number} bears the reference `{marker}` in Facturation.PRO, but is not paid by the payment of {payment:said} alone. Check there what was booked; then cancel this dispatch (`dispatches cancel`), or remove the reference there and retry this dispatch (`dispatches retry`)",
        "la facture {number} porte la référence `{marker}` dans Facturation.PRO, mais n’est pas payée par le seul paiement de {payment}. Vérifiez-y ce qui a été inscrit\u{a0}; puis classez cet envoi, ou retirez-y la référence et faites réessayer cet envoi",
    ),
    (
        "the payment {id:word} on invoice {number} in Facturation.PRO bears the reference `{marker}`, but its amount is {amount:money}, and the payment is {payment:said}. Correct it there and retry this dispatch (`dispatches retry`); or cancel this dispatch (`dispatches cancel`) if it is right as it is",
        "le paiement {id} sur la facture {number} dans Facturation.PRO porte la référence `{marker}`, mais son montant est de {amount}, et le paiement est de {payment}. Corrigez-le là-bas et faites réessayer cet envoi\u{a0}; ou classez cet envoi s’il est juste tel qu’il est",
    ),
    (
        "the payment of {payment:said} is {count:number} times on invoice {number} in Facturation.PRO: all of {ids} bear the reference `{marker}`. Remove the surplus ones there and retry this dispatch (`dispatches retry`)",
        "le paiement de {payment} est {count} fois sur la facture {number} dans Facturation.PRO\u{a0}: {ids} portent tous la référence `{marker}`. Retirez-y ceux qui sont en trop et faites réessayer cet envoi",
    ),
    // What was read back.
    (
        "its reference is `` and not `{marker}`, by which it is found again (`payment_ref_prefix`)",
        "sa référence est vide, et non `{marker}`, à laquelle il est retrouvé (`payment_ref_prefix`)",
    ),
    (
        "its reference is `{reference}` and not `{marker}`, by which it is found again (`payment_ref_prefix`)",
        "sa référence est `{reference}` et non `{marker}`, à laquelle il est retrouvé (`payment_ref_prefix`)",
    ),
    ("a payment with the reference `{marker}`", "un paiement avec la référence `{marker}`"),
    ("one invoice with the number {number:name}", "une seule facture avec le numéro {number}"),
    ("it is there twice, as {one:word} and as {other:word}", "il y est deux fois, comme {one} et comme {other}"),
    ("its reference `{marker}` is on the payment {id:word}", "sa référence `{marker}` est sur le paiement {id}"),
    ("its amount is {amount:money}", "son montant est de {amount}"),
    ("its date is {day:day}", "sa date est le {day}"),
    ("its date is {date:name}", "sa date est {date}"),
    (
        "its `payment_mode` is not {mode:number} (`payment_modes`)",
        "son `payment_mode` n’est pas {mode} (`payment_modes`)",
    ),
    (
        "the invoice's payments no longer add up to an amount of money",
        "les paiements de la facture ne donnent plus une somme d’argent",
    ),
    (
        "the invoice's balance is {balance:money}, and by its total and its payments it should be {due:money}",
        "le solde de la facture est de {balance}, et d’après son total et ses paiements il devrait être de {due}",
    ),
    (
        "nothing is due on the invoice any more, but it is not marked as paid",
        "plus rien n’est dû sur la facture, mais elle n’est pas marquée comme payée",
    ),
    // A change of status.
    ("the note of the status `{status}`", "la note du statut `{status}`"),
    (
        "{what:said} cannot be added to invoice {number} (id {id:word}) in Facturation.PRO: it does not show `internal_note`, and the present note would be lost. Write `{line}` there by hand and cancel this dispatch (`dispatches cancel`), or remove `note` from `status_map`",
        "{what} ne peut pas être ajoutée à la facture {number} (identifiant {id}) dans Facturation.PRO\u{a0}: elle ne montre pas `internal_note`, et la note actuelle serait perdue. Écrivez-y `{line}` à la main et classez cet envoi, ou retirez `note` de `status_map`",
    ),
    (
        "invoice {number} is in the bin in Facturation.PRO: nothing is noted",
        "la facture {number} est dans la corbeille de Facturation.PRO\u{a0}: rien n’est noté",
    ),
    (
        "invoice {number} has the note `{line}` in Facturation.PRO already",
        "la facture {number} a déjà la note `{line}` dans Facturation.PRO",
    ),
    // What cannot be read, and what a check finds.
    ("it has another invoice's payments", "elle a les paiements d’une autre facture"),
    ("its payments are missing", "ses paiements manquent"),
    ("{what:said}, and these are payments of one invoice", "{what}, et ce sont les paiements d’une seule facture"),
    (
        "it does not say how many pages there are (`X-Pagination`)",
        "elle ne dit pas combien il y a de pages (`X-Pagination`)",
    ),
    ("its `X-Pagination` has an unexpected value", "son `X-Pagination` a une valeur inattendue"),
    (
        "the account has no firm {firm}: it has none. Set `firm_id` to the one to book in",
        "le compte n’a pas d’entreprise {firm}\u{a0}: il n’en a aucune. Mettez dans `firm_id` celle où inscrire",
    ),
    (
        "the account has no firm {firm}: it has {firms}. Set `firm_id` to the one to book in",
        "le compte n’a pas d’entreprise {firm}\u{a0}: il a {firms}. Mettez dans `firm_id` celle où inscrire",
    ),
    // What a payment is called where a note may stand instead.
    ("the payment of {payment:said}", "le paiement de {payment}"),
];
