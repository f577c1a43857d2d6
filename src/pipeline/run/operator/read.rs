//! A row by its key, from the state.

use serde_json::value::RawValue;

use super::{Running, not_followed};
use crate::http::{ReadRow, Refusal, Why};
use crate::pipeline::NotFollowed;
use crate::pipeline::run::questions::Question;
use crate::sql::expr::read_value;
use crate::value::{self, Column};

impl Running {
    pub(super) async fn read(
        &self,
        projection: &str,
        key: Option<&str>,
    ) -> Result<ReadRow, Refusal> {
        let key = self.key(projection, key).await?;
        let projection_of = projection.to_owned();
        let row = |reply| Question::Row { projection: projection_of, key, reply };
        let asked = self.ask(row).await?;
        let rows = asked.map_err(|why| not_followed(projection, &why))?;
        let Some(row) = rows.rows.iter().flatten().next() else {
            let error = format!("projection {projection} has no row under this key");
            return Err(Refusal::new(Why::Unknown, error));
        };
        let mut document = Vec::new();
        value::write_document(&rows.columns, row.value().unwrap_or_default(), None, &mut document)
            .map_err(|error| Refusal::new(Why::Conflict, format!("the row: {error}")))?;
        Ok(ReadRow { lsn: rows.applied, document })
    }

    /// What the projection's rows are known by, of what was asked for.
    pub(super) async fn key(
        &self,
        projection: &str,
        key: Option<&str>,
    ) -> Result<Vec<u8>, Refusal> {
        self.has_rows(projection)?;
        let named = projection.to_owned();
        let shape = self.ask(|reply| Question::Shape { projection: named, reply }).await?;
        let apart = || not_followed(projection, &NotFollowed::Apart);
        let (columns, key_columns) = shape.ok_or_else(apart)?;
        encoded(key, &columns, &key_columns)
            .map_err(|error| Refusal::new(Why::Bad, format!("key: {error}")))
    }
}

/// The key's bytes, from a JSON array with a value for each of its columns: a string as Postgres prints or
/// reads the value (so what a document holds will do), or a number, a boolean or null.
fn encoded(
    key: Option<&str>,
    columns: &[Column],
    key_columns: &[usize],
) -> Result<Vec<u8>, String> {
    let shape = || {
        let names: Vec<String> =
            key_columns.iter().map(|&at| format!("\"{}\"", columns[at].name)).collect();
        format!("give a JSON array of {} in this order", names.join(", "))
    };
    let values: Vec<&RawValue> = match key {
        None if key_columns.is_empty() => Vec::new(),
        None => return Err(format!("missing; {}", shape())),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| format!("not a JSON array ({error}); {}", shape()))?,
    };
    if values.len() != key_columns.len() {
        return Err(format!(
            "{} values where the key has {}; {}",
            values.len(),
            key_columns.len(),
            shape()
        ));
    }
    let mut bytes = Vec::new();
    for (raw, &at) in values.iter().zip(key_columns) {
        let Column { name, ty, .. } = &columns[at];
        let text = match raw.get().as_bytes().first() {
            Some(b'n') => {
                value::encode_null(&mut bytes);
                continue;
            }
            Some(b't') => "t".to_owned(),
            Some(b'f') => "f".to_owned(),
            Some(b'"') => serde_json::from_str(raw.get()).map_err(|error| error.to_string())?,
            Some(b'[' | b'{') => {
                return Err(format!(
                    "the value of {name} is written as Postgres prints it, as a string"
                ));
            }
            _ => raw.get().to_owned(),
        };
        if value::encode(ty, text.as_bytes(), &mut bytes).is_err() {
            read_value(ty, &text, &mut bytes).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Type;

    #[test]
    fn keys_are_arrays_of_values_or_their_texts() {
        let column = |name: &str, ty: Type| Column {
            name: name.into(),
            sql_type: ty.to_string(),
            ty,
            type_oid: 0,
            typmod: -1,
            not_null: false,
        };
        let columns =
            [column("x", Type::Text), column("id", Type::Int4), column("n", Type::Numeric)];
        let key = |text: &str| encoded(Some(text), &columns, &[1, 2]);
        assert_eq!(key(r#"["7", "1.50"]"#), key("[7, 1.50]"));
        assert_eq!(key(r#"[" +7", "15e-1"]"#), key("[7, 1.5]"));
        assert_ne!(key("[7, null]"), key("[7, 0]"));
        assert_eq!(encoded(None, &columns, &[]), Ok(Vec::new()));
        for (text, words) in [
            ("", "not a JSON array"),
            ("7", "not a JSON array"),
            (
                "[7]",
                r#"1 values where the key has 2; give a JSON array of "id", "n" in this order"#,
            ),
            (r#"["x", "1"]"#, "id: "),
            ("[[7], 1]", "as a string"),
        ] {
            let error = key(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(encoded(None, &columns, &[1]).expect_err("no key").starts_with("missing"));
    }
}
