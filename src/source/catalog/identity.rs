//! By what the stream names the rows that it changes: the replica identity (manual, ALTER TABLE), as
//! far as Postgres itself accepts it (RelationGetReplicaIndex in relcache.c).

use super::{Leaf, Table, UniqueIndex};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// These columns, in the index's order.
    Columns(Vec<String>),
    /// The whole old row.
    Full,
    /// An UPDATE or DELETE of a published table would fail: the reason, to follow the table's name.
    Unusable(Unusable),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// REPLICA IDENTITY NOTHING.
    Nothing,
    /// The default, without a primary key.
    NoPrimaryKey,
    /// The index that would be it cannot be used.
    Index { name: String, fault: IndexFault },
    /// USING INDEX, and that index has been dropped.
    IndexDropped,
    /// Partitions have different ones.
    Differ,
}

/// Why a unique index cannot be a replica identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexFault {
    Invalid,
    Deferrable,
    Partial,
    OnExpressions,
    Nullable,
}

impl UniqueIndex {
    /// What keeps it from being a replica identity.
    pub fn fault(&self) -> Option<IndexFault> {
        if !self.valid {
            Some(IndexFault::Invalid)
        } else if !self.immediate {
            Some(IndexFault::Deferrable)
        } else if self.partial {
            Some(IndexFault::Partial)
        } else if self.on_expressions {
            Some(IndexFault::OnExpressions)
        } else if !self.nullable.is_empty() {
            Some(IndexFault::Nullable)
        } else {
            None
        }
    }
}

pub(super) fn of_leaf(replica_identity: char, indexes: &[UniqueIndex]) -> Identity {
    let (index, none) = match replica_identity {
        'f' => return Identity::Full,
        'n' => return Identity::Unusable(Unusable::Nothing),
        'i' => (indexes.iter().find(|i| i.replica_identity), Unusable::IndexDropped),
        _ => (indexes.iter().find(|i| i.primary), Unusable::NoPrimaryKey),
    };
    let Some(index) = index else { return Identity::Unusable(none) };
    match index.fault() {
        None => Identity::Columns(index.columns.clone()),
        Some(fault) => Identity::Unusable(Unusable::Index { name: index.name.clone(), fault }),
    }
}

impl Table {
    /// The one identity of all its leaves. A leaf with FULL has every column to offer, so it goes along
    /// with the others; where there are no leaves, the primary key's columns will be it.
    pub fn identity(&self) -> Identity {
        let mut found = None;
        for leaf in &self.leaves {
            match (&leaf.identity, &found) {
                (Identity::Unusable(_), _) => return leaf.identity.clone(),
                (Identity::Full, _) => {}
                (Identity::Columns(columns), None) => found = Some(columns),
                (Identity::Columns(columns), Some(other)) if columns == *other => {}
                (Identity::Columns(_), Some(_)) => return Identity::Unusable(Unusable::Differ),
            }
        }
        match (found, &self.primary_key) {
            (Some(columns), _) => Identity::Columns(columns.clone()),
            (None, Some(key)) if self.leaves.is_empty() => Identity::Columns(key.clone()),
            (None, _) => Identity::Full,
        }
    }

    /// The columns by which the old version of a row is found: the identity's. With FULL the stream
    /// has them all, and the primary key, where there is one, is the shorter choice; but for a
    /// deferrable one, under which two rows may pass through one key on their way past each other.
    pub fn row_key(&self) -> Option<Vec<String>> {
        match self.identity() {
            Identity::Columns(columns) => Some(columns),
            Identity::Full => Some(match &self.primary_key {
                Some(key) if !self.is_keyless() => key.clone(),
                _ => self.stored().map(|column| column.column.name.clone()).collect(),
            }),
            Identity::Unusable(_) => None,
        }
    }

    /// Nothing but all of its columns tells a row from the others: equal ones may be there.
    pub fn is_keyless(&self) -> bool {
        let has_key = |key: &Vec<String>| self.is_key_immediate() && self.are_stored(key);
        self.identity() == Identity::Full && !self.primary_key.as_ref().is_some_and(has_key)
    }

    /// None of these columns is generated: the stream has them.
    pub fn are_stored(&self, columns: &[String]) -> bool {
        columns.iter().all(|name| self.stored().any(|column| column.column.name == *name))
    }

    fn is_key_immediate(&self) -> bool {
        let indexes = |leaf: &Leaf| leaf.unique_indexes.iter().any(|i| i.primary && i.immediate);
        self.leaves.iter().all(indexes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(name: &str, change: impl Fn(&mut UniqueIndex)) -> UniqueIndex {
        let mut index = UniqueIndex {
            name: name.into(),
            columns: vec!["id".into()],
            primary: false,
            replica_identity: false,
            valid: true,
            immediate: true,
            partial: false,
            on_expressions: false,
            nullable: vec![],
        };
        change(&mut index);
        index
    }

    #[test]
    fn only_what_postgres_accepts_counts() {
        let id = || Identity::Columns(vec!["id".into()]);
        let primary = index("pk", |i| i.primary = true);
        assert_eq!(of_leaf('d', std::slice::from_ref(&primary)), id());
        assert_eq!(of_leaf('f', &[]), Identity::Full);
        assert_eq!(
            of_leaf('n', std::slice::from_ref(&primary)),
            Identity::Unusable(Unusable::Nothing)
        );
        assert_eq!(of_leaf('i', &[primary]), Identity::Unusable(Unusable::IndexDropped));
        assert_eq!(of_leaf('d', &[index("u", |_| ())]), Identity::Unusable(Unusable::NoPrimaryKey));
        assert_eq!(of_leaf('i', &[index("u", |i| i.replica_identity = true)]), id());
        let deferrable = index("pk", |i| (i.primary, i.immediate) = (true, false));
        assert_eq!(
            of_leaf('d', &[deferrable]),
            Identity::Unusable(Unusable::Index {
                name: "pk".into(),
                fault: IndexFault::Deferrable
            })
        );
    }
}
