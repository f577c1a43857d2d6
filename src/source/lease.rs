//! The lease by which one instance of a group leads: an advisory lock of the source's, held by a session
//! that the source itself ends when it has not heard of it for so long.
//!
//! So nothing is written on the source, no clocks are compared, and an instance that ends, stands still or is cut
//! off holds the lock no longer than the lease. That one who has lost it may not know yet is the
//! sinks' business: terms in their watermarks decide (`sink`).

use std::time::Duration;

use crate::pg::{self, Params, Session};
use crate::source::quote;

/// A session that holds the lease or asks for it.
#[derive(Debug)]
pub struct Lease {
    session: Session,
    /// The lock's key, as SQL.
    key: String,
    length: Duration,
}

impl Lease {
    /// A session that asks. It has to ask again, or renew, well within `length`.
    pub async fn connect(
        params: &Params,
        application_name: &str,
        group: &str,
        length: Duration,
    ) -> Result<Self, pg::Error> {
        let connecting = async {
            let session = pg::connect(params, application_name).await?;
            let length = length.as_millis();
            session.rows(&format!("SET idle_session_timeout = {length}")).await?;
            Ok(session)
        };
        let session = within(length, &params.place(), connecting).await?;
        let key = format!("hashtextextended({}, 0)", quote::literal(&format!("readside {group}")));
        Ok(Self { session, key, length })
    }

    /// Whether the lease is ours now.
    pub async fn take(&self) -> Result<bool, pg::Error> {
        self.ask(&format!("SELECT pg_try_advisory_lock({})", self.key)).await
    }

    /// Whether it is nobody's.
    pub async fn is_free(&self) -> Result<bool, pg::Error> {
        let sql = format!(
            "SELECT CASE WHEN pg_try_advisory_lock({key}) THEN pg_advisory_unlock({key}) ELSE false END",
            key = self.key
        );
        self.ask(&sql).await
    }

    /// It is ours as long as the session lives; this keeps it alive. To the server an empty text is no
    /// query: it takes no snapshot and is in no statistics.
    pub async fn renew(&self) -> Result<(), pg::Error> {
        within(self.length, self.session.at(), self.session.rows("")).await.map(|_| ())
    }

    /// Ends it, for the next one.
    pub async fn release(self) {
        self.session.close().await;
    }

    async fn ask(&self, sql: &str) -> Result<bool, pg::Error> {
        let rows = within(self.length, self.session.at(), self.session.rows(sql)).await?;
        Ok(rows.first().and_then(|row| row.first()?.as_deref()) == Some("t"))
    }
}

/// After so long without an answer the lease is lost.
async fn within<T>(
    length: Duration,
    at: &str,
    asked: impl Future<Output = Result<T, pg::Error>>,
) -> Result<T, pg::Error> {
    let late = || pg::Error::new(pg::Kind::Closed, at, "no answer within the lease");
    tokio::time::timeout(length, asked).await.map_err(|_| late())?
}
