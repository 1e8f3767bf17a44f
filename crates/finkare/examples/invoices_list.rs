//! Lists invoices: one page of those that are being collected, then all of them.

use finkare::{Client, InvoiceFilter, InvoiceStatus, PageRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let finkare = Client::from_env()?;

    let filter = InvoiceFilter { status: Some(InvoiceStatus::InRecovery) };
    let page = finkare.invoices().list(&filter, PageRequest { page: 1, limit: 50 }).await?;
    println!("{} of {:?} invoices", page.data.len(), page.pagination.total);

    // Goes from page to page by itself.
    let mut invoices = finkare.invoices().list_all(50);
    while let Some(invoice) = invoices.next().await {
        let invoice = invoice?;
        let cents = invoice.amount_cents.unwrap_or_default();
        println!("{} — {}.{:02} EUR", invoice.invoice_number, cents / 100, cents % 100);
    }
    Ok(())
}
