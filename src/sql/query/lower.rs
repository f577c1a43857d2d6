//! From relations to the plan: columns get positions in rows, and what nobody looks at is left out.

use std::collections::{BTreeMap, BTreeSet};

use sqlparser::ast;

use super::Planned;
use super::column::{ColumnId, Scalar, all};
use super::key;
use super::order::{ordered, reads_no_table};
use super::planner::{Planner, Result};
use super::relation::{self, Expansion, Relation, Sort};
use super::subquery::Sub;
use crate::sql::expr::{Collation, Ty};
use crate::sql::plan::{Aggregate, Expr, Node, NodeId, Order, Plan};
use crate::sql::shape;
use crate::value::Column;

/// The plan of a whole query.
pub(super) fn lower(planner: &Planner<'_>, query: Sub) -> Result<Planned> {
    let wanted: BTreeSet<ColumnId> = query.output.iter().map(|(_, id)| *id).collect();
    let facts = key::facts(planner, &query.relation);
    let mut lower = Lower::new(planner);
    let rows = lower.relation(&query.relation, &wanted)?;
    let shown: Vec<ColumnId> = query.output.iter().map(|(_, id)| *id).collect();
    let names: Vec<&str> = query.output.iter().map(|(name, _)| name.as_str()).collect();
    let rows = lower.shown(rows, &shown, &names);
    let (key, missing) = shown_key(planner, &facts, &shown);
    let columns = lower.columns[rows].clone();
    let output = Node::Output { input: rows, key: key.clone().unwrap_or_default() };
    lower.add(output, "the projection's rows".into());
    Ok(Planned {
        shapes: shape::of_plan(&lower.nodes, &lower.columns),
        plan: Plan { nodes: lower.nodes },
        columns,
        key,
        deterministic: shown.iter().map(|id| is_deterministic(&planner.info(*id).ty)).collect(),
        missing,
        used: lower.used,
        notes: planner.notes.take(),
        labels: lower.labels,
        fan_outs: lower.fan_outs,
        names: lower.columns.into_iter().map(|c| c.into_iter().map(|c| c.name).collect()).collect(),
    })
}

/// Positions of the key in the result, or the names of what the result would need to have one.
fn shown_key(
    planner: &Planner<'_>,
    facts: &key::Facts,
    shown: &[ColumnId],
) -> (Option<Vec<usize>>, Vec<String>) {
    let position = |id: &ColumnId| shown.iter().position(|shown| shown == id);
    let Some(key) = &facts.key else { return (None, Vec::new()) };
    if let Some(positions) = key.iter().map(position).collect::<Option<Vec<_>>>() {
        return (Some(positions), Vec::new());
    }
    // Others may decide the same, such as the other side of an equality.
    if facts.is_key(shown.iter().copied()) {
        let mut distinct: Vec<ColumnId> = Vec::new();
        for id in shown {
            if !distinct.contains(id) {
                distinct.push(*id);
            }
        }
        let positions = facts.minimal(distinct).iter().map(position).collect();
        return (positions, Vec::new());
    }
    let missing = key.iter().filter(|id| position(id).is_none());
    (None, missing.map(|id| planner.info(*id).written()).collect())
}

/// A node, and which column stands where in its rows.
#[derive(Clone, Debug)]
pub(super) struct Lowered {
    pub(super) node: NodeId,
    pub(super) columns: Vec<ColumnId>,
}

impl Lowered {
    pub(super) fn position(&self, id: ColumnId) -> usize {
        let found = self.columns.iter().position(|column| *column == id);
        found.expect("what is looked at has been asked for")
    }
}

pub(super) struct Lower<'l> {
    pub(super) planner: &'l Planner<'l>,
    nodes: Vec<Node>,
    /// Of each node.
    columns: Vec<Vec<Column>>,
    labels: Vec<String>,
    pub(super) fan_outs: Vec<Option<&'static str>>,
    used: Vec<Option<BTreeSet<usize>>>,
    /// Queries of WITH that are used more than once.
    common: BTreeMap<usize, Lowered>,
}

impl<'l> Lower<'l> {
    fn new(planner: &'l Planner<'l>) -> Self {
        Self {
            planner,
            nodes: Vec::new(),
            columns: Vec::new(),
            labels: Vec::new(),
            fan_outs: Vec::new(),
            used: vec![None; planner.schema.tables.len()],
            common: BTreeMap::new(),
        }
    }

    /// Equal nodes are one.
    pub(super) fn add(&mut self, node: Node, label: String) -> NodeId {
        if let Some(known) = self.nodes.iter().position(|known| *known == node) {
            return known;
        }
        let columns = match &node {
            Node::Scan { table } => self.planner.schema.tables[*table].kept_columns(),
            node => {
                let inputs = node.inputs();
                let inputs: Vec<&[Column]> =
                    inputs.iter().map(|input| self.columns[*input].as_slice()).collect();
                node.columns(&inputs)
            }
        };
        self.nodes.push(node);
        self.columns.push(columns);
        self.labels.push(label);
        self.fan_outs.push(None);
        self.nodes.len() - 1
    }

    /// The relation's rows, with at least the columns that are needed.
    pub(super) fn relation(
        &mut self,
        relation: &Relation,
        need: &BTreeSet<ColumnId>,
    ) -> Result<Lowered> {
        match relation {
            Relation::Table { table, columns } => {
                let used = columns.iter().enumerate().filter(|(_, id)| need.contains(id));
                self.used[*table].get_or_insert_default().extend(used.map(|(at, _)| at));
                let table = *table;
                let of = &self.planner.schema.tables[table];
                let label = format!("rows of {}.{}", of.schema, of.name);
                let columns = columns.iter().enumerate().filter(|(at, _)| of.keeps(*at));
                let columns = columns.map(|(_, id)| *id).collect();
                Ok(Lowered { node: self.add(Node::Scan { table }, label), columns })
            }
            Relation::Common { number, columns } => self.common(*number, columns, need),
            relation if relation.is_one_row() => self.one_row(),
            Relation::Inner { factors, conditions } => {
                let ordered = ordered(self.planner, factors.clone(), conditions.clone())?;
                self.relation(&ordered, need)
            }
            Relation::Join { left, right, kind, conditions } => {
                self.join(left, right, *kind, conditions, need)
            }
            Relation::Filter { input, conditions } => {
                let mut wanted = need.clone();
                wanted.extend(conditions.iter().flat_map(|c| c.columns.iter().copied()));
                let input = self.relation(input, &wanted)?;
                let shown = conditions.iter().map(|c| self.planner.text.shown(&c.place));
                let label = format!("where {}", shown.collect::<Vec<_>>().join(" and "));
                let condition = self.all(&conditions.iter().collect::<Vec<_>>(), &input)?;
                let Some(condition) = condition else { return Ok(input) };
                let node = self.add(Node::Filter { input: input.node, condition }, label);
                Ok(Lowered { node, columns: input.columns })
            }
            Relation::Map { input, columns } => self.map(input, columns, need),
            Relation::Expand { input, expansion, outer } => {
                self.expand(input, expansion, *outer, need)
            }
            Relation::Union { inputs, columns, .. } => self.union(inputs, columns, need),
            Relation::Aggregate { input, group, aggregates, scalar } => {
                self.aggregate(input, group, aggregates, *scalar, need)
            }
            Relation::TopN { input, partition, order, limit, offset } => {
                let mut wanted = need.clone();
                wanted.extend(partition.iter().copied());
                wanted.extend(order.iter().map(|sort| sort.column));
                let input = self.relation(input, &wanted)?;
                let input = self.pruned(input, &wanted);
                let node = Node::TopN {
                    input: input.node,
                    partition: partition.iter().map(|id| input.position(*id)).collect(),
                    order: orders(order, &input),
                    limit: *limit,
                    offset: *offset,
                };
                let label = match limit {
                    Some(limit) => format!("the first {limit} of each {}", self.names(partition)),
                    None => format!("all but the first {offset} of each {}", self.names(partition)),
                };
                Ok(Lowered { node: self.add(node, label), columns: input.columns })
            }
        }
    }

    /// One row, whatever there is: a count of no rows.
    fn one_row(&mut self) -> Result<Lowered> {
        let Some(table) = self.planner.tables.borrow().first().copied() else {
            return Err(reads_no_table(self.planner));
        };
        let label = "one row".to_owned();
        let rows = self.add(Node::Scan { table }, label.clone());
        let never = ast::Expr::value(ast::Value::Boolean(false));
        let never = self.planner.scalar(never, 0..0)?;
        let none = Lowered { node: rows, columns: Vec::new() };
        let condition = self.expr(&never, &none)?;
        let nothing = self.add(Node::Filter { input: rows, condition }, label.clone());
        let (group, aggregates) = Default::default();
        let node = Node::Aggregate { input: nothing, group, aggregates, scalar: true };
        Ok(Lowered { node: self.add(node, label), columns: Vec::new() })
    }

    fn common(
        &mut self,
        number: usize,
        columns: &[(ColumnId, ColumnId)],
        need: &BTreeSet<ColumnId>,
    ) -> Result<Lowered> {
        let common = self.planner.common.borrow()[number].clone();
        let there = match self.common.get(&number) {
            Some(known) => known.clone(),
            None => {
                // One node for all users: with every column that one of them could want.
                let shared = common.uses > 1;
                let wanted = columns
                    .iter()
                    .filter(|(here, _)| shared || need.contains(here))
                    .map(|(_, there)| *there);
                let wanted: BTreeSet<ColumnId> = wanted.collect();
                let lowered = self.relation(&common.relation, &wanted)?;
                let lowered = self.pruned(lowered, &wanted);
                if shared {
                    self.common.insert(number, lowered.clone());
                }
                lowered
            }
        };
        let here = |id: &ColumnId| {
            columns.iter().find(|(_, there)| there == id).map_or(*id, |(here, _)| *here)
        };
        Ok(Lowered { node: there.node, columns: there.columns.iter().map(here).collect() })
    }

    fn map(
        &mut self,
        input: &Relation,
        columns: &[(ColumnId, Scalar)],
        need: &BTreeSet<ColumnId>,
    ) -> Result<Lowered> {
        let computed: Vec<&(ColumnId, Scalar)> =
            columns.iter().filter(|(id, _)| need.contains(id)).collect();
        let mut wanted: BTreeSet<ColumnId> =
            need.iter().copied().filter(|id| columns.iter().all(|(own, _)| own != id)).collect();
        let kept = wanted.clone();
        wanted.extend(computed.iter().flat_map(|(_, scalar)| scalar.columns.iter().copied()));
        let input = self.relation(input, &wanted)?;
        if computed.is_empty() {
            return Ok(input);
        }
        let (mut exprs, mut shown, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for (at, id) in input.columns.iter().enumerate().filter(|(_, id)| kept.contains(id)) {
            let column = self.columns[input.node][at].clone();
            exprs.push(Expr::Column(at));
            shown.push(column);
            ids.push(*id);
        }
        for (id, scalar) in computed {
            if let Some(fault) = self.planner.refused(*id) {
                return Err(fault);
            }
            exprs.push(self.expr(scalar, &input)?);
            let info = self.planner.info(*id);
            shown.push(self.column(&info.name, &scalar.ty));
            ids.push(*id);
        }
        let label = format!("computed: {}", self.names(&ids));
        let node = Node::Map { input: input.node, exprs, columns: shown };
        Ok(Lowered { node: self.add(node, label), columns: ids })
    }

    fn expand(
        &mut self,
        input: &Relation,
        Expansion { list, series, columns, .. }: &Expansion,
        outer: bool,
        need: &BTreeSet<ColumnId>,
    ) -> Result<Lowered> {
        let mut wanted: BTreeSet<ColumnId> =
            need.iter().copied().filter(|id| !columns.contains(id)).collect();
        wanted.extend(&list.columns);
        let input = self.relation(input, &wanted)?;
        let input = self.pruned(input, &wanted);
        let shown = columns.iter().map(|id| {
            let info = self.planner.info(*id);
            self.column(&info.name, &info.ty)
        });
        let node = Node::Expand {
            input: input.node,
            columns: shown.collect(),
            list: self.expr(list, &input)?,
            series: series.clone(),
            outer,
        };
        let label = format!("rows of {}", self.planner.text.shown(&list.place));
        let ids = input.columns.iter().chain(columns).copied().collect();
        let rows = Lowered { node: self.add(node, label), columns: ids };
        // Not the value itself beside each of its parts.
        Ok(self.pruned(rows, need))
    }

    fn union(
        &mut self,
        inputs: &[(Relation, Vec<ColumnId>)],
        columns: &[ColumnId],
        need: &BTreeSet<ColumnId>,
    ) -> Result<Lowered> {
        let kept: Vec<usize> =
            (0..columns.len()).filter(|at| need.contains(&columns[*at])).collect();
        let names: Vec<String> =
            kept.iter().map(|at| self.planner.info(columns[*at]).name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut nodes = Vec::new();
        for (relation, ids) in inputs {
            let ids: Vec<ColumnId> = kept.iter().map(|at| ids[*at]).collect();
            let input = self.relation(relation, &ids.iter().copied().collect())?;
            nodes.push(self.shown(input, &ids, &names));
        }
        let label = "the rows of all of them".to_owned();
        let node = self.add(Node::Union { inputs: nodes }, label);
        Ok(Lowered { node, columns: kept.iter().map(|at| columns[*at]).collect() })
    }

    fn aggregate(
        &mut self,
        input: &Relation,
        group: &[ColumnId],
        aggregates: &[relation::Aggregate],
        scalar: bool,
        need: &BTreeSet<ColumnId>,
    ) -> Result<Lowered> {
        let aggregates: Vec<&relation::Aggregate> =
            aggregates.iter().filter(|aggregate| need.contains(&aggregate.column)).collect();
        let mut wanted: BTreeSet<ColumnId> = group.iter().copied().collect();
        for aggregate in &aggregates {
            wanted.extend(&aggregate.arguments);
            wanted.extend(aggregate.order.iter().map(|sort| sort.column));
            wanted.extend(aggregate.filter);
        }
        let input = self.relation(input, &wanted)?;
        let input = self.pruned(input, &wanted);
        let of = |aggregate: &&relation::Aggregate| {
            let info = self.planner.info(aggregate.column);
            Aggregate {
                function: aggregate.function,
                arguments: aggregate.arguments.iter().map(|id| input.position(*id)).collect(),
                distinct: aggregate.distinct,
                order: orders(&aggregate.order, &input),
                filter: aggregate.filter.map(|id| input.position(id)),
                column: self.column(&info.name, &info.ty),
            }
        };
        let node = Node::Aggregate {
            input: input.node,
            group: group.iter().map(|id| input.position(*id)).collect(),
            aggregates: aggregates.iter().map(of).collect(),
            scalar,
        };
        let computed: Vec<ColumnId> = aggregates.iter().map(|a| a.column).collect();
        let label = match (scalar, computed.is_empty()) {
            (true, _) => format!("{} of all rows", self.names(&computed)),
            (false, true) => format!("distinct {}", self.names(group)),
            (false, false) => format!("{} of each {}", self.names(&computed), self.names(group)),
        };
        let columns = group.iter().copied().chain(computed).collect();
        Ok(Lowered { node: self.add(node, label), columns })
    }

    /// Without the columns that are not needed, where rows would be kept for them. A table's own rows are
    /// kept anyway, and shared.
    pub(super) fn pruned(&mut self, rows: Lowered, need: &BTreeSet<ColumnId>) -> Lowered {
        let is_table = match &self.nodes[rows.node] {
            Node::Scan { .. } => true,
            Node::Filter { input, .. } => matches!(self.nodes[*input], Node::Scan { .. }),
            _ => false,
        };
        let kept: Vec<ColumnId> =
            rows.columns.iter().copied().filter(|id| need.contains(id)).collect();
        if is_table || kept.len() == rows.columns.len() {
            return rows;
        }
        let names: Vec<String> = kept.iter().map(|id| self.planner.info(*id).name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let node = self.shown(rows, &kept, &names);
        Lowered { node, columns: kept }
    }

    /// These columns in this order, and no others.
    fn shown(&mut self, rows: Lowered, ids: &[ColumnId], names: &[&str]) -> NodeId {
        let named = |(at, name): (&usize, &&str)| Column {
            name: (*name).to_owned(),
            ..self.columns[rows.node][*at].clone()
        };
        let positions: Vec<usize> = ids.iter().map(|id| rows.position(*id)).collect();
        let columns: Vec<Column> = positions.iter().zip(names).map(named).collect();
        if positions.iter().copied().eq(0..rows.columns.len()) && columns == self.columns[rows.node]
        {
            return rows.node;
        }
        let exprs = positions.into_iter().map(Expr::Column).collect();
        let label = format!("columns {}", self.names(ids));
        self.add(Node::Map { input: rows.node, exprs, columns }, label)
    }

    fn expr(&self, scalar: &Scalar, rows: &Lowered) -> Result<Expr> {
        let expr = self.planner.positioned(scalar, &|id| rows.position(id))?;
        Ok(expr.into())
    }

    /// All of the conditions as one; `None` of none.
    pub(super) fn all(&self, conditions: &[&Scalar], rows: &Lowered) -> Result<Option<Expr>> {
        let all = all(conditions.iter().map(|condition| condition.ast.clone()).collect());
        let (Some(ast), Some(first)) = (all, conditions.first()) else { return Ok(None) };
        let scalar = self.planner.scalar(ast, first.place.clone())?;
        self.expr(&scalar, rows).map(Some)
    }

    fn column(&self, name: &str, ty: &Ty) -> Column {
        Column {
            name: name.to_owned(),
            ty: ty.stored.clone(),
            sql_type: ty.to_string(),
            type_oid: ty.oid,
            typmod: ty.typmod,
            not_null: ty.not_null,
        }
    }

    fn names(&self, ids: &[ColumnId]) -> String {
        match ids.is_empty() {
            true => "row".into(),
            false => {
                let names: Vec<String> =
                    ids.iter().map(|id| self.planner.info(*id).written()).collect();
                names.join(", ")
            }
        }
    }
}

fn is_deterministic(ty: &Ty) -> bool {
    !matches!(ty.collation, Collation::Other { deterministic: false } | Collation::Conflict)
}

fn orders(order: &[Sort], rows: &Lowered) -> Vec<Order> {
    let of = |sort: &Sort| Order {
        column: rows.position(sort.column),
        descending: sort.descending,
        nulls_first: sort.nulls_first,
    };
    order.iter().map(of).collect()
}
