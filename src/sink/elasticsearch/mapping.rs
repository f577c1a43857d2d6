//! What an index is made of: mappings from the columns' types, the user's own over them, and the
//! settings. Nothing is guessed by the server: fields that no mapping names are stored, not indexed.

use serde_json::{Map, Value, json};

use crate::value::{Column, Type};

/// A term may have 32766 bytes in Lucene; this many characters of UTF-8 never exceed that.
const KEYWORD_CHARS_MAX: u32 = 8191;

/// The server's own bound on fields, where no setting says another.
const TOTAL_FIELDS_DEFAULT: usize = 1000;

/// The body that creates an index. `meta` marks it as ours.
pub(super) fn index_body(
    columns: &[Column],
    mappings: Option<&Value>,
    settings: Option<&Value>,
    meta: Value,
) -> Value {
    let mut properties = Map::new();
    for column in columns {
        properties.insert(column.name.clone(), field(&column.ty));
    }
    let mut all = Map::new();
    all.insert("dynamic".into(), json!(false));
    let mut own_meta = Map::new();
    if let Some(Value::Object(theirs)) = mappings {
        for (key, value) in theirs {
            match (key.as_str(), value) {
                ("properties", Value::Object(fields)) => {
                    for (name, field) in fields {
                        properties.insert(name.clone(), field.clone());
                    }
                }
                ("_meta", Value::Object(entries)) => own_meta.clone_from(entries),
                _ => {
                    all.insert(key.clone(), value.clone());
                }
            }
        }
    }
    own_meta.insert("readside".into(), meta);
    let fields = count_fields(&properties);
    all.insert("_meta".into(), Value::Object(own_meta));
    all.insert("properties".into(), Value::Object(properties));

    let mut settings = match settings {
        Some(Value::Object(theirs)) => theirs.clone(),
        _ => Map::new(),
    };
    if fields > TOTAL_FIELDS_DEFAULT && !settings_name(&settings, "mapping.total_fields.limit") {
        settings.insert("index.mapping.total_fields.limit".into(), json!(fields));
    }
    json!({ "settings": settings, "mappings": all })
}

/// The mapping of one column or attribute.
fn field(ty: &Type) -> Value {
    let number = |kind: &str| json!({ "type": kind, "ignore_malformed": true });
    match ty {
        Type::Bool => json!({ "type": "boolean" }),
        Type::Int2 => number("short"),
        Type::Int4 => number("integer"),
        Type::Int8 | Type::Oid => number("long"),
        Type::Float4 => number("float"),
        Type::Float8 | Type::Numeric => number("double"),
        Type::Text | Type::Bpchar => json!({
            "type": "text",
            "fields": { "keyword": { "type": "keyword", "ignore_above": KEYWORD_CHARS_MAX } },
        }),
        // What lies beyond the server's calendar (BC, infinity, five-digit years) is malformed to
        // it: stored, not indexed.
        Type::Date | Type::Timestamp | Type::TimestampTz => json!({
            "type": "date",
            "format": "strict_date_optional_time",
            "ignore_malformed": true,
        }),
        Type::Time | Type::TimeTz | Type::Interval | Type::Uuid | Type::PgLsn => {
            json!({ "type": "keyword" })
        }
        Type::Bytea => json!({ "type": "keyword", "index": false, "doc_values": false }),
        // Disabled, it takes scalars and arrays as well as objects.
        Type::Json | Type::Jsonb | Type::Hstore => json!({ "type": "object", "enabled": false }),
        // Any field holds one value or many.
        Type::Array(element, _) => field(element),
        Type::Composite(attributes) => {
            let properties: Map<String, Value> =
                attributes.iter().map(|(name, ty)| (name.clone(), field(ty))).collect();
            json!({ "type": "object", "properties": properties })
        }
    }
}

fn count_fields(properties: &Map<String, Value>) -> usize {
    properties
        .values()
        .map(|field| {
            let below =
                |key: &str| field.get(key).and_then(Value::as_object).map_or(0, count_fields);
            1 + below("properties") + below("fields")
        })
        .sum()
}

/// Whether settings name `name`, in any of the forms the server takes: dotted or nested, with or
/// without the prefix `index`.
fn settings_name(settings: &Map<String, Value>, name: &str) -> bool {
    settings.iter().any(|(key, value)| {
        let key = key.strip_prefix("index.").unwrap_or(key);
        let deeper = |rest: &str| value.as_object().is_some_and(|map| settings_name(map, rest));
        key == name
            || (key == "index" && deeper(name))
            || name.strip_prefix(key).and_then(|rest| rest.strip_prefix('.')).is_some_and(deeper)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, ty: Type) -> Column {
        Column {
            name: name.into(),
            ty,
            sql_type: String::new(),
            type_oid: 0,
            typmod: -1,
            not_null: false,
        }
    }

    #[test]
    fn the_users_fields_win_and_the_rest_stays() {
        let columns = [column("id", Type::Int8), column("name", Type::Text)];
        let theirs = json!({
            "dynamic": "strict",
            "_meta": { "team": "shop" },
            "properties": { "name": { "type": "keyword" }, "extra": { "type": "long" } },
        });
        let body = index_body(&columns, Some(&theirs), None, json!({ "owner": "o" }));
        assert_eq!(
            body,
            json!({
                "settings": {},
                "mappings": {
                    "dynamic": "strict",
                    "_meta": { "team": "shop", "readside": { "owner": "o" } },
                    "properties": {
                        "id": { "type": "long", "ignore_malformed": true },
                        "name": { "type": "keyword" },
                        "extra": { "type": "long" },
                    },
                },
            })
        );
    }

    #[test]
    fn wide_tables_raise_the_limit_of_fields_unless_the_user_did() {
        let columns: Vec<Column> = (0..600).map(|i| column(&format!("c{i}"), Type::Text)).collect();
        let limit = "index.mapping.total_fields.limit";
        let body = index_body(&columns, None, None, json!({}));
        assert_eq!(body["settings"][limit], json!(1200));
        for theirs in [
            json!({ "mapping.total_fields.limit": 5000 }),
            json!({ "index": { "mapping": { "total_fields": { "limit": 5000 } } } }),
            json!({ "index.mapping.total_fields": { "limit": 5000 } }),
        ] {
            let body = index_body(&columns, None, Some(&theirs), json!({}));
            assert_eq!(body["settings"], theirs);
        }
    }

    #[test]
    fn arrays_are_their_elements_and_composites_objects() {
        let address: std::sync::Arc<[(String, Type)]> =
            [("city".to_string(), Type::Text), ("zip".to_string(), Type::Int4)].into();
        let ty = Type::Array(Box::new(Type::Composite(address)), b',');
        assert_eq!(
            field(&ty)["properties"]["zip"],
            json!({ "type": "integer", "ignore_malformed": true })
        );
    }
}
