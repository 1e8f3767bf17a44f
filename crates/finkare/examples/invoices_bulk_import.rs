//! Hands many invoices to Finkare at once, and lets it begin to collect them.

use finkare::{BulkImport, Client, NewDebtor, NewInvoice};
use jiff::civil::date;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let finkare = Client::from_env()?;

    let debtor =
        |name: &str, email: &str| NewDebtor { name: name.into(), email: Some(email.into()), ..NewDebtor::default() };
    let import = BulkImport {
        invoices: vec![
            NewInvoice::new(
                "FAC-2026-100",
                75_000,
                date(2026, 3, 1),
                date(2026, 4, 1),
                debtor("Lefebvre SARL", "compta@lefebvre.fr"),
            ),
            NewInvoice::new(
                "FAC-2026-101",
                320_000,
                date(2026, 3, 15),
                date(2026, 4, 15),
                debtor("Moreau Industries SA", "finance@moreau.fr"),
            ),
        ],
        auto_start_workflow: Some(true),
    };
    let result = finkare.invoices().bulk_import(&import).await?;
    println!("{} of {} invoices imported", result.data.imported, import.invoices.len());
    Ok(())
}
