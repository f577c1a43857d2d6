//! The ways by which a publication has a table: itself, a partitioned table above it, a schema, all tables.
//! Each is another one after it was closed and opened again: what was written in between was not sent.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// ```text
/// relation OID [LINK]...         its row in pg_publication_rel, and the links from the leaf up to it
/// schema OID PLACE [LINK]...     its row in pg_publication_namespace, and what says which schema it is in
/// all OID                        the publication
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Membership(pub BTreeSet<String>);

impl Membership {
    /// Whether the publication has had it all the time since `before`, as far as one can tell.
    pub fn continues(&self, before: &Membership) -> bool {
        self == before || !self.0.is_disjoint(&before.0)
    }
}

/// Older versions knew the leaf's own row alone, or 0.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Ways(BTreeSet<String>),
    Relation(u32),
}

impl From<Stored> for Membership {
    fn from(stored: Stored) -> Self {
        Self(match stored {
            Stored::Ways(ways) => ways,
            Stored::Relation(0) => BTreeSet::new(),
            Stored::Relation(oid) => BTreeSet::from([format!("relation {oid}")]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Membership {
        serde_json::from_str(json).expect("a membership")
    }

    #[test]
    fn one_way_that_stays_is_enough() {
        let before = read(r#"["relation 5", "schema 6 700"]"#);
        assert!(before.continues(&before));
        assert!(read(r#"["relation 5"]"#).continues(&before));
        assert!(read(r#"["relation 9 800", "schema 6 700"]"#).continues(&before));
        assert!(!read(r#"["relation 7", "schema 6 701"]"#).continues(&before));
        assert!(!read("[]").continues(&before));
        assert!(read("[]").continues(&read("[]")));
    }

    #[test]
    fn what_older_versions_have_stored_is_read() {
        assert_eq!(read("5"), read(r#"["relation 5"]"#));
        assert_eq!(read("0"), Membership::default());
        let stored = serde_json::to_string(&read("5")).expect("plain data");
        assert_eq!(stored, r#"["relation 5"]"#);
    }
}
