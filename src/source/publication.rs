//! The publication: created with the leaves of the tables in use, and given those that it lacks.
//!
//! Leaves are published, not partitioned tables: with publish_via_partition_root a leaf's TRUNCATE is
//! not sent. The comment of a publication of ours names the slot that it was made for: one that another
//! pipeline made is used, never altered, for that pipeline may be inside a transaction, where what its
//! stream holds must not change.

use std::fmt;

use super::catalog::{Catalog, Publication, PublicationMark, Scope, TableName};
use super::quote;
use crate::pg::{self, Session};

/// What the publication lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    /// There is none.
    Create(Vec<TableName>),
    Add(Vec<TableName>),
    /// It lacks these leaves, and we must not or cannot add them.
    Locked {
        lock: Lock,
        missing: Vec<TableName>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Made by the pipeline of this slot.
    OtherPipeline(String),
    /// Owned by this role, which we are no member of.
    OtherOwner(String),
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lock::OtherPipeline(slot) => {
                write!(f, "it was made by the pipeline of slot {}", quote::readable(slot))
            }
            Lock::OtherOwner(owner) => write!(f, "it belongs to role {}", quote::readable(owner)),
        }
    }
}

/// What `ensure` would do.
pub fn need(catalog: &Catalog, scope: &Scope) -> Need {
    let leaves = || catalog.tables.iter().flat_map(|table| &table.leaves);
    let Some(publication) = &catalog.publication else {
        return Need::Create(leaves().map(|leaf| leaf.name.clone()).collect());
    };
    let missing: Vec<TableName> = leaves()
        .filter(|leaf| !publication.members.contains(&leaf.oid))
        .map(|leaf| leaf.name.clone())
        .collect();
    if missing.is_empty() {
        return Need::Nothing;
    }
    match lock(publication, scope) {
        Some(lock) => Need::Locked { lock, missing },
        None => Need::Add(missing),
    }
}

fn lock(publication: &Publication, scope: &Scope) -> Option<Lock> {
    match &publication.mark {
        Some(mark) if mark.slot != scope.slot => Some(Lock::OtherPipeline(mark.slot.clone())),
        _ if !publication.owned => Some(Lock::OtherOwner(publication.owner.clone())),
        _ => None,
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Pg(#[from] pg::Error),
    #[error("publication {publication} lacks {}, and {lock}; run: {statement}", quote::list(.missing, ToString::to_string))]
    Locked { publication: String, lock: Lock, missing: Vec<TableName>, statement: String },
}

/// What `ensure` has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ensured {
    pub created: bool,
    pub added: Vec<TableName>,
}

/// Makes the publication hold every leaf of the catalog's tables. When it returns, that has committed:
/// only then may a slot be created, or a load's window be opened, that relies on it.
pub async fn ensure(session: &Session, catalog: &Catalog, scope: &Scope) -> Result<Ensured, Error> {
    let publication = &scope.publication;
    match need(catalog, scope) {
        Need::Nothing => Ok(Ensured::default()),
        Need::Create(leaves) => {
            let rows = session.rows("SELECT pg_current_wal_insert_lsn()").await?;
            let lsn = rows.first().and_then(|row| row.first()?.as_ref()?.parse().ok());
            let lsn = lsn.ok_or_else(|| {
                pg::Error::new(pg::Kind::Protocol, session.at(), "no LSN where one was asked for")
            })?;
            let mark = PublicationMark { slot: scope.slot.clone(), lsn };
            // Several statements in one text are one transaction.
            let sql = format!(
                "{}; COMMENT ON PUBLICATION {} IS {}",
                create_statement(publication, &leaves, quote::identifier, TableName::quoted),
                quote::identifier(publication),
                quote::literal(&write_mark(&mark)),
            );
            session.rows(&sql).await?;
            Ok(Ensured { created: true, added: leaves })
        }
        Need::Add(leaves) => {
            let sql = add_statement(publication, &leaves, quote::identifier, TableName::quoted);
            session.rows(&sql).await?;
            Ok(Ensured { created: false, added: leaves })
        }
        Need::Locked { lock, missing } => Err(Error::Locked {
            statement: readable_add_statement(publication, &missing),
            publication: quote::readable(publication),
            lock,
            missing,
        }),
    }
}

/// For people to type.
pub(super) fn readable_create_statement(publication: &str, leaves: &[TableName]) -> String {
    create_statement(publication, leaves, quote::readable, ToString::to_string)
}

/// For people to type.
pub(super) fn readable_add_statement(publication: &str, leaves: &[TableName]) -> String {
    add_statement(publication, leaves, quote::readable, ToString::to_string)
}

fn create_statement(
    publication: &str,
    leaves: &[TableName],
    name: fn(&str) -> String,
    table: fn(&TableName) -> String,
) -> String {
    // A list of no tables has no syntax.
    let tables = if leaves.is_empty() {
        String::new()
    } else {
        format!(" FOR TABLE {}", quote::list(leaves, |leaf| format!("ONLY {}", table(leaf))))
    };
    format!("CREATE PUBLICATION {}{tables}", name(publication))
}

fn add_statement(
    publication: &str,
    leaves: &[TableName],
    name: fn(&str) -> String,
    table: fn(&TableName) -> String,
) -> String {
    let tables = quote::list(leaves, |leaf| format!("ONLY {}", table(leaf)));
    format!("ALTER PUBLICATION {} ADD TABLE {tables}", name(publication))
}

const MARK_BEGIN: &str = "made by readside for slot ";

/// `made by readside for slot NAME after LSN`. A slot's name has no blanks.
fn write_mark(mark: &PublicationMark) -> String {
    format!("{MARK_BEGIN}{} after {}", mark.slot, mark.lsn)
}

pub(super) fn read_mark(comment: &str) -> Option<PublicationMark> {
    let (slot, lsn) = comment.strip_prefix(MARK_BEGIN)?.split_once(" after ")?;
    Some(PublicationMark { slot: slot.to_owned(), lsn: lsn.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    #[test]
    fn marks_are_read_back() {
        let mark = PublicationMark { slot: "readside_2".into(), lsn: Lsn(0x1_0000_00AB) };
        assert_eq!(write_mark(&mark), "made by readside for slot readside_2 after 1/AB");
        assert_eq!(read_mark(&write_mark(&mark)), Some(mark));
        assert_eq!(read_mark("for the warehouse"), None);
        assert_eq!(read_mark("made by readside for slot x after lunch"), None);
    }

    #[test]
    fn statements_name_leaves_only() {
        let leaves = [TableName::new("public", "orders"), TableName::new("S", "user")];
        assert_eq!(
            readable_create_statement("readside", &leaves),
            "CREATE PUBLICATION readside FOR TABLE ONLY public.orders, ONLY \"S\".\"user\""
        );
        assert_eq!(
            readable_add_statement("readside", &leaves[..1]),
            "ALTER PUBLICATION readside ADD TABLE ONLY public.orders"
        );
        assert_eq!(readable_create_statement("p", &[]), "CREATE PUBLICATION p");
    }
}
