//! One item of FROM: a table, a query of WITH, a subquery, or a function.

use std::collections::BTreeSet;
use std::ops::Range;

use sqlparser::ast::{ObjectName, TableAlias, TableFactor};

use super::Fault;
use super::column::ColumnId;
use super::from::{Around, From, Item, parts};
use super::generated::column_ty;
use super::planner::{Commons, Instance, Planner, Result};
use super::relation::{Relation, Sort};
use super::resolve::Clause;
use super::scope::Named;
use super::set_function::SetFunction;
use super::subquery::Sub;
use crate::sql::expr::{Ty, fold_case};

impl Planner<'_> {
    pub(super) fn factor(&self, factor: &TableFactor, around: Around<'_>) -> Result<Item> {
        let place = self.text.place(factor);
        let from = match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                self.table(name, alias.as_ref(), around.commons, place)?
            }
            TableFactor::Derived { lateral, subquery, alias, .. } => {
                let clause = Clause::new(self, around.before, around.outer, around.commons, "FROM");
                let outer = if *lateral { Some(&clause) } else { around.outer };
                let sub = self.query(subquery, outer, around.commons)?;
                return self.derived(sub, alias.as_ref(), *lateral, place);
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                let first = self.factor(&table_with_joins.relation, around)?;
                return self.joined(first, &table_with_joins.joins, around);
            }
            TableFactor::NestedJoin { .. } => {
                return Err(Fault::new("an alias of a join is not supported")
                    .hint("name the tables inside, or write a subquery")
                    .at(place));
            }
            factor => match SetFunction::of(factor) {
                Some(function) => return self.set_function(&function, around, place),
                None => unreachable!("`refuse` has let these alone through"),
            },
        };
        Ok(Item::of(from))
    }

    fn table(
        &self,
        name: &ObjectName,
        alias: Option<&TableAlias>,
        commons: &Commons,
        place: Range<usize>,
    ) -> Result<From> {
        let parts = parts(name);
        let alias_name = alias.map(|alias| fold_case(&alias.name));
        if let [name] = parts.as_slice()
            && let Some(number) = commons.find(name)
        {
            return self.common_table(
                number,
                alias_name.unwrap_or_else(|| name.clone()),
                alias,
                place,
            );
        }
        let (schema, name) = match parts.as_slice() {
            [name] => ("public", name),
            [schema, name] => (schema.as_str(), name),
            _ => return Err(Fault::new("a table's name has at most two parts").at(place)),
        };
        let tables = &self.schema.tables;
        let found = tables.iter().position(|table| table.schema == schema && table.name == *name);
        let Some(number) = found else {
            return Err(Fault::new(format!("table {schema}.{name} does not exist")).at(place));
        };
        let table = &tables[number];
        self.tables.borrow_mut().push(number);
        let known_as = alias_name.as_ref().unwrap_or(name);
        let column = |column: &crate::value::Column, ty: Ty| {
            (column.name.clone(), self.table_column(known_as, &column.name, ty))
        };
        let stored = table.columns.iter().zip(&table.collations);
        let stored = stored.map(|(of, collation)| column(of, Ty::of_column(of, *collation)));
        let mut columns: Vec<(String, ColumnId)> = stored.collect();
        let key = table.primary_key.as_ref();
        let key: Option<Vec<ColumnId>> =
            key.map(|key| key.iter().map(|at| columns[*at].1).collect());
        for generated in &table.generated {
            columns.insert(generated.at, column(&generated.column, column_ty(generated)));
        }
        let ids: Vec<ColumnId> = columns.iter().map(|(_, id)| *id).collect();
        let relation = self.rows_of(number, &ids, &place);
        if let Some(key) = key.clone() {
            let instance = Instance { table: number, columns: ids, key };
            self.instances.borrow_mut().push(instance);
        }
        let named = Named {
            schema: alias_name.is_none().then(|| schema.to_owned()),
            name: alias_name.unwrap_or_else(|| name.clone()),
            columns: self.renamed(columns, alias, &place)?,
            hidden: BTreeSet::new(),
            table: key.map(|key| (number, key)),
            nullable: false,
            is_value: false,
        };
        Ok(From::of(relation, named, place))
    }

    fn common_table(
        &self,
        number: usize,
        name: String,
        alias: Option<&TableAlias>,
        place: Range<usize>,
    ) -> Result<From> {
        let (output, order) = {
            let mut commons = self.common.borrow_mut();
            commons[number].uses += 1;
            (commons[number].output.clone(), commons[number].order.clone())
        };
        let mut here: Vec<(ColumnId, ColumnId)> = Vec::new();
        let mut column_here = |there: ColumnId, name: &str| {
            let known = here.iter().find(|(_, known)| *known == there).map(|(id, _)| *id);
            known.unwrap_or_else(|| {
                let id = self.new_column(name, self.info(there).ty);
                here.push((id, there));
                id
            })
        };
        let mut columns = Vec::new();
        for (column, there) in output {
            let id = column_here(there, &column);
            columns.push((column, id));
        }
        let mut sorts = Vec::new();
        for sort in order {
            sorts.push(Sort { column: column_here(sort.column, "order"), ..sort });
        }
        let columns = self.renamed(columns, alias, &place)?;
        let relation = Relation::Common { number, columns: here };
        let from = From::of(relation, Named::subquery(name, columns), place);
        Ok(From { order: sorts, ..from })
    }

    fn derived(
        &self,
        sub: Sub,
        alias: Option<&TableAlias>,
        lateral: bool,
        place: Range<usize>,
    ) -> Result<Item> {
        if !lateral {
            sub.no_outer_columns(&place)?;
        }
        let name = alias.map(|alias| fold_case(&alias.name)).unwrap_or_default();
        let columns = self.renamed(sub.output, alias, &place)?;
        let lifted = sub.lifted.then_some(sub.after_join);
        if lifted.is_some() && !lateral {
            return Err(Fault::new(
                "an aggregate in FROM over columns of the surrounding query is not supported",
            )
            .hint("write the aggregate itself as the scalar subquery")
            .at(place));
        }
        let mut from = From::of(sub.relation, Named::subquery(name, columns), place);
        from.correlated = sub.correlated;
        from.order = sub.order;
        let Sub { may_be_none, deferred, .. } = sub;
        Ok(Item { from, lifted, may_be_none, deferred, expansion: None })
    }

    /// Under the names that an alias gives, as in `t (a, b)`.
    pub(super) fn renamed(
        &self,
        mut columns: Vec<(String, ColumnId)>,
        alias: Option<&TableAlias>,
        place: &Range<usize>,
    ) -> Result<Vec<(String, ColumnId)>> {
        let names = alias.map(|alias| alias.columns.as_slice()).unwrap_or_default();
        if names.len() > columns.len() {
            let what =
                format!("there are {} columns, and {} names for them", columns.len(), names.len());
            return Err(Fault::new(what).at(place.clone()));
        }
        for (column, name) in columns.iter_mut().zip(names) {
            column.0 = fold_case(&name.name);
        }
        Ok(columns)
    }
}
