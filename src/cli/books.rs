//! The stand-in books of `simulate --books` and of the demo: invoicing software on this machine, in which bookings can be
//! tried without an account.
//!
//! The books get each invoice of the simulated Finkare, with its number and amount, before anything is paid on it. What is
//! booked is shown at `/`, and by one line on standard error for each booking.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::Context;
use books_simulator::{
    Books, NewInvoice,
    efactori::{self, Efactori},
    facturation_pro::{self, FacturationPro},
};
use clap::ValueEnum;
use finkare_simulator::OnInvoice;

use crate::model::clock;

/// The newest invoices that the books keep: as many as the simulated Finkare.
const KEPT: usize = 10_000;

/// The invoicing software that is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum System {
    /// Facturation.PRO
    #[value(name = "facturation_pro")]
    FacturationPro,
    /// eFactori, a brand of onFact
    #[value(name = "efactori")]
    Efactori,
}

/// Running books.
#[derive(Clone)]
pub(super) struct StandIn {
    pub(super) system: System,
    pub(super) books: Arc<dyn Books + Send + Sync>,
}

impl StandIn {
    /// Opens empty books at this address; port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(super) async fn open(system: System, listen: SocketAddr) -> anyhow::Result<Self> {
        let books = opened(system, listen).await.with_context(|| {
            format!(
                "the stand-in books cannot listen on {listen}: choose another address with --books-listen, or port 0 for a \
                 free one"
            )
        })?;
        books.keep(KEPT);
        Ok(Self { system, books })
    }

    /// Puts each new invoice of the simulated Finkare into the books: final, unpaid, of today.
    pub(super) fn with_each_invoice(&self) -> OnInvoice {
        let books = self.books.clone();
        OnInvoice::new(move |invoice| {
            let today = clock::now().strftime("%Y-%m-%d").to_string();
            books.add(NewInvoice::of(&invoice.number, invoice.amount_cents).dated(&today));
        })
    }

    /// The sink that books here, to be pasted into `relay.toml`. The credentials are those of the stand-in, and no secret.
    pub(super) fn sink(&self) -> String {
        let url = self.books.url();
        let own = match self.system {
            System::FacturationPro => format!(
                "type = \"facturation_pro\"\nbase_url = \"{url}\"\nfirm_id = \"{}\"\napi_id = \"{}\"\napi_key = \"{}\"\n\
                 contact = \"ops@example.fr\"\n",
                facturation_pro::FIRM,
                facturation_pro::API_ID,
                facturation_pro::API_KEY,
            ),
            System::Efactori => {
                let [(bank, _), (clearing, _)] = efactori::ACCOUNTS;
                format!(
                    "type = \"efactori\"\nbase_url = \"{url}\"\nsession_key = \"{}\"\ncompany_uuid = \"{}\"\n\
                     accounts = {{ card = \"{clearing}\", bank_transfer = \"{bank}\", sepa_debit = \"{bank}\", \
                     payment_link = \"{clearing}\", other = \"{bank}\" }}\n",
                    efactori::SESSION_KEY,
                    efactori::COMPANY_UUID,
                )
            }
        };
        format!("[[sinks]]\nname = \"books\"\n{own}live = false\n")
    }
}

async fn opened(system: System, listen: SocketAddr) -> io::Result<Arc<dyn Books + Send + Sync>> {
    Ok(match system {
        System::FacturationPro => Arc::new(FacturationPro::listen(listen).await?),
        System::Efactori => Arc::new(Efactori::listen(listen).await?),
    })
}
