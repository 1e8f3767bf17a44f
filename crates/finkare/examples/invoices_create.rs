//! Hands an invoice to Finkare.

use finkare::{Client, NewDebtor, NewInvoice};
use jiff::civil::date;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let finkare = Client::from_env()?;

    let debtor = NewDebtor {
        name: "Martin Consulting SAS".into(),
        email: Some("direction@martin-consulting.fr".into()),
        phone: Some("+33678901234".into()),
        siret: Some("83965478200012".into()),
    };
    // 2,850.00 euros.
    let new = NewInvoice::new("FAC-2026-042", 285_000, date(2026, 2, 15), date(2026, 3, 15), debtor);
    // Under the same key, the same invoice: after an unknown outcome it can be sent again.
    let invoice = finkare.invoices().idempotency_key("FAC-2026-042").create(&new).await?;
    println!("{} is {}", invoice.data.invoice_number, invoice.data.id);
    Ok(())
}
