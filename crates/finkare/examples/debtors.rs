//! Lists debtors, and reads one.

use finkare::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let finkare = Client::from_env()?;

    for debtor in finkare.debtors().list_all(100).collect().await? {
        let detail = finkare.debtors().get(&debtor.id).await?.data;
        let name = detail.name.as_deref().unwrap_or("without a name");
        println!("{name}, {}", detail.siret.as_deref().unwrap_or("no SIRET"));
    }
    Ok(())
}
