//! Functions in FROM that make rows of one value of what stands before them: `unnest (o.tags)`,
//! `jsonb_array_elements (o.lines)`.

use std::ops::Range;

use sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, ObjectName, TableAlias, TableFactor,
};

use super::Fault;
use super::column::{ColumnId, nested};
use super::from::{Around, From, Item, parts};
use super::planner::{Planner, Result};
use super::relation::{Expansion, Relation};
use super::resolve::Clause;
use super::scope::Named;
use crate::sql::expr::{Collation, Series, SeriesOf, Ty, fold_case};
use crate::value::Type;

/// A call in FROM.
pub(super) struct SetFunction<'f> {
    name: String,
    arguments: Vec<Option<&'f Expr>>,
    ordinality: bool,
    alias: Option<&'f TableAlias>,
    /// It has something that PostgreSQL has not.
    foreign: bool,
}

const KNOWN: [&str; 13] = [
    "unnest",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_each",
    "jsonb_each_text",
    "jsonb_object_keys",
    "json_array_elements",
    "json_array_elements_text",
    "json_each",
    "json_each_text",
    "json_object_keys",
    "jsonb_to_recordset",
    "json_to_recordset",
];

impl<'f> SetFunction<'f> {
    pub(super) fn of(factor: &'f TableFactor) -> Option<Self> {
        let plain = |argument: &'f FunctionArg| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        };
        let called = |name: &ObjectName| {
            let mut parts = parts(name);
            if parts.len() == 2 && parts[0] == "pg_catalog" {
                parts.remove(0);
            }
            parts.join(".")
        };
        Some(match factor {
            TableFactor::Table {
                name,
                alias,
                args: Some(args),
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => Self {
                name: called(name),
                arguments: args.args.iter().map(plain).collect(),
                ordinality: *with_ordinality,
                alias: alias.as_ref(),
                foreign: args.settings.is_some()
                    || !with_hints.is_empty()
                    || version.is_some()
                    || !partitions.is_empty()
                    || json_path.is_some()
                    || sample.is_some()
                    || !index_hints.is_empty(),
            },
            TableFactor::Function { name, args, with_ordinality, alias, .. } => Self {
                name: called(name),
                arguments: args.iter().map(plain).collect(),
                ordinality: *with_ordinality,
                alias: alias.as_ref(),
                foreign: false,
            },
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset,
                with_offset_alias,
                with_ordinality,
            } => Self {
                name: "unnest".into(),
                arguments: array_exprs.iter().map(Some).collect(),
                ordinality: *with_ordinality,
                alias: alias.as_ref(),
                foreign: *with_offset || with_offset_alias.is_some(),
            },
            _ => return None,
        })
    }

    pub(super) fn refuse(&self, at: Range<usize>) -> Result<()> {
        let fault = if self.foreign {
            Fault::new("this is not PostgreSQL's")
        } else if self.name == "generate_series" {
            Fault::new("generate_series in FROM is not supported: its rows come from no table")
                .hint("keep a table of the days or numbers, and join it")
        } else if !KNOWN.contains(&self.name.as_str()) {
            Fault::new(format!("the function {} in FROM is not supported", self.name)).hint(
                "there are unnest, jsonb_array_elements, jsonb_to_recordset, jsonb_each, jsonb_object_keys and the like",
            )
        } else if self.arguments.len() != 1 {
            Fault::new(format!("{} in FROM takes one argument here", self.name))
                .hint("write one call for each, WITH ORDINALITY, and compare the ordinalities")
        } else {
            return Ok(());
        };
        Err(fault.at(at))
    }
}

impl Planner<'_> {
    pub(super) fn set_function(
        &self,
        function: &SetFunction<'_>,
        around: Around<'_>,
        place: Range<usize>,
    ) -> Result<Item> {
        let SetFunction { name, ordinality, alias, .. } = function;
        let [Some(argument)] = function.arguments.as_slice() else {
            return Err(Fault::new(format!("{name} in FROM takes one plain argument")).at(place));
        };
        let clause = Clause::new(self, around.before, around.outer, around.commons, "FROM");
        let list = clause.scalar(argument)?;
        if !clause.attached().is_empty() {
            return Err(Fault::new(
                "a subquery in the argument of a function in FROM is not supported",
            )
            .hint("join the subquery in FROM, and name its column")
            .at(list.place));
        }
        let Some(series) = Series::named(name, &list.ty.stored, *ordinality) else {
            return Err(Fault::new(format!("{name} takes no {}", list.ty))
                .hint("cast the argument, as in (…)::jsonb")
                .at(list.place));
        };
        let made = self.made_columns(name, &series, &list.ast, alias.map(|alias| &alias.name))?;
        let known_as = match alias {
            Some(alias) => fold_case(&alias.name),
            None => name.clone(),
        };
        let mut columns: Vec<(String, ColumnId)> = Vec::new();
        for (column, ty) in made {
            let id = self.table_column(&known_as, &column, ty);
            columns.push((column, id));
        }
        let ids: Vec<ColumnId> = columns.iter().map(|(_, id)| *id).collect();
        // A key of jsonb's is there once.
        let keyed = series.argument == Type::Jsonb
            && matches!(series.of, SeriesOf::Members | SeriesOf::MembersText | SeriesOf::Keys);
        let key = match (ids.first(), ids.last()) {
            (Some(first), _) if keyed => Some(vec![*first]),
            (_, Some(last)) if *ordinality => Some(vec![*last]),
            _ => None,
        };
        let is_value = ids.len() == 1 && series.of != SeriesOf::Records;
        let (columns, deferred) = match (series.of, ids.first()) {
            (SeriesOf::Records, Some(record)) => self.fields(*record, *alias, &place)?,
            _ => (self.renamed(columns, *alias, &place)?, Vec::new()),
        };
        let named = Named { is_value, ..Named::subquery(known_as, columns) };
        let from = From::of(Relation::one_row(), named, place.clone());
        let expansion = Expansion { list, series, columns: ids, key };
        Ok(Item { expansion: Some(Box::new(expansion)), deferred, ..Item::of(from) })
    }

    /// The columns as PostgreSQL names them, with their types.
    fn made_columns(
        &self,
        name: &str,
        series: &Series,
        list: &Expr,
        alias: Option<&ast::Ident>,
    ) -> Result<Vec<(String, Ty)>> {
        let plain = |oid, stored, name: &str| Ty {
            oid,
            typmod: -1,
            stored,
            name: name.into(),
            collation: Collation::Default,
            not_null: false,
        };
        let text = || plain(25, Type::Text, "text");
        let json = || match series.argument {
            Type::Json => plain(114, Type::Json, "json"),
            _ => plain(3802, Type::Jsonb, "jsonb"),
        };
        // As an alias names what has no name of its own.
        let called = || alias.map_or_else(|| name.to_owned(), fold_case);
        let named = |name: &str, ty| (name.to_owned(), ty);
        let mut columns = match series.of {
            SeriesOf::Unnest => vec![(called(), self.element_of(list)?)],
            SeriesOf::Elements | SeriesOf::Records => vec![named("value", json())],
            SeriesOf::ElementsText => vec![named("value", text())],
            SeriesOf::Members => vec![named("key", text()), named("value", json())],
            SeriesOf::MembersText => vec![named("key", text()), named("value", text())],
            SeriesOf::Keys => vec![(called(), text())],
        };
        if series.ordinality {
            columns.push(named("ordinality", plain(20, Type::Int8, "bigint")));
        }
        Ok(columns)
    }

    /// The type of an array's elements: that of its first.
    fn element_of(&self, list: &Expr) -> Result<Ty> {
        let index = Expr::value(ast::Value::Number("1".into(), false));
        let first = Expr::CompoundFieldAccess {
            root: Box::new(nested(list.clone())),
            access_chain: vec![ast::AccessExpr::Subscript(ast::Subscript::Index { index })],
        };
        let ty = self.scalar(first, 0..0)?.ty;
        match ty.stored {
            Type::Composite(_) => Err(Fault::new("unnest of an array of rows is not supported")
                .hint("project the array as a whole")),
            _ => Ok(Ty { not_null: false, ..ty }),
        }
    }
}
