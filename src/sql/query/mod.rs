//! From a query's text to a plan.
//!
//! ```text
//! text --parse--> sqlparser's tree --refuse--> what may be planned
//!      --whole, from, select, group, subquery, resolve--> relations (`relation`) over numbered columns
//!      --push--> conditions where they belong --order--> joins of two
//!      --key--> what tells the rows apart --lower--> nodes, with the columns in use alone
//! ```
//!
//! * `parse`: the text in PostgreSQL's dialect, and where in it a word stands.
//! * `refuse`: what PostgreSQL does not have, and what is not maintained, by name and place.
//! * `column`: every column of the query, whichever relation it is of, has a number of its own, so that
//!   an expression means the same wherever it is moved to.
//! * `scope`: names to columns; `resolve`: an expression's names replaced by numbers, its aggregates and
//!   subqueries by columns that something else computes.
//! * `generated`: columns that a table's rows come without.
//! * `whole`, `from`, `factor`, `using`, `select`, `naming`, `group`, `aggregate`, `finish`, `union`, `values`, `record`: the
//!   clauses;
//!   `subquery`, `member`: EXISTS, IN, scalar subqueries and LATERAL become joins.
//! * `push`: a condition goes down to the one input that it is about, or becomes a join's.
//! * `order`: the order of inner joins, so that each has an equality.
//! * `sound`: every column that is looked at is there.
//! * `key`: functional dependences, and the key that follows.
//! * `lower`, `join`: the plan. `explain`: the plan in words.
//!
//! What is not supported is refused by name and place. Whether PostgreSQL itself takes the query, and
//! which names and types it gives the result, is asked elsewhere: the planner's answer has to agree.

mod aggregate;
mod any;
mod column;
mod condition;
mod explain;
mod factor;
mod finish;
mod from;
mod full;
mod generated;
mod group;
mod join;
mod key;
mod lower;
mod member;
mod naming;
mod order;
mod parse;
mod planner;
mod push;
mod record;
mod refuse;
mod relation;
mod resolve;
mod scope;
mod select;
mod set_function;
mod sound;
mod subquery;
mod symmetric;
mod tables;
mod types;
mod union;
mod using;
mod values;
mod whole;
mod within;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

pub(super) use column::bare;
pub(super) use condition::conjuncts;
pub use explain::explain;
pub(super) use from::parts as object_name;
pub(super) use naming::shown_name;
pub use parse::without_end;
pub use tables::{TableRef, tables};

use sqlparser::ast::Ident;

use super::expr::{Collation, Database, UserType, fold_case};
use super::plan::Plan;
use crate::value::{Column, Type};

pub use super::expr::Fault;

/// The tables that a query may read, in the order of their numbers in the plan, and what the database
/// says of types.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub tables: Vec<Table>,
    /// By pg_type's oid.
    pub types: HashMap<u32, UserType>,
    /// Their oids, by schema and name.
    pub type_names: HashMap<(String, String), u32>,
    pub database: Database,
}

impl Schema {
    /// The oid of a type that is not built in, by its written path.
    pub(super) fn type_oid(&self, path: &[Ident]) -> Option<u32> {
        let (schema, name) = match path {
            [name] => ("public".to_owned(), fold_case(name)),
            [schema, name] => (fold_case(schema), fold_case(name)),
            _ => return None,
        };
        self.type_names.get(&(schema, name)).copied()
    }
}

#[derive(Clone, Debug)]
pub struct Table {
    pub schema: String,
    pub name: String,
    /// Those that are stored; positions of columns are those among them.
    pub columns: Vec<Column>,
    /// Of each column.
    pub collations: Vec<Collation>,
    pub primary_key: Option<Vec<usize>>,
    pub generated: Vec<Generated>,
    /// The columns that the engine keeps; `None`: all of them.
    pub kept: Option<BTreeSet<usize>>,
}

/// A generated column.
#[derive(Clone, Debug)]
pub struct Generated {
    /// Its place among all columns of the table.
    pub at: usize,
    pub column: Column,
    pub collation: Collation,
    /// `None`: partitions have different ones.
    pub expression: Option<String>,
}

/// A query's plan and what it shows.
#[derive(Clone, Debug)]
pub struct Planned {
    pub plan: Plan,
    /// What the result has, under the names and types that PostgreSQL gives.
    pub columns: Vec<Column>,
    /// Positions in `columns` that tell the rows apart; empty for a query of one row. `None`: the query
    /// shows no key, and `missing` says what would.
    pub key: Option<Vec<usize>>,
    /// Of each column: what the JSON is made of that the query builds.
    pub shapes: Vec<Option<Type>>,
    /// Of each column: its collation, where it has one, tells texts apart that differ in any byte.
    pub deterministic: Vec<bool>,
    /// Columns that would be the key if the result had them.
    pub missing: Vec<String>,
    /// By table of the schema, those of its columns that the query looks at; `None`: it does not read the
    /// table.
    pub used: Vec<Option<BTreeSet<usize>>>,
    /// What the reader of the query should know.
    pub notes: Vec<String>,
    /// What each node of the plan does, for `explain`.
    pub labels: Vec<String>,
    /// Of each join, how many rows a change changes, in words.
    pub fan_outs: Vec<Option<&'static str>>,
    /// The names of each node's columns.
    pub names: Vec<Vec<String>>,
}

/// Plans a query over the schema. The plan's output is under `Planned::key`, or under no key yet where
/// there is none: `Planned::keyed` gives it another.
pub fn plan(text: &str, schema: &Schema) -> Result<Planned, Fault> {
    let (query, text) = parse::parse(text)?;
    refuse::query(&query, &text)?;
    let planner = planner::Planner::new(&text, schema);
    let result = planner.top(&query)?;
    planner.sound(&result.relation)?;
    lower::lower(&planner, result)
}

impl Table {
    /// Whether rows have the column.
    pub fn keeps(&self, at: usize) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.contains(&at))
    }

    /// The columns of its rows.
    pub fn kept_columns(&self) -> Vec<Column> {
        let columns = self.columns.iter().enumerate().filter(|(at, _)| self.keeps(*at));
        columns.map(|(_, column)| column.clone()).collect()
    }
}

impl Planned {
    /// The same plan under another key.
    #[must_use]
    pub fn keyed(mut self, key: Vec<usize>) -> Self {
        if let Some(super::plan::Node::Output { key: of_output, .. }) = self.plan.nodes.last_mut() {
            of_output.clone_from(&key);
        }
        self.key = Some(key);
        self
    }
}
