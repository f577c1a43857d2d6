//! Names to columns, as far as one FROM goes.

use std::collections::BTreeSet;
use std::ops::Range;

use sqlparser::ast::Ident;

use super::Fault;
use super::column::ColumnId;
use super::planner::Result;
use crate::sql::expr::fold_case;

const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// What stands in one FROM.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) relations: Vec<Named>,
    /// The columns that USING has made one of two.
    pub(super) merged: Vec<(String, ColumnId)>,
}

/// A relation under the name by which its columns are reached.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: String,
    /// Where it has no alias: `schema.table.column` is possible.
    pub(super) schema: Option<String>,
    pub(super) columns: Vec<(String, ColumnId)>,
    /// Those of its columns that are meant by their own name alone no more: USING has merged them.
    pub(super) hidden: BTreeSet<ColumnId>,
    /// Its number in the schema, and its primary key: a table as it is.
    pub(super) table: Option<(usize, Vec<ColumnId>)>,
    /// On the side of an outer join that may be missing.
    pub(super) nullable: bool,
    /// A function's values: its name means the value.
    pub(super) is_value: bool,
}

impl Scope {
    /// Both, side by side.
    pub(super) fn append(&mut self, mut other: Scope, place: &Range<usize>) -> Result<()> {
        for named in &other.relations {
            if self
                .relations
                .iter()
                .any(|known| known.name == named.name && known.schema == named.schema)
            {
                let what = format!("the name `{}` stands twice in FROM", named.name);
                return Err(Fault::new(what)
                    .hint("give each of them an alias of its own")
                    .at(place.clone()));
            }
        }
        self.relations.append(&mut other.relations);
        self.merged.append(&mut other.merged);
        Ok(())
    }

    /// `None`: no such name here; it may be the surrounding query's.
    pub(super) fn column(&self, path: &[Ident], place: &Range<usize>) -> Result<Option<ColumnId>> {
        match path {
            [name] => self.unqualified(&fold_case(name), place),
            [table, name] => self.qualified(None, &fold_case(table), &fold_case(name), place),
            [schema, table, name] => {
                let schema = fold_case(schema);
                self.qualified(Some(&schema), &fold_case(table), &fold_case(name), place)
            }
            _ => Err(Fault::new("a column's name has at most three parts").at(place.clone())),
        }
    }

    fn unqualified(&self, name: &str, place: &Range<usize>) -> Result<Option<ColumnId>> {
        let own = self.relations.iter().flat_map(|named| {
            let visible = named.columns.iter().filter(|(_, id)| !named.hidden.contains(id));
            visible.map(|(column, id)| (Some(&named.name), column, *id))
        });
        let merged = self.merged.iter().map(|(column, id)| (None, column, *id));
        let found: Vec<_> = merged.chain(own).filter(|(_, column, _)| *column == name).collect();
        match found.as_slice() {
            [] if SYSTEM_COLUMNS.contains(&name) => {
                let what = format!("`{name}` is a system column, which is not replicated");
                Err(Fault::new(what).hint("use columns of the table's own").at(place.clone()))
            }
            [] => Ok(self.value(name)),
            [(_, _, id)] => Ok(Some(*id)),
            several => {
                let of = several.iter().filter_map(|(table, ..)| table.as_ref());
                let ways: Vec<String> = of.map(|table| format!("{table}.{name}")).collect();
                Err(Fault::new(format!("column `{name}` is ambiguous"))
                    .hint(format!("write {}", ways.join(" or ")))
                    .at(place.clone()))
            }
        }
    }

    fn value(&self, name: &str) -> Option<ColumnId> {
        let named = self.relation(None, name).filter(|named| named.is_value)?;
        named.columns.first().map(|(_, id)| *id)
    }

    fn qualified(
        &self,
        schema: Option<&str>,
        table: &str,
        name: &str,
        place: &Range<usize>,
    ) -> Result<Option<ColumnId>> {
        let Some(named) = self.relation(schema, table) else { return Ok(None) };
        if let Some((_, id)) = named.columns.iter().find(|(column, _)| column == name) {
            return Ok(Some(*id));
        }
        if SYSTEM_COLUMNS.contains(&name) {
            let what = format!("`{name}` is a system column, which is not replicated");
            return Err(Fault::new(what).hint("use columns of the table's own").at(place.clone()));
        }
        let what = format!("`{table}` has no column `{name}`");
        let known = named.columns.iter().map(|(column, _)| column.as_str());
        Err(Fault::new(what).hint(similar(name, known)).at(place.clone()))
    }

    pub(super) fn relation(&self, schema: Option<&str>, table: &str) -> Option<&Named> {
        self.relations.iter().find(|named| {
            named.name == table && schema.is_none_or(|s| named.schema.as_deref() == Some(s))
        })
    }

    /// What `*` stands for: merged columns first.
    pub(super) fn star(&self) -> Vec<(String, ColumnId)> {
        let visible = |named: &Named| {
            let hidden = named.hidden.clone();
            named.columns.clone().into_iter().filter(move |(_, id)| !hidden.contains(id))
        };
        self.merged.iter().cloned().chain(self.relations.iter().flat_map(visible)).collect()
    }

    /// All names there are, for "did you mean".
    pub(super) fn names(&self) -> Vec<String> {
        let columns = |named: &Named| {
            let both = named
                .columns
                .iter()
                .flat_map(|(column, _)| [column.clone(), format!("{}.{column}", named.name)]);
            both.collect::<Vec<_>>()
        };
        self.relations.iter().flat_map(columns).collect()
    }
}

/// "Did you mean", where something is near.
pub(super) fn similar<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    const DISTANCE_MAX: usize = 2;
    let near = known
        .into_iter()
        .map(|known| (strsim::osa_distance(name, known), known))
        .filter(|(distance, known)| *distance <= DISTANCE_MAX && *distance < known.len())
        .min_by_key(|(distance, _)| *distance);
    near.map(|(_, known)| format!("did you mean `{known}`?")).unwrap_or_default()
}
