//! Occurrences that are in the store from before their event's data was changed: they go on with the
//! columns that the data has now.
//!
//! A value keeps its bytes where its column has the same name and type, else what its text means in the
//! new type; what has no counterpart there is left out, and what was not there before is NULL.

use serde::{Deserialize, Serialize};

use crate::engine::{EVENT_COLUMNS, Entry, event_columns};
use crate::sql::expr::read_value;
use crate::value::{self, Column, Type, ValueError};

/// The data's columns as they once were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    columns: Vec<Stored>,
    /// The key of the last occurrence that was made with them; none while they are those of today.
    until: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    name: String,
    /// How its datums are read.
    datum: String,
    /// Exactly what type it is.
    ty: String,
}

/// Types whose datums are not simply their text.
const DATUMS: [(&str, Type); 18] = [
    ("bool", Type::Bool),
    ("int2", Type::Int2),
    ("int4", Type::Int4),
    ("int8", Type::Int8),
    ("oid", Type::Oid),
    ("float4", Type::Float4),
    ("float8", Type::Float8),
    ("numeric", Type::Numeric),
    ("bpchar", Type::Bpchar),
    ("bytea", Type::Bytea),
    ("date", Type::Date),
    ("time", Type::Time),
    ("timetz", Type::TimeTz),
    ("timestamp", Type::Timestamp),
    ("timestamptz", Type::TimestampTz),
    ("interval", Type::Interval),
    ("uuid", Type::Uuid),
    ("pg_lsn", Type::PgLsn),
];

impl Layout {
    pub fn of(data: &[Column]) -> Self {
        let stored = |Column { name, ty, .. }: &Column| {
            let known = DATUMS.iter().find(|(_, known)| known == ty);
            Stored {
                name: name.clone(),
                datum: known.map_or("text", |(name, _)| name).to_owned(),
                ty: format!("{ty:?}"),
            }
        };
        Self { columns: data.iter().map(stored).collect(), until: Vec::new() }
    }

    pub fn is(&self, data: &[Column]) -> bool {
        self.columns == Layout::of(data).columns
    }

    /// Another one comes after this occurrence.
    #[must_use]
    pub fn ended(self, until: &[u8]) -> Self {
        Self { until: until.to_vec(), ..self }
    }

    fn columns(&self) -> Vec<Column> {
        let column = |stored: &Stored| {
            let known = DATUMS.iter().find(|(name, _)| *name == stored.datum);
            let ty = known.map_or(Type::Text, |(_, ty)| ty.clone());
            let name = stored.name.clone();
            Column { name, sql_type: ty.to_string(), ty, type_oid: 0, typmod: -1, not_null: false }
        };
        event_columns(&self.columns.iter().map(column).collect::<Vec<_>>())
    }
}

/// The occurrence with the columns of today. `older`: the layouts before, in their order; `columns`: of
/// the event's rows.
pub(super) fn renewed(
    older: &[Layout],
    columns: &[Column],
    entry: Entry,
) -> Result<Entry, ValueError> {
    let Some(layout) = older.iter().find(|layout| entry.key() <= layout.until.as_slice()) else {
        return Ok(entry);
    };
    let Some(row) = entry.value() else { return Ok(entry) };
    let before = layout.columns();
    let mut ranges = Vec::new();
    value::split(&before, row, &mut ranges)?;
    let own = EVENT_COLUMNS.len();
    let mut renewed = row[..ranges[own - 1].end].to_vec();
    for column in &columns[own..] {
        let at = layout.columns.iter().position(|stored| stored.name == column.name);
        let datum = at.map(|at| (at, &row[ranges[own + at].clone()]));
        match datum {
            Some((at, datum)) if layout.columns[at].ty == format!("{:?}", column.ty) => {
                renewed.extend_from_slice(datum);
            }
            Some((at, datum)) if !value::is_null(datum) => {
                let mut text = Vec::new();
                value::write_text(&before[own + at].ty, datum, &mut text)?;
                let meant = read_value(&column.ty, &String::from_utf8_lossy(&text), &mut renewed);
                if meant.is_err() {
                    value::encode_null(&mut renewed);
                }
            }
            _ => value::encode_null(&mut renewed),
        }
    }
    Ok(Entry::row_in(entry.leaf(), entry.lsn(), entry.key(), &renewed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gap_entry;
    use crate::lsn::Lsn;

    fn column(name: &str, ty: Type) -> Column {
        let sql_type = ty.to_string();
        Column { name: name.into(), ty, sql_type, type_oid: 0, typmod: -1, not_null: false }
    }

    fn occurrence(lsn: u64, data: &[(Type, &str)]) -> Entry {
        let gap = gap_entry(0, Lsn(lsn), 7);
        let mut row = gap.value().expect("a row").to_vec();
        for (ty, text) in data {
            value::encode(ty, text.as_bytes(), &mut row).expect("a value");
        }
        Entry::row(Lsn(lsn), gap.key(), &row)
    }

    fn texts(columns: &[Column], entry: &Entry) -> String {
        value::key_text(columns.iter().map(|column| &column.ty), entry.value().expect("a row"))
    }

    #[test]
    fn what_columns_have_in_common_stays() {
        let once = [column("id", Type::Int4), column("at", Type::Date), column("x", Type::Jsonb)];
        let then = [column("x", Type::Jsonb), column("id", Type::Text), column("new", Type::Bool)];
        let old =
            occurrence(5, &[(Type::Int4, "7"), (Type::Date, "2026-01-02"), (Type::Jsonb, "{}")]);
        let newer = occurrence(6, &[(Type::Jsonb, "[]"), (Type::Text, "8"), (Type::Bool, "t")]);
        let layouts = [Layout::of(&once).ended(old.key())];
        let columns = event_columns(&then);
        let renewed = |entry: &Entry| {
            let entry = renewed(&layouts, &columns, entry.clone()).expect("whole");
            texts(&columns, &entry)
        };
        assert_eq!(renewed(&old), "0/5|0|readside.gap|2000-01-01 00:00:00.000007+00|{}|7|");
        assert_eq!(renewed(&newer), "0/6|0|readside.gap|2000-01-01 00:00:00.000007+00|[]|8|t");
        // A text that means nothing in the new type.
        let once = [column("id", Type::Text)];
        let layouts = [Layout::of(&once).ended(occurrence(5, &[]).key())];
        let columns = event_columns(&[column("id", Type::Int4)]);
        let entry = occurrence(5, &[(Type::Text, "seven")]);
        let entry = super::renewed(&layouts, &columns, entry).expect("whole");
        assert_eq!(texts(&columns, &entry), "0/5|0|readside.gap|2000-01-01 00:00:00.000007+00|");
        assert!(Layout::of(&once).is(&once) && !Layout::of(&once).is(&then));
    }
}
