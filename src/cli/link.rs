//! `link`: links to the dashboard for people without a token, through the running service.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failure,
    admin::{Paging, Service, fetch, list, path_segment, query, read, streamed},
    client::Client,
    output::{Output, plain, plain_or_empty, second, second_or_empty},
};
use crate::{
    config::Config,
    model::guest::{GuestLinkId, GuestPage},
    web::admin::links::{LinkRow, MadeLink, RevokedLink},
};

/// Make a link, or manage those that were made.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLES)]
pub(super) struct Options {
    /// The endpoint that the link shows
    #[arg(long, value_name = "NAME", required = true)]
    endpoint: Option<String>,
    /// The pages that it shows, separated by commas: statement, payments
    #[arg(long, value_name = "PAGES", required = true, value_delimiter = ',', value_parser = page)]
    pages: Vec<GuestPage>,
    /// For how many days it can be used (1 to 366)
    #[arg(long, value_name = "DAYS", required = true, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: Option<u32>,
    /// Who it is for
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    #[command(flatten)]
    service: Service,
    #[command(subcommand)]
    command: Option<Links>,
}

const EXAMPLES: &str = "Examples:
  finkare-relay link --endpoint acme --pages statement,payments --days 30
  finkare-relay link --endpoint acme --pages statement --days 366 --label \"Cabinet Durand\"
  finkare-relay link list
  finkare-relay link revoke 019a8c3e-7d10-7c52-9f0a-3b1f5d2c8e44";

#[derive(Debug, Subcommand)]
enum Links {
    /// List the links that have not ended, newest first; a link itself is shown only when it is made
    List {
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        service: Service,
    },
    /// Revoke a link: whoever has it sees nothing from now on
    Revoke {
        /// The link's id
        id: GuestLinkId,
        #[command(flatten)]
        service: Service,
    },
}

fn page(text: &str) -> Result<GuestPage, String> {
    let words = GuestPage::ALL.map(GuestPage::as_str).join(", ");
    GuestPage::from_word(text.trim()).ok_or_else(|| format!("there are the pages {words}"))
}

/// `link …`
pub(super) async fn run(config: Config, options: Options, output: Output) -> Result<bool, Failure> {
    let Options { endpoint, pages, days, label, service, command } = options;
    match command {
        None => {
            let hosts = config.admin.hosts.clone();
            let client = Client::new(config, service.url())?;
            let body = json!({"endpoint": endpoint, "pages": pages, "days": days, "label": label});
            let mut answer = client.decide("/links", &body).await?;
            let made: MadeLink = read(&answer)?;
            let url = format!("{}{}", client.base(), made.path);
            answer["url"] = Value::from(url.as_str());
            output.say(&answer, &text(&made, &url, client.base(), &hosts))?;
        }
        Some(Links::List { paging, service }) => {
            let client = Client::new(config, service.url())?;
            let query = query([], paging);
            let head = ["ID", "ENDPOINT", "PAGES", "FOR", "MADE BY", "LAST USED (UTC)", "ENDS (UTC)", "USABLE"];
            if !streamed(&client, "/links", &query, &head, row).await? {
                list(&fetch(&client, "/links", &query).await?, output, &head, row)?;
            }
        }
        Some(Links::Revoke { id, service }) => {
            let client = Client::new(config, service.url())?;
            let answer = client.post(&format!("/links/{}/revoke", path_segment(&id.to_string()))).await?;
            let RevokedLink { id } = read(&answer)?;
            output.say(&answer, &format!("revoked: link {id} shows nothing from now on"))?;
        }
    }
    Ok(true)
}

fn row(link: &LinkRow) -> Vec<String> {
    let LinkRow { id, endpoint, pages, label, made_by, seen_at, expires_at, usable, .. } = link;
    let pages: Vec<&str> = pages.iter().map(|page| page.as_str()).collect();
    vec![
        id.to_string(),
        plain(endpoint),
        pages.join(", "),
        plain_or_empty(label.as_deref()),
        plain(made_by),
        second_or_empty(*seen_at),
        second(*expires_at),
        if *usable { "yes" } else { "no: its token is gone" }.to_owned(),
    ]
}

/// The link is the first line, by itself, to be copied.
fn text(made: &MadeLink, url: &str, base: &str, hosts: &[String]) -> String {
    let MadeLink { id, expires_at, .. } = made;
    let names = match hosts {
        [] => String::new(),
        hosts => format!(" ({})", hosts.join(", ")),
    };
    format!(
        "{url}\n\nIt ends on {} UTC; `finkare-relay link revoke {id}` ends it before. It is not shown again, and whoever has it \
         sees these pages: send it to nobody else.\nWhere the visitor does not reach {base}, replace that by the address at \
         which they reach the dashboard{names}.",
        second(*expires_at)
    )
}
