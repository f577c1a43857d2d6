//! A new generation by hand. What is followed is filled anew from the state, beside what readers see. What
//! is not (its table was quarantined, its columns were gone) is looked at anew: the pipeline is built again,
//! and reads from the source what it does not have.

use std::time::Duration;

use super::{Running, between};
use crate::http::{Rebuild, RebuildSink, Refusal, Why};
use crate::pipeline::NotFollowed;
use crate::pipeline::run::PipelineError;
use crate::pipeline::run::questions::Question;
use crate::pipeline::run::shared::Shared;

/// How long the next pipeline may take to be built.
const NEXT_PATIENCE: Duration = Duration::from_secs(30);

impl Running {
    pub(super) async fn rebuild(
        &self,
        projection: &str,
        sink: Option<&str>,
        shared: &Shared,
    ) -> Result<Rebuild, Refusal> {
        self.has_rows(projection)?;
        let configured = self.config.projections.iter().find(|known| known.name == projection);
        let mut sinks = Vec::new();
        for (name, _) in configured.into_iter().flat_map(|known| &known.targets) {
            let asked = sink.is_none_or(|sink| sink == name);
            if asked && !sinks.contains(name) {
                sinks.push(name.clone());
            }
        }
        if sinks.is_empty() {
            let error = match sink {
                Some(sink) => format!("projection {projection} does not go to a sink {sink}"),
                None => {
                    format!("projection {projection} goes to no sink: there is nothing to fill")
                }
            };
            return Err(Refusal::new(Why::Unknown, error));
        }
        let named = projection.to_owned();
        let rows = |reply| Question::Rows { projection: named, keys: Vec::new(), reply };
        let reloads = match self.ask(rows).await? {
            Ok(_) => false,
            Err(NotFollowed::Loading | NotFollowed::Busy) => false,
            Err(NotFollowed::Apart | NotFollowed::Quarantined(_)) => true,
        };
        let mut rebuilt = Vec::new();
        for sink in sinks {
            let at = self.sink(&sink)?;
            let named = projection.to_owned();
            let generation =
                self.ask(|reply| Question::Rebuild { sink: at, projection: named, reply }).await?;
            rebuilt.push(RebuildSink { sink, generation: generation.unwrap_or(1) });
        }
        // What was ordered holds also if this process ends now.
        self.ask(|reply| Question::Durable { reply }).await?;
        tracing::info!(projection, reloads, "a rebuild was asked for");
        if reloads {
            // Otherwise a column that has become another one would keep it apart.
            shared.want_anew(projection);
            let mut begun = self.begun.clone();
            begun.mark_unchanged();
            let why = format!("a rebuild of {projection} was asked for");
            self.ended.send(PipelineError::Changed(why)).await.map_err(|_| between())?;
            // What is shown from now on is the next pipeline's. One that takes longer is none the less ordered.
            if let Ok(next) = tokio::time::timeout(NEXT_PATIENCE, begun.changed()).await {
                next.map_err(|_| between())?;
            }
        }
        Ok(Rebuild { projection: projection.to_owned(), sinks: rebuilt, reloads })
    }
}
