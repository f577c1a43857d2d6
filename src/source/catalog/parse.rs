//! From the catalog query's JSON to the model.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::identity;
use super::{
    ActiveSlot, Catalog, Enum, Generated, Kind, Leaf, LeafColumn, Membership, NamedType,
    Publication, PublicationMark, Role, Server, Slot, SlotWal, Table, TableColumn, TableName,
    UniqueIndex,
};
use crate::lsn::Lsn;
use crate::source::publication;
use crate::value::{self, Column, PgType};

pub(super) fn catalog(text: String) -> Result<Catalog, serde_json::Error> {
    let raw: RawCatalog = serde_json::from_str(&text)?;
    let mut named = BTreeMap::new();
    let mut enums = BTreeMap::new();
    for ty in raw.types.unwrap_or_default() {
        if let Some(labels) = &ty.labels {
            let name = TableName::new(&ty.schema, &ty.name);
            enums.insert(ty.oid, Enum { name, labels: labels.clone() });
        }
        named.insert(ty.oid, ty.named());
    }
    let types: HashMap<u32, PgType> =
        named.iter().map(|(oid, named)| (*oid, named.ty.clone())).collect();
    let tables = raw.tables.unwrap_or_default().into_iter();
    let tables = tables.map(|table| table.into_table(&types)).collect::<Result<_, _>>()?;
    let publication = raw.publication.map(RawPublication::into_publication);
    let slot = raw.slot.map(RawSlot::into_slot).transpose()?;
    Ok(Catalog {
        server: raw.server,
        role: raw.role,
        publication,
        slot,
        tables,
        enums,
        types: named,
        text,
    })
}

/// An int8 there, unsigned in truth and in IDENTIFY_SYSTEM.
pub(super) fn system_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(i64::deserialize(deserializer)?.cast_unsigned().to_string())
}

#[derive(Deserialize)]
struct RawCatalog {
    server: Server,
    role: Role,
    publication: Option<RawPublication>,
    slot: Option<RawSlot>,
    types: Option<Vec<RawType>>,
    tables: Option<Vec<RawTable>>,
}

#[derive(Deserialize)]
struct RawPublication {
    oid: u32,
    touched: u32,
    owner: String,
    owned: bool,
    all_tables: bool,
    insert: bool,
    update: bool,
    delete: bool,
    truncate: bool,
    via_partition_root: bool,
    comment: Option<String>,
    members: Option<Vec<u32>>,
    narrowed: Option<Vec<RawNarrowed>>,
}

#[derive(Deserialize)]
struct RawNarrowed {
    #[serde(flatten)]
    table: TableName,
    filter: bool,
    list: bool,
}

impl RawPublication {
    fn into_publication(self) -> Publication {
        let operations = [
            ("insert", self.insert),
            ("update", self.update),
            ("delete", self.delete),
            ("truncate", self.truncate),
        ];
        let unpublished = operations.into_iter().filter(|(_, on)| !on).map(|(name, _)| name);
        let mark: Option<PublicationMark> =
            self.comment.as_deref().and_then(publication::read_mark);
        let narrowed = self.narrowed.unwrap_or_default();
        let of = |which: fn(&RawNarrowed) -> bool| {
            narrowed.iter().filter(|n| which(n)).map(|n| n.table.clone()).collect()
        };
        Publication {
            oid: self.oid,
            touched: self.touched,
            owner: self.owner,
            owned: self.owned,
            all_tables: self.all_tables,
            unpublished: unpublished.collect(),
            via_partition_root: self.via_partition_root,
            mark,
            members: self.members.unwrap_or_default(),
            row_filters: of(|n| n.filter),
            column_lists: of(|n| n.list),
        }
    }
}

#[derive(Deserialize)]
struct RawSlot {
    plugin: Option<String>,
    database: Option<String>,
    temporary: bool,
    failover: Option<bool>,
    active: Option<ActiveSlot>,
    confirmed_flush: Option<String>,
    restart: Option<String>,
    wal_status: Option<String>,
    invalid: Option<String>,
    retained_bytes: Option<i64>,
    unconfirmed_bytes: Option<i64>,
    wal_end: Option<String>,
}

impl RawSlot {
    fn into_slot(self) -> Result<Slot, serde_json::Error> {
        let lsn = |text: Option<String>| -> Result<Option<Lsn>, serde_json::Error> {
            text.map(|text| text.parse().map_err(serde_json::Error::custom)).transpose()
        };
        // Below zero for a moment: the flushed end is told a little late.
        let bytes = |b: Option<i64>| b.and_then(|b| b.try_into().ok()).unwrap_or(0);
        let wal_removed =
            (self.wal_status.as_deref() == Some("lost")).then(|| "wal_removed".into());
        Ok(Slot {
            plugin: self.plugin,
            database: self.database,
            temporary: self.temporary,
            failover: self.failover,
            active: self.active,
            confirmed_flush: lsn(self.confirmed_flush)?,
            restart: lsn(self.restart)?,
            lost: self.invalid.or(wal_removed),
            wal: SlotWal {
                retained_bytes: bytes(self.retained_bytes),
                unconfirmed_bytes: bytes(self.unconfirmed_bytes),
                end: lsn(self.wal_end)?.unwrap_or(Lsn::ZERO),
            },
        })
    }
}

#[derive(Deserialize)]
struct RawType {
    oid: u32,
    schema: String,
    name: String,
    typtype: u8,
    category: u8,
    elem: u32,
    base: u32,
    delim: u8,
    array: u32,
    typmod: i32,
    sql_type: String,
    attributes: Option<Vec<(String, u32)>>,
    labels: Option<Vec<(u32, String)>>,
}

impl RawType {
    fn named(self) -> NamedType {
        let ty = PgType {
            oid: self.oid,
            schema: self.schema,
            name: self.name,
            typtype: self.typtype,
            category: self.category,
            elem: self.elem,
            base: self.base,
            delim: self.delim,
            attributes: self.attributes.unwrap_or_default(),
        };
        NamedType { ty, array: self.array, typmod: self.typmod, sql_type: self.sql_type }
    }
}

#[derive(Deserialize)]
struct RawTable {
    oid: u32,
    #[serde(flatten)]
    name: TableName,
    kind: char,
    persistence: char,
    columns: Option<Vec<RawColumn>>,
    primary_key: Option<Vec<String>>,
    children: Option<Vec<TableName>>,
    leaves: Option<Vec<RawLeaf>>,
}

impl RawTable {
    fn into_table(self, types: &HashMap<u32, PgType>) -> Result<Table, serde_json::Error> {
        let leaves: Vec<Leaf> =
            self.leaves.unwrap_or_default().into_iter().map(RawLeaf::into_leaf).collect();
        let columns = self.columns.unwrap_or_default().into_iter();
        Ok(Table {
            oid: self.oid,
            kind: kind(self.oid, self.kind, self.persistence),
            name: self.name,
            columns: columns.map(|column| column.into_column(types, &leaves)).collect(),
            primary_key: self.primary_key,
            children: self.children.unwrap_or_default(),
            leaves,
        })
    }
}

#[derive(Deserialize)]
struct RawColumn {
    name: String,
    number: i16,
    type_oid: u32,
    typmod: i32,
    sql_type: String,
    not_null: bool,
    generated: Option<String>,
    deterministic: bool,
    collation: Option<String>,
}

impl RawColumn {
    fn into_column(self, types: &HashMap<u32, PgType>, leaves: &[Leaf]) -> TableColumn {
        let mut inside = BTreeSet::new();
        collect_types(self.type_oid, types, &mut inside);
        let is_enum = |oid: &u32| types.get(oid).is_some_and(|ty| ty.typtype == b'e');
        let generated = self.generated.map(|expression| {
            let of_leaves = leaves.iter().filter_map(|leaf| leaf.column(&self.name));
            let everywhere =
                of_leaves.into_iter().all(|leaf| leaf.generated.as_ref() == Some(&expression));
            Generated { expression, everywhere }
        });
        TableColumn {
            number: self.number,
            generated,
            deterministic: self.deterministic,
            collation: self.collation,
            enums: inside.into_iter().filter(is_enum).collect(),
            column: Column {
                name: self.name,
                ty: value::resolve(self.type_oid, types),
                sql_type: self.sql_type,
                type_oid: self.type_oid,
                typmod: self.typmod,
                not_null: self.not_null,
            },
        }
    }
}

/// The type and all inside it.
fn collect_types(oid: u32, types: &HashMap<u32, PgType>, into: &mut BTreeSet<u32>) {
    let Some(ty) = types.get(&oid).filter(|_| into.insert(oid)) else { return };
    for inner in [ty.elem, ty.base].into_iter().chain(ty.attributes.iter().map(|a| a.1)) {
        collect_types(inner, types, into);
    }
}

#[derive(Deserialize)]
struct RawLeaf {
    oid: u32,
    #[serde(flatten)]
    name: TableName,
    kind: char,
    persistence: char,
    filenode: u32,
    rows_estimate: Option<u64>,
    replica_identity: char,
    row_security: bool,
    can_select: bool,
    can_use_schema: bool,
    owned: bool,
    membership: Option<BTreeSet<String>>,
    columns: Option<Vec<LeafColumn>>,
    unique_indexes: Option<Vec<UniqueIndex>>,
}

impl RawLeaf {
    fn into_leaf(self) -> Leaf {
        let unique_indexes = self.unique_indexes.unwrap_or_default();
        Leaf {
            oid: self.oid,
            kind: kind(self.oid, self.kind, self.persistence),
            identity: identity::of_leaf(self.replica_identity, &unique_indexes),
            name: self.name,
            filenode: self.filenode,
            rows_estimate: self.rows_estimate,
            columns: self.columns.unwrap_or_default(),
            unique_indexes,
            membership: Membership(self.membership.unwrap_or_default()),
            row_security: self.row_security,
            can_select: self.can_select,
            can_use_schema: self.can_use_schema,
            owned: self.owned,
        }
    }
}

/// The first oid that is not the system's (FirstNormalObjectId): what is below is never published.
const NORMAL_OID_MIN: u32 = 16384;

fn kind(oid: u32, relkind: char, persistence: char) -> Kind {
    match (relkind, persistence) {
        _ if oid < NORMAL_OID_MIN => Kind::System,
        ('v', _) => Kind::View,
        ('m', _) => Kind::MaterializedView,
        ('f', _) => Kind::Foreign,
        ('r' | 'p', 'u') => Kind::Unlogged,
        ('r' | 'p', 't') => Kind::Temporary,
        ('r', _) => Kind::Table,
        ('p', _) => Kind::Partitioned,
        _ => Kind::Other,
    }
}
