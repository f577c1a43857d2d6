//! What a RELATION message says of a table: borrowed as it arrives, owned as it is kept.

use super::error::DecodeError;
use super::read::Reader;

/// What the server sends of an old row (`pg_class.relreplident`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key's columns, if there is one.
    Default,
    /// Nothing; then the source itself refuses UPDATE and DELETE.
    Nothing,
    /// All columns.
    Full,
    /// The columns of a chosen unique index.
    Index,
}

/// A RELATION message in the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationRef<'a> {
    pub oid: u32,
    /// Empty means pg_catalog.
    pub schema: &'a str,
    pub name: &'a str,
    pub identity: ReplicaIdentity,
    pub columns: ColumnRefs<'a>,
}

/// One column of a RELATION message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnRef<'a> {
    /// Part of the replica identity.
    pub key: bool,
    pub name: &'a str,
    pub type_oid: u32,
    pub typmod: i32,
}

impl<'a> RelationRef<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            oid: reader.u32()?,
            schema: reader.text()?,
            name: reader.text()?,
            identity: match reader.u8()? {
                b'd' => ReplicaIdentity::Default,
                b'n' => ReplicaIdentity::Nothing,
                b'f' => ReplicaIdentity::Full,
                b'i' => ReplicaIdentity::Index,
                other => return Err(reader.unknown("replica identity", other)),
            },
            columns: ColumnRefs::read(reader)?,
        })
    }
}

/// The columns of a RELATION message, read once to their end and free of faults from then on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ColumnRefs<'a> {
    left: u16,
    rest: &'a [u8],
}

impl<'a> ColumnRefs<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let columns = Self { left: reader.count()?, rest: reader.rest() };
        for _ in 0..columns.left {
            column(reader)?;
        }
        Ok(columns)
    }
}

fn column<'a>(reader: &mut Reader<'a>) -> Result<ColumnRef<'a>, DecodeError> {
    Ok(ColumnRef {
        // The other bits have no meaning in any version so far, and PostgreSQL's own reader
        // ignores them.
        key: reader.u8()? & 1 != 0,
        name: reader.text()?,
        type_oid: reader.u32()?,
        typmod: reader.i32()?,
    })
}

impl<'a> Iterator for ColumnRefs<'a> {
    type Item = ColumnRef<'a>;

    fn next(&mut self) -> Option<ColumnRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader::new("RELATION", self.rest);
        // Cannot fail: `read` has taken the same steps.
        let column = column(&mut reader).ok()?;
        self.rest = reader.rest();
        Some(column)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}

impl ExactSizeIterator for ColumnRefs<'_> {}

impl std::fmt::Debug for ColumnRefs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// A table as the stream describes it, until the stream describes it anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub identity: ReplicaIdentity,
    /// In the order of the tuples' cells; dropped and generated columns are not among them.
    pub columns: Vec<RelationColumn>,
}

/// One column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    pub name: String,
    pub type_oid: u32,
    pub typmod: i32,
    /// Part of the replica identity.
    pub key: bool,
}

impl From<RelationRef<'_>> for Relation {
    fn from(message: RelationRef<'_>) -> Self {
        let schema = if message.schema.is_empty() { "pg_catalog" } else { message.schema };
        let own = |column: ColumnRef<'_>| RelationColumn {
            name: column.name.to_owned(),
            type_oid: column.type_oid,
            typmod: column.typmod,
            key: column.key,
        };
        Self {
            oid: message.oid,
            schema: schema.to_owned(),
            name: message.name.to_owned(),
            identity: message.identity,
            columns: message.columns.map(own).collect(),
        }
    }
}
