//! `reconcile`: compares the payments with Finkare's, through the running service, and shows what differs.

use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use jiff::civil::Date;
use serde_json::json;

use super::{
    Failure,
    admin::{Service, amount, read},
    client::Client,
    failure::Usage,
    output::{Output, complain, counted, plain, plain_or_empty},
    tables::table,
};
use crate::{
    config::Config,
    model::{
        money::Cents,
        reconciliation::{Difference, ReportId, ReportState},
    },
    web::admin::reconciliations::{Begun, InSink, Payments, ReconciliationPage, ReconciliationRow},
};

/// The time between two looks at a report that is being made.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The endpoint; may be left out if there is only one
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// The first day, in the endpoint's `timezone` [default: 35 days ago, or the endpoint's `look_back_days`]
    #[arg(long, value_name = "DATE")]
    since: Option<Date>,
    /// The last day [default: today]
    #[arg(long, value_name = "DATE")]
    until: Option<Date>,
    /// Make an event of each payment that no event announced; it goes to the sinks as usual, once
    #[arg(long)]
    fill: bool,
    /// Show this report again, without another comparison
    #[arg(long, value_name = "ID", conflicts_with_all = ["endpoint", "since", "until", "fill"])]
    show: Option<ReportId>,
    #[command(flatten)]
    service: Service,
}

/// `reconcile`: false if something differs.
pub(super) async fn run(config: Config, options: Options, output: Output) -> Result<bool, Failure> {
    let Options { endpoint, since, until, fill, show, service } = options;
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(Usage::new(format!("--since: {since} is after --until {until}")).into());
    }
    let client = Client::new(config, service.url())?;
    let id = if let Some(id) = show {
        id
    } else {
        let mut body = json!({ "fill": fill });
        let days = [("since", since), ("until", until)].map(|(name, day)| (name, day.map(|day| day.to_string())));
        for (name, value) in [("endpoint", endpoint)].into_iter().chain(days) {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        read::<Begun>(&client.decide("/reconciliations", &body).await?)?.id
    };
    let mut told = None;
    loop {
        let answer = client.get(&format!("/reconciliations/{id}"), &[]).await?;
        let page: ReconciliationPage = read(&answer)?;
        match page.row.state {
            ReportState::Running if show.is_none() => {
                if page.row.problem.is_some() && page.row.problem != told {
                    complain(&format!(
                        "interrupted, and goes on soon: {}",
                        plain_or_empty(page.row.problem.as_deref())
                    ));
                    told = page.row.problem;
                }
                tokio::time::sleep(LOOK).await;
            }
            ReportState::Running | ReportState::Done => {
                output.say(&answer, &text(&page))?;
                return Ok(page.differences.is_empty() && page.row.state == ReportState::Done);
            }
            ReportState::Failed => {
                output.say(&answer, &text(&page))?;
                let problem = plain_or_empty(page.row.problem.as_deref());
                return Err(anyhow!("the reconciliation has failed: {problem}").into());
            }
        }
    }
}

/// The report for people.
fn text(page: &ReconciliationPage) -> String {
    let ReconciliationRow {
        id,
        endpoint,
        since,
        until,
        state,
        finkare,
        events,
        sinks,
        other_currencies,
        unreadable,
        ..
    } = &page.row;
    let mut text = format!("Reconciliation {id} of {}, {since} to {until}: {state}\n\n", plain(endpoint));
    let mut rows = Vec::new();
    sums(&mut rows, finkare, events, sinks);
    for other in other_currencies {
        sums(&mut rows, &other.finkare, &other.events, &other.sinks);
    }
    text.push_str(&table(&["", "PAYMENTS", "AMOUNT", "HELD", "OPEN", "DEAD"], &rows));
    if *unreadable > 0 {
        let some = counted(*unreadable, "payment", "payments");
        text.push_str(&["\n", &some, " of Finkare's cannot be read, and is in no sum."].concat());
    }
    if page.differences.is_empty() {
        text.push_str(if *state == ReportState::Done { "\n\nEverything is equal." } else { "" });
        return text;
    }
    let count = page.differences.len() as u64;
    text.push_str(&["\n\n", &counted(count, "difference", "differences"), ":\n"].concat());
    for difference in &page.differences {
        text.push_str(&line(difference));
    }
    text.truncate(text.trim_end().len());
    text
}

fn sums(rows: &mut Vec<Vec<String>>, finkare: &Payments, events: &Payments, sinks: &[InSink]) {
    let of = |cents: i64, currency: Option<&str>| {
        currency.map_or_else(|| Cents(cents).to_string(), |currency| Cents(cents).of(&plain(currency)))
    };
    for (name, sum) in [("Finkare", finkare), ("events", events)] {
        let cells = [name.to_owned(), sum.payments.to_string(), of(sum.amount_cents, sum.currency.as_deref())];
        rows.push(cells.into_iter().chain(["", "", ""].map(str::to_owned)).collect());
    }
    for sink in sinks {
        rows.push(vec![
            plain(&sink.sink),
            sink.booked.to_string(),
            of(sink.amount_cents, sink.currency.as_deref()),
            sink.held.to_string(),
            sink.open.to_string(),
            sink.dead.to_string(),
        ]);
    }
}

fn line(difference: &Difference) -> String {
    let Difference { kind, amount_cents, currency, paid_at, detail, .. } = difference;
    let mut line = format!("- {kind}: {}", amount(*amount_cents, currency.as_deref()));
    if let Some(day) = paid_at.as_deref().and_then(|at| at.get(..10)) {
        line.push_str(", paid ");
        line.push_str(&plain(day));
    }
    line.push_str("\n  ");
    line.push_str(&plain(detail));
    line.push('\n');
    line
}
