//! One session of the sink: its settings, its prepared statements, and requests that share a round trip.

use std::collections::HashMap;
use std::pin::Pin;

use futures_util::future::join_all;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::error::{Error, connect_error, sink_error};
use crate::config::SinkConfig;
use crate::pg::{self, Session};
use crate::sink::SinkError;

/// What our statements rely on beyond the settings of every session, whatever the role or the database
/// has set.
///
/// * The text of an index may name operator classes of extensions; arrays may hold NULL.
/// * Upserts and deletes by unnest find their rows by index, also while the statistics still say that
///   the table is empty: a plan that scans it would stay in use while it grows.
/// * A lock that somebody holds, and a connection that went away with our transaction open, end.
const SETTINGS: &str = "
    SET search_path = \"$user\", public;
    SET xmloption = 'content';
    SET array_nulls = on;
    SET default_transaction_isolation = 'read committed';
    SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '10min';
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    SET jit = off;
    -- With it off, a kill of the sink's server takes back what readers have seen. Stricter is the owner's choice.
    SELECT set_config('synchronous_commit', 'on', false)
      WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')";

/// For statements over whole tables, in the transaction at hand.
pub(super) const PLAN_WHOLE_TABLES: &str = "
    SET LOCAL plan_cache_mode = auto;
    SET LOCAL enable_seqscan = on;
    SET LOCAL enable_hashjoin = on;
    SET LOCAL enable_mergejoin = on";

/// The other way round: the transaction goes on with steps.
pub(super) const PLAN_ROWS: &str = "
    SET LOCAL plan_cache_mode = force_generic_plan;
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off";

pub(super) struct Connection {
    session: Session,
    /// By their text.
    statements: HashMap<String, Statement>,
    /// Unsettled steps are in it.
    pub(super) in_transaction: bool,
}

impl Connection {
    pub(super) async fn open(config: &SinkConfig) -> Result<Self, SinkError> {
        let connection = Self::try_open(config).await.map_err(connect_error)?;
        connection.batch(SETTINGS).await.map_err(|e| sink_error("open a session", e))?;
        Ok(connection)
    }

    /// Without the settings that steps need.
    pub(super) async fn try_open(config: &SinkConfig) -> Result<Self, pg::Error> {
        let params = pg::Params::parse(config.url.expose(), config.password.as_ref())?;
        let session = pg::connect(&params, "readside").await?;
        Ok(Self { session, statements: HashMap::new(), in_transaction: false })
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.session.batch_execute(sql).await
    }

    /// Prepared once.
    pub(super) async fn statement(&mut self, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.session.prepare(sql).await?;
        self.statements.insert(sql.to_string(), statement.clone());
        Ok(statement)
    }
}

/// Requests that are sent together, without waiting for each other's answers, and are answered in order.
///
/// A request that fails makes those behind it fail too (the transaction is aborted), a COMMIT among
/// them rolls back: so the first error is the cause.
pub(super) struct Pipeline<'a> {
    session: &'a Session,
    requests: Vec<Request<'a>>,
}

type Request<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

impl<'a> Pipeline<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { session: &connection.session, requests: Vec::new() }
    }

    pub(super) fn batch(mut self, sql: &'a str) -> Self {
        self.requests.push(Box::pin(self.session.batch_execute(sql)));
        self
    }

    pub(super) fn execute(
        mut self,
        statement: &'a Statement,
        params: Vec<&'a (dyn ToSql + Sync)>,
    ) -> Self {
        let session = self.session;
        self.requests
            .push(Box::pin(async move { session.execute(statement, &params).await.map(|_| ()) }));
        self
    }

    pub(super) async fn answers(self) -> Result<(), Error> {
        // `join_all` polls them in order at first, and the first poll is what sends a request.
        join_all(self.requests).await.into_iter().collect()
    }
}
