//! The graph of all plans: tables' arrangements at the bottom, projections' outputs at the top, equal
//! nodes shared. Here it is built; `follow` sends changes through it, `fill` computes what it keeps from
//! the tables' rows.

use super::delta::Deltas;
use super::index::{Index, Packed};
use super::operator::{Aggregate, Join, NotIn, Notice, Output, TopN};
use super::row::{Key, RowLayout};
use super::{Arrangement, Entry, TableLayout};
use crate::lsn::Lsn;
use crate::sql::plan::{self, Expr, JoinKind, Plan};
use crate::value::{Column, Type};

/// A source table in the engine's list.
pub type TableId = usize;
/// An arrangement in the engine's list.
pub type ArrangementId = usize;
/// A projection's output in the engine's list.
pub type OutputId = usize;

/// So much waits to be told at most; what comes then is left out.
const TOLD_MAX: usize = 1_000;

/// So many rows go from operator to operator at once.
const CHUNK_ROWS: usize = 4096;

pub struct Engine {
    pub(super) arrangements: Vec<Arrangement>,
    pub(super) tables: Vec<Table>,
    pub(super) nodes: Vec<Node>,
    outputs: Vec<ProjectionOutput>,
    /// For whoever watches; what is withheld is known by `withheld` too.
    pub(super) told: Vec<Told>,
    pub(super) chunk_rows: usize,
    /// The most that was ever on its way to one node.
    #[cfg(test)]
    pub(super) pending_rows_max: usize,
}

pub(super) struct Table {
    layout: TableLayout,
    pub(super) arrangement: ArrangementId,
    pub(super) scan: Option<usize>,
    /// Its rows are not yet those of one position: nothing is made of them.
    pub(super) asleep: bool,
}

pub(super) struct Node {
    /// What tells equal nodes.
    spec: Spec,
    pub(super) layout: RowLayout,
    pub(super) inputs: Vec<usize>,
    pub(super) users: Vec<User>,
    /// What the inputs sent and was not worked off yet; by port.
    pub(super) pending: [Deltas; 2],
    pub(super) operator: Operator,
    /// What it keeps is what its inputs' rows say; before, it takes no changes.
    pub(super) filled: bool,
}

#[derive(Clone, PartialEq)]
enum Spec {
    /// Inputs are positions in `Engine::nodes`.
    Plan(plan::Node),
    Arrange {
        input: usize,
        key: Vec<usize>,
    },
}

/// Who takes a node's rows, and on which side.
#[derive(Clone, Copy)]
pub(super) struct User {
    pub(super) node: usize,
    pub(super) port: usize,
}

pub(super) enum Operator {
    Scan {
        table: TableId,
        pending: Vec<(Entry, i64)>,
        pending_bytes: usize,
    },
    Filter(Expr),
    Map(Vec<Expr>),
    Union,
    Arrange(Arranged),
    Join(Box<Join>),
    NotIn(Box<NotIn>),
    Aggregate(Box<Aggregate>),
    TopN(Box<TopN>),
    Output {
        output: OutputId,
        arrangement: ArrangementId,
        operator: Box<Output>,
    },
    /// It is being run.
    Busy,
}

/// Rows under a key, for joins.
pub(super) enum Arranged {
    /// The table's own arrangement serves.
    Table(TableId),
    /// A table's rows, shared with it.
    Shared {
        key: Key,
        index: Index<Entry>,
    },
    Own {
        key: Key,
        index: Index<Packed>,
    },
}

struct ProjectionOutput {
    arrangement: ArrangementId,
    node: Option<usize>,
    tables: Vec<TableId>,
    columns: Vec<Column>,
    key: Vec<usize>,
}

/// What is to be told of a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub output: OutputId,
    /// The change that brought it about.
    pub lsn: Lsn,
    pub notice: Notice,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            arrangements: Vec::new(),
            tables: Vec::new(),
            nodes: Vec::new(),
            outputs: Vec::new(),
            told: Vec::new(),
            chunk_rows: CHUNK_ROWS,
            #[cfg(test)]
            pending_rows_max: 0,
        }
    }
}

impl Engine {
    pub fn add_table(&mut self, layout: TableLayout) -> TableId {
        let arrangement = self.add_arrangement();
        self.tables.push(Table { layout, arrangement, scan: None, asleep: false });
        self.tables.len() - 1
    }

    fn add_arrangement(&mut self) -> ArrangementId {
        self.arrangements.push(Arrangement::default());
        self.arrangements.len() - 1
    }

    /// Adds a log, of which the store has entries up to this one.
    pub fn add_log(&mut self, last: Option<&Entry>) -> ArrangementId {
        self.arrangements.push(Arrangement::log_after(last));
        self.arrangements.len() - 1
    }

    /// Adds a projection's plan; nodes that are there already are shared. Its output has no rows until
    /// `reconcile` has been called.
    pub fn add_plan(&mut self, plan: &Plan) -> OutputId {
        let mut place: Vec<usize> = Vec::new();
        let mut tables: Vec<TableId> = Vec::new();
        let used = plan.used();
        for (at, node) in plan.nodes.iter().enumerate() {
            if !used[at] {
                // Nobody would ever fill it.
                place.push(usize::MAX);
                continue;
            }
            let id = match node {
                plan::Node::Scan { table } => {
                    if !tables.contains(table) {
                        tables.push(*table);
                    }
                    self.scan(*table)
                }
                plan::Node::Join { left, right, kind, on, residual } => {
                    let on = self.in_identity_order(place[*right], on);
                    let (left_on, right_on): (Vec<_>, Vec<_>) = on.iter().copied().unzip();
                    let left = self.arrange(place[*left], &left_on);
                    let right = self.arrange(place[*right], &right_on);
                    let (kind, residual) = (*kind, residual.clone());
                    self.shared(plan::Node::Join { left, right, kind, on, residual })
                }
                plan::Node::Output { input, key } => {
                    return self.output(place[*input], key, tables);
                }
                node => self.shared(node.clone().over(|input| place[input])),
            };
            place.push(id);
        }
        unreachable!("a plan ends with its output")
    }

    fn scan(&mut self, table: TableId) -> usize {
        if let Some(node) = self.tables[table].scan {
            return node;
        }
        let layout = RowLayout::new(self.tables[table].layout.columns.clone());
        let operator = Operator::Scan { table, pending: Vec::new(), pending_bytes: 0 };
        let node = self.add_node(Spec::Plan(plan::Node::Scan { table }), layout, &[], operator);
        self.nodes[node].filled = true;
        self.tables[table].scan = Some(node);
        node
    }

    /// The node for this part of a plan, whose inputs are positions in `nodes`.
    fn shared(&mut self, node: plan::Node) -> usize {
        let spec = Spec::Plan(node);
        if let Some(at) = self.nodes.iter().position(|node| node.spec == spec) {
            return at;
        }
        let Spec::Plan(node) = &spec else { unreachable!("as made above") };
        let inputs = node.inputs();
        let columns: Vec<&[Column]> =
            inputs.iter().map(|&input| self.nodes[input].layout.columns.as_slice()).collect();
        let layout = RowLayout::new(node.columns(&columns));
        let of = |input: usize| self.nodes[input].layout.clone();
        let operator = match node {
            plan::Node::Filter { condition, .. } => Operator::Filter(condition.clone()),
            plan::Node::Map { exprs, .. } => Operator::Map(exprs.clone()),
            plan::Node::Union { .. } => Operator::Union,
            plan::Node::Join { left, right, kind, on, residual } => {
                let (left_on, right_on): (Vec<_>, Vec<_>) = on.iter().copied().unzip();
                let (left, right) = ((of(*left), &left_on[..]), (of(*right), &right_on[..]));
                match kind {
                    JoinKind::AntiNull => Operator::NotIn(Box::new(NotIn::new(left, right))),
                    kind => {
                        Operator::Join(Box::new(Join::new(*kind, left, right, residual.clone())))
                    }
                }
            }
            plan::Node::Aggregate { input, group, aggregates, scalar } => {
                let aggregate = Aggregate::new(of(*input), group, aggregates, *scalar);
                Operator::Aggregate(Box::new(aggregate))
            }
            plan::Node::TopN { input, partition, order, limit, offset } => {
                let top_n = TopN::new(of(*input), partition, order, *limit, *offset);
                Operator::TopN(Box::new(top_n))
            }
            plan::Node::Scan { .. } | plan::Node::Output { .. } => {
                unreachable!("a plan's ends are made apart")
            }
        };
        self.add_node(spec, layout, &inputs, operator)
    }

    /// A table that is looked up by columns that its identity begins with needs no index, so equalities
    /// are put in the identity's order where they can be.
    fn in_identity_order(&self, right: usize, on: &[(usize, usize)]) -> Vec<(usize, usize)> {
        let mut ordered = on.to_vec();
        if let Operator::Scan { table, .. } = self.nodes[right].operator {
            let identity = &self.tables[table].layout.identity;
            let place = |column| identity.iter().position(|&at| at == column);
            ordered.sort_by_key(|&(_, column)| place(column).unwrap_or(identity.len()));
        }
        ordered
    }

    fn arrange(&mut self, input: usize, key: &[usize]) -> usize {
        let spec = Spec::Arrange { input, key: key.to_vec() };
        if let Some(at) = self.nodes.iter().position(|node| node.spec == spec) {
            return at;
        }
        let layout = self.nodes[input].layout.clone();
        let by = Key::new(&layout, key);
        let arranged = match self.nodes[input].operator {
            Operator::Scan { table, .. } if self.identity_begins_with(table, key) => {
                Arranged::Table(table)
            }
            Operator::Scan { .. } => Arranged::Shared { key: by, index: Index::default() },
            _ => Arranged::Own { key: by, index: Index::default() },
        };
        self.add_node(spec, layout, &[input], Operator::Arrange(arranged))
    }

    /// Whether rows lie side by side in the table's own arrangement when they are equal in these columns.
    fn identity_begins_with(&self, table: TableId, key: &[usize]) -> bool {
        let TableLayout { columns, identity } = &self.tables[table].layout;
        // Of these, equal values may differ in their bytes.
        let is_whole = |&column: &usize| {
            let ty = &columns[column].ty;
            !matches!(
                ty,
                Type::Numeric | Type::Float4 | Type::Float8 | Type::Bpchar | Type::Interval
            )
        };
        !key.is_empty() && identity.starts_with(key) && key.iter().all(is_whole)
    }

    /// A table's own arrangement is the output where the projection is the table under its identity.
    fn output(&mut self, input: usize, key: &[usize], tables: Vec<TableId>) -> OutputId {
        let layout = self.nodes[input].layout.clone();
        let columns = layout.columns.clone();
        let output = self.outputs.len();
        let own_table = match self.nodes[input].operator {
            Operator::Scan { table, .. } if self.tables[table].layout.identity == key => {
                Some(table)
            }
            _ => None,
        };
        let (arrangement, node) = match own_table {
            Some(table) => (self.tables[table].arrangement, None),
            None => {
                let arrangement = self.add_arrangement();
                let operator = Box::new(Output::new(layout.clone(), key.to_vec()));
                let operator = Operator::Output { output, arrangement, operator };
                let spec = Spec::Plan(plan::Node::Output { input, key: key.to_vec() });
                (arrangement, Some(self.add_node(spec, layout, &[input], operator)))
            }
        };
        let key = key.to_vec();
        self.outputs.push(ProjectionOutput { arrangement, node, tables, columns, key });
        output
    }

    fn add_node(
        &mut self,
        spec: Spec,
        layout: RowLayout,
        inputs: &[usize],
        operator: Operator,
    ) -> usize {
        let node = self.nodes.len();
        for (at, &input) in inputs.iter().enumerate() {
            // A join has two sides; all others take rows as they come.
            let port = match operator {
                Operator::Join(_) | Operator::NotIn(_) => at,
                _ => 0,
            };
            self.nodes[input].users.push(User { node, port });
        }
        self.nodes.push(Node {
            spec,
            layout,
            inputs: inputs.to_vec(),
            users: Vec::new(),
            pending: Default::default(),
            operator,
            filled: false,
        });
        node
    }

    pub fn layout(&self, table: TableId) -> &TableLayout {
        &self.tables[table].layout
    }

    pub fn table_arrangement(&self, table: TableId) -> ArrangementId {
        self.tables[table].arrangement
    }

    pub fn output_arrangement(&self, output: OutputId) -> ArrangementId {
        self.outputs[output].arrangement
    }

    pub fn output_columns(&self, output: OutputId) -> &[Column] {
        &self.outputs[output].columns
    }

    pub fn output_key(&self, output: OutputId) -> &[usize] {
        &self.outputs[output].key
    }

    pub fn output_tables(&self, output: OutputId) -> &[TableId] {
        &self.outputs[output].tables
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// `None` where the output is a table's own arrangement.
    pub(super) fn output_node(&self, output: OutputId) -> Option<usize> {
        self.outputs[output].node
    }

    pub fn arrangements(&self) -> &[Arrangement] {
        &self.arrangements
    }

    pub fn arrangement_mut(&mut self, id: ArrangementId) -> &mut Arrangement {
        &mut self.arrangements[id]
    }

    /// What became known of the projections' rows since it was asked last, the first of it.
    pub fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    pub(super) fn tell(told: &mut Vec<Told>, notice: Told) {
        if told.len() < TOLD_MAX {
            told.push(notice);
        }
    }

    /// The node and all that it is made of, inputs first.
    pub(super) fn up_to(&self, node: usize) -> Vec<usize> {
        let mut is_part = vec![false; node + 1];
        is_part[node] = true;
        for at in (0..=node).rev() {
            if is_part[at] {
                self.nodes[at].inputs.iter().for_each(|&input| is_part[input] = true);
            }
        }
        (0..=node).filter(|&at| is_part[at]).collect()
    }
}
