//! From the source's pg_type to a `Type`. The rows are plain data; another room queries them.

use std::collections::HashMap;

use super::Type;

/// A row of pg_type, and for row types their columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgType {
    pub oid: u32,
    pub schema: String,
    /// typname: `int4`, `_int4`.
    pub name: String,
    /// typtype: b base, c composite, d domain, e enum, m multirange, p pseudo, r range.
    pub typtype: u8,
    /// typcategory: A for arrays.
    pub category: u8,
    /// typelem: of an array, its elements' type; of some others (name, point), what they subscript to.
    pub elem: u32,
    /// typbasetype: of a domain, the type below it.
    pub base: u32,
    /// typdelim: what separates values of this type in an array's text.
    pub delim: u8,
    /// Of a composite: its columns that are not dropped, in the order of attnum.
    pub attributes: Vec<(String, u32)>,
}

/// What values of a type are. A type that is not among `types` or has no variant is `Type::Text`,
/// which is right for all whose JSON is a string.
pub fn resolve(oid: u32, types: &HashMap<u32, PgType>) -> Type {
    resolve_within(oid, types, &mut Vec::new())
}

/// `path` holds the types on the way to this one: a cycle would be a fault of the catalog's data.
fn resolve_within(oid: u32, types: &HashMap<u32, PgType>, path: &mut Vec<u32>) -> Type {
    if let Some(builtin) = builtin(oid) {
        return builtin;
    }
    let Some(ty) = types.get(&oid).filter(|_| !path.contains(&oid)) else { return Type::Text };
    path.push(oid);
    let resolved = match ty.typtype {
        b'd' => resolve_within(ty.base, types, path),
        b'c' => Type::Composite(
            ty.attributes
                .iter()
                .map(|(name, oid)| (name.clone(), resolve_within(*oid, types, path)))
                .collect(),
        ),
        b'b' if ty.category == b'A' && ty.elem != 0 => Type::Array(
            Box::new(resolve_within(ty.elem, types, path)),
            types.get(&ty.elem).map_or(ty.delim, |element| element.delim),
        ),
        b'b' if ty.name == "hstore" => Type::Hstore,
        _ => Type::Text,
    };
    path.pop();
    resolved
}

/// Types of pg_catalog, whose OIDs never change (src/include/catalog/pg_type.dat).
fn builtin(oid: u32) -> Option<Type> {
    Some(match oid {
        16 => Type::Bool,
        17 => Type::Bytea,
        20 => Type::Int8,
        21 => Type::Int2,
        22 => Type::Array(Box::new(Type::Int2), b' '),
        23 => Type::Int4,
        26 => Type::Oid,
        30 => Type::Array(Box::new(Type::Oid), b' '),
        114 => Type::Json,
        700 => Type::Float4,
        701 => Type::Float8,
        1042 => Type::Bpchar,
        1082 => Type::Date,
        1083 => Type::Time,
        1114 => Type::Timestamp,
        1184 => Type::TimestampTz,
        1186 => Type::Interval,
        1266 => Type::TimeTz,
        1700 => Type::Numeric,
        2950 => Type::Uuid,
        3220 => Type::PgLsn,
        3802 => Type::Jsonb,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(
        oid: u32,
        typtype: u8,
        elem: u32,
        base: u32,
        attributes: &[(&str, u32)],
    ) -> (u32, PgType) {
        let attributes = attributes.iter().map(|&(name, oid)| (name.into(), oid)).collect();
        let category = if elem != 0 { b'A' } else { b'U' };
        let (schema, name) = ("public".into(), format!("t{oid}"));
        (oid, PgType { oid, schema, name, typtype, category, elem, base, delim: b',', attributes })
    }

    #[test]
    fn domains_arrays_and_composites_are_followed() {
        let types = HashMap::from([
            ty(100_001, b'd', 0, 1700, &[]),
            ty(100_002, b'b', 100_001, 0, &[]),
            ty(100_003, b'c', 0, 0, &[("a", 23), ("b", 100_002)]),
            ty(100_004, b'd', 0, 100_003, &[]),
            ty(100_005, b'e', 0, 0, &[]),
        ]);
        let numerics = Type::Array(Box::new(Type::Numeric), b',');
        assert_eq!(resolve(100_001, &types), Type::Numeric);
        assert_eq!(resolve(100_002, &types), numerics);
        assert_eq!(
            resolve(100_004, &types),
            Type::Composite([("a".into(), Type::Int4), ("b".into(), numerics)].into())
        );
        assert_eq!(resolve(100_005, &types), Type::Text);
        assert_eq!(resolve(999_999, &types), Type::Text);
    }

    #[test]
    fn a_cycle_ends() {
        let types = HashMap::from([
            ty(1_000_000, b'd', 0, 1_000_001, &[]),
            ty(1_000_001, b'd', 0, 1_000_000, &[]),
        ]);
        assert_eq!(resolve(1_000_000, &types), Type::Text);
    }
}
