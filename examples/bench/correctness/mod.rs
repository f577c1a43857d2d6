//! The same faults for all: is each read model what the query answers on the source when it is over?

mod copies;
mod faults;
mod field;

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::harness::{Postgres, PostgresOptions, Search, wait};
use copies::Documents;
use faults::Fault;
use field::{FOLLOWERS, Field};

/// Who does not show the last write by then is behind.
const BOUND: Duration = Duration::from_secs(240);
/// What is unequal so long after the last write was seen stays so.
const GRACE: Duration = Duration::from_secs(20);

/// What was wrong has so long to become right before the last fault.
const LATE: Duration = Duration::from_secs(60);

/// What one of them has shown so far.
struct Verdict {
    differ: usize,
    /// How many differed of one that was wrong first, and right at the end.
    late: Option<usize>,
    /// When the write after the fault was seen.
    marked: Option<Instant>,
    ended: bool,
    error: Option<String>,
}

pub(crate) async fn run() -> Result<()> {
    let options = PostgresOptions::default();
    let (source, target) = tokio::join!(Postgres::start(&options), Postgres::start(&options));
    let search = Search::private().await;
    source.create_database("shop").await;
    let client = source.client("shop").await;
    faults::fill(&client).await?;
    let mut load = Fault::WritesDuringTheLoad.load(&source, &client).await?;
    let mut field = Field::start(source, target, search).await?;
    wait::delay(Duration::from_secs(5)).await;
    load.stop().await?;
    let mut judged: Vec<(Fault, Vec<Verdict>)> = Vec::new();
    for fault in faults::ALL {
        println!("{}", fault.name());
        if matches!(fault, Fault::Truncated) {
            // It changes all orders.
            look_again(&mut field, &mut judged).await?;
        }
        fault.happen(&mut field, &client).await?;
        faults::mark(&client, fault).await?;
        let verdicts = judge(&mut field, fault).await?;
        for (name, verdict) in FOLLOWERS.iter().zip(&verdicts) {
            println!("  {name:<32} {}", verdict.text());
            if let Some(error) = &verdict.error {
                println!("    {error}");
            }
        }
        judged.push((fault, verdicts));
    }
    println!("\n| | {} |\n|---{}|", FOLLOWERS.join(" | "), "|---".repeat(FOLLOWERS.len()));
    for (fault, verdicts) in judged {
        let texts: Vec<_> = verdicts.iter().map(Verdict::text).collect();
        println!("| {} | {} |", fault.name(), texts.join(" | "));
    }
    Ok(())
}

/// What was wrong may have become right since.
async fn look_again(field: &mut Field, judged: &mut [(Fault, Vec<Verdict>)]) -> Result<()> {
    wait::delay(LATE).await;
    let all = field.truth().await?;
    for at in 0..FOLLOWERS.len() {
        let copy = field.copy(at).await?;
        for (fault, verdicts) in &mut *judged {
            let customers = fault.customers();
            let verdict = &mut verdicts[at];
            let differ = differences(&of(customers, &all), &of(customers, &copy));
            verdict.late = (verdict.differ > 0 && differ == 0).then_some(verdict.differ);
            verdict.differ = differ;
        }
    }
    Ok(())
}

/// Asks until all are equal, or for as long as it could take.
async fn judge(field: &mut Field, fault: Fault) -> Result<Vec<Verdict>> {
    let all = field.truth().await?;
    let truth = of(fault.customers(), &all);
    let mark = of(faults::MARKED, &all);
    let unknown =
        || Verdict { differ: truth.len(), late: None, marked: None, ended: false, error: None };
    let mut verdicts: Vec<Verdict> = FOLLOWERS.iter().map(|_| unknown()).collect();
    let begun = Instant::now();
    loop {
        for at in field.start_again()? {
            verdicts[at].ended = true;
        }
        for (at, verdict) in verdicts.iter_mut().enumerate() {
            match field.copy(at).await {
                Ok(copy) => {
                    verdict.differ = differences(&truth, &of(fault.customers(), &copy));
                    if verdict.marked.is_none() && of(faults::MARKED, &copy) == mark {
                        verdict.marked = Some(Instant::now());
                    }
                    verdict.error = None;
                }
                // It may be on its way.
                Err(error) => verdict.error = Some(format!("{error:#}")),
            }
        }
        if verdicts.iter().all(Verdict::is_final) || begun.elapsed() > BOUND {
            return Ok(verdicts);
        }
        wait::delay(Duration::from_millis(500)).await;
    }
}

/// The orders of some customers.
fn of((first, last): (i64, i64), documents: &Documents) -> Documents {
    let among = |document: &Value| {
        document["customer_id"].as_i64().is_some_and(|customer| (first..=last).contains(&customer))
    };
    let some = documents.iter().filter(|(_, document)| among(document));
    some.map(|(number, document)| (*number, document.clone())).collect()
}

/// Documents that are missing, too many, or not equal.
fn differences(truth: &Documents, copy: &Documents) -> usize {
    let wrong =
        truth.iter().filter(|(number, document)| copy.get(number) != Some(document)).count();
    wrong + copy.keys().filter(|number| !truth.contains_key(number)).count()
}

impl Verdict {
    fn is_final(&self) -> bool {
        self.differ == 0 || self.marked.is_some_and(|seen| seen.elapsed() > GRACE)
    }

    fn text(&self) -> String {
        let mut text = match (self.differ, self.marked) {
            (0, _) => match self.late {
                Some(some) => format!("**wrong** ({some} orders), right minutes later"),
                None => "right".to_owned(),
            },
            (some, Some(_)) => format!("**wrong** ({some} orders)"),
            (some, None) => format!("**behind** after {} s ({some} orders)", BOUND.as_secs()),
        };
        if self.ended {
            text += ", ended by itself and was started again";
        }
        text
    }
}
