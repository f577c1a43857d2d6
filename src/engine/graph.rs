//! The graph of all plans: tables' arrangements at the bottom, projections' outputs at the top, equal
//! nodes shared. Here it is built; `follow` sends changes through it, `fill` computes what it keeps from
//! the tables' rows, `access` says how its rows are found.

use std::cell::{Cell, RefCell};

use super::access::{Access, is_whole};
use super::changes::{Changes, Gone};
use super::delta::{Deltas, Sorted};
use super::index::{Index, Packed};
use super::look::Pairing;
use super::operator::{Aggregate, Join, JoinState, NotIn, Notice, Output, TopN};
use super::passing::{Expand, Passing};
use super::pool::Pool;
use super::row::{Key, RowLayout};
use super::{Arrangement, Entry, TableLayout};
use crate::lsn::Lsn;
use crate::sql::plan::{self, Expr, Plan};
use crate::value::Column;

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
    /// The nodes in the order in which they work off what is pending: behind their inputs, and behind what
    /// joins have to be sent before it.
    pub(super) order: Vec<usize>,
    /// What is to be before what else in that order.
    pub(super) precedences: Vec<(usize, usize)>,
    outputs: Vec<ProjectionOutput>,
    /// For whoever watches; what is withheld is known by `withheld` too.
    pub(super) told: RefCell<Vec<Told>>,
    pub(super) chunk_rows: usize,
    /// By table: what is being followed, or waits.
    pub(super) changes: Vec<Changes>,
    /// Counts what was followed.
    pub(super) epoch: u64,
    /// How far `order` has been gone through.
    pub(super) place: Cell<usize>,
    pub(super) pairings: Pool<Pairing>,
    pub(super) passings: Pool<Passing>,
    pub(super) deltas: Pool<Deltas>,
    pub(super) sorts: Pool<Sorted>,
    /// The most that was ever on its way to one node.
    #[cfg(test)]
    pub(super) pending_rows_max: Cell<usize>,
}

pub(super) struct Table {
    pub(super) layout: TableLayout,
    pub(super) arrangement: ArrangementId,
    pub(super) scan: Option<usize>,
    /// Rows under other columns.
    pub(super) indexes: Vec<usize>,
    /// Its rows are not yet those of one position: nothing is made of them.
    pub(super) asleep: bool,
    /// What came and went, one after the other, and is to be followed.
    pub(super) pending: Vec<(Entry, i64)>,
    pub(super) pending_bytes: usize,
}

pub(super) struct Node {
    /// What tells equal nodes.
    pub(super) spec: Spec,
    pub(super) layout: RowLayout,
    /// Who sends it rows.
    pub(super) inputs: Vec<usize>,
    /// Whose rows it looks into.
    pub(super) reads: Vec<usize>,
    pub(super) users: Vec<User>,
    /// What the inputs sent and was not worked off yet; by port.
    pub(super) pending: RefCell<[Deltas; 2]>,
    pub(super) operator: Operator,
    pub(super) state: RefCell<State>,
    /// What it keeps is what its inputs' rows say; before, it takes no changes.
    pub(super) filled: bool,
    /// A join's first side is all there once `order` has been gone through so far.
    pub(super) first_until: usize,
    /// The last epoch in which it worked off a part of what it was sent before the rest was there.
    pub(super) cut_in: Cell<u64>,
}

#[derive(Clone, PartialEq)]
pub(super) enum Spec {
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
    Scan(TableId),
    Filter(Expr),
    Map(Vec<Expr>),
    Expand(Box<Expand>),
    Union,
    Arrange,
    Join(Box<Join>),
    NotIn(Box<NotIn>),
    Aggregate,
    TopN,
    Output(OutputId),
}

/// What an operator keeps. It is borrowed while what hangs on it runs: that only looks at what is above.
pub(super) enum State {
    Nothing,
    Arranged(Arranged),
    Join(JoinState),
    Aggregate(Box<Aggregate>),
    TopN(Box<TopN>),
    Output {
        operator: Box<Output>,
        arrangement: ArrangementId,
        /// Here while changes are followed.
        rows: Arrangement,
    },
}

/// Rows under a key, for joins.
pub(super) enum Arranged {
    /// The table's own arrangement serves. The key is the whole identity, or the beginning of it.
    Table {
        table: TableId,
        whole: bool,
    },
    /// A table's rows, shared with it: those that a filter lets pass, where there is one.
    Shared {
        table: TableId,
        filter: Option<usize>,
        key: Key,
        index: Index<Entry>,
        /// What is followed now has taken from it.
        gone: Gone,
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
            order: Vec::new(),
            precedences: Vec::new(),
            outputs: Vec::new(),
            told: RefCell::default(),
            chunk_rows: CHUNK_ROWS,
            changes: Vec::new(),
            epoch: 0,
            place: Cell::new(0),
            pairings: Pool::default(),
            passings: Pool::default(),
            deltas: Pool::default(),
            sorts: Pool::default(),
            #[cfg(test)]
            pending_rows_max: Cell::new(0),
        }
    }
}

impl Engine {
    pub fn add_table(&mut self, layout: TableLayout) -> TableId {
        let arrangement = self.add_arrangement();
        self.tables.push(Table {
            layout,
            arrangement,
            scan: None,
            indexes: Vec::new(),
            asleep: false,
            pending: Vec::new(),
            pending_bytes: 0,
        });
        self.changes.push(Changes::default());
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
                    let (left, right) = (place[*left], place[*right]);
                    let on = self.in_order_of_keys(left, right, on);
                    let (kind, residual) = (*kind, residual.clone());
                    self.shared(plan::Node::Join { left, right, kind, on, residual })
                }
                plan::Node::Output { input, key } => {
                    let output = self.output(place[*input], key, tables);
                    self.put_in_order();
                    return output;
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
        let spec = Spec::Plan(plan::Node::Scan { table });
        let node = self.add_node(spec, layout, &[], Operator::Scan(table), State::Nothing);
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
        let mut inputs = node.inputs();
        let columns: Vec<&[Column]> =
            inputs.iter().map(|&input| self.nodes[input].layout.columns.as_slice()).collect();
        let layout = RowLayout::new(node.columns(&columns));
        let mut reads = Vec::new();
        let (operator, state) = match node {
            plan::Node::Filter { condition, .. } => {
                (Operator::Filter(condition.clone()), State::Nothing)
            }
            plan::Node::Map { exprs, .. } => (Operator::Map(exprs.clone()), State::Nothing),
            plan::Node::Expand { list, series, outer, columns, .. } => {
                let (list, series) = (list.clone(), series.clone());
                let expand = Expand { list, series, outer: *outer, width: columns.len() };
                (Operator::Expand(Box::new(expand)), State::Nothing)
            }
            plan::Node::Union { .. } => (Operator::Union, State::Nothing),
            plan::Node::Join { left, right, kind, on, residual } => {
                let joined = self.join((*left, *right), *kind, on, residual.as_ref());
                inputs = joined.inputs.into();
                reads = joined.reads;
                (joined.operator, joined.state)
            }
            plan::Node::Aggregate { input, group, aggregates, scalar } => {
                let lists = match Aggregate::lists(aggregates) {
                    true => self.lists(*input, group),
                    false if Aggregate::orders(aggregates) => self.found_anyway(*input, group),
                    false => None,
                };
                lists.iter().for_each(|access| access.reads(&mut reads));
                let layout = self.nodes[*input].layout.clone();
                let aggregate = Aggregate::new(layout, group, aggregates, *scalar, lists);
                (Operator::Aggregate, State::Aggregate(Box::new(aggregate)))
            }
            plan::Node::TopN { input, partition, order, limit, offset } => {
                let layout = self.nodes[*input].layout.clone();
                let top_n = TopN::new(layout, partition, order, *limit, *offset);
                (Operator::TopN, State::TopN(Box::new(top_n)))
            }
            plan::Node::Scan { .. } | plan::Node::Output { .. } => {
                unreachable!("a plan's ends are made apart")
            }
        };
        let at = self.add_node(spec, layout, &inputs, operator, state);
        self.nodes[at].reads = reads;
        at
    }

    /// How the rows of a group are found, where nothing more has to be kept for that.
    fn found_anyway(&mut self, input: usize, group: &[usize]) -> Option<Access> {
        let known = self.nodes.len();
        let found = self.lists(input, group);
        if self.nodes.len() == known {
            return found;
        }
        self.nodes.truncate(known);
        self.nodes.iter_mut().for_each(|node| node.users.retain(|user| user.node < known));
        self.tables.iter_mut().for_each(|table| table.indexes.retain(|&index| index < known));
        None
    }

    /// A table that is looked up by columns that its identity begins with needs no index, nor do groups by
    /// the first of theirs; so equalities are put in that order where they can be.
    fn in_order_of_keys(
        &self,
        left: usize,
        right: usize,
        on: &[(usize, usize)],
    ) -> Vec<(usize, usize)> {
        let mut ordered = on.to_vec();
        for (node, side) in [(left, 0), (right, 1)] {
            let key: Vec<usize> = match &self.nodes[node].spec {
                Spec::Plan(plan::Node::Scan { table }) => {
                    self.tables[*table].layout.identity.clone()
                }
                Spec::Plan(plan::Node::Aggregate { group, .. }) => (0..group.len()).collect(),
                _ => continue,
            };
            let of = |&(left, right): &(usize, usize)| if side == 0 { left } else { right };
            let place = |pair: &(usize, usize)| key.iter().position(|&at| at == of(pair));
            ordered.sort_by_key(|pair| place(pair).unwrap_or(key.len()));
        }
        ordered
    }

    pub(super) fn arrange(&mut self, input: usize, key: &[usize]) -> usize {
        let spec = Spec::Arrange { input, key: key.to_vec() };
        if let Some(at) = self.nodes.iter().position(|node| node.spec == spec) {
            return at;
        }
        let layout = self.nodes[input].layout.clone();
        let by = Key::new(&layout, key);
        let arranged = match self.table_of(input) {
            Some((table, None)) if self.identity_begins_with(table, key) => {
                let whole = self.tables[table].layout.identity == key;
                Arranged::Table { table, whole }
            }
            Some((table, filter)) => {
                let (index, gone) = Default::default();
                Arranged::Shared { table, filter, key: by, index, gone }
            }
            None => Arranged::Own { key: by, index: Index::default() },
        };
        let table = match arranged {
            Arranged::Table { table, .. } | Arranged::Shared { table, .. } => Some(table),
            Arranged::Own { .. } => None,
        };
        // An index of a table is brought to its changes with it; others are sent their rows.
        let inputs = if table.is_some() { &[][..] } else { &[input] };
        let state = State::Arranged(arranged);
        let at = self.add_node(spec, layout, inputs, Operator::Arrange, state);
        if let Some(table) = table {
            self.nodes[at].reads.push(input);
            self.tables[table].indexes.push(at);
        }
        at
    }

    /// The table whose rows these are, and what filters them.
    pub(super) fn table_of(&self, at: usize) -> Option<(TableId, Option<usize>)> {
        match self.nodes[at].operator {
            Operator::Scan(table) => Some((table, None)),
            Operator::Filter(_) => match self.nodes[self.nodes[at].inputs[0]].operator {
                Operator::Scan(table) => Some((table, Some(at))),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether rows lie side by side in the table's own arrangement when they are equal in these columns.
    pub(super) fn identity_begins_with(&self, table: TableId, key: &[usize]) -> bool {
        let TableLayout { columns, identity } = &self.tables[table].layout;
        identity.starts_with(key) && key.iter().all(|&column| is_whole(&columns[column].ty))
    }

    /// A table's own arrangement is the output where the projection is the table under its identity.
    fn output(&mut self, input: usize, key: &[usize], tables: Vec<TableId>) -> OutputId {
        let layout = self.nodes[input].layout.clone();
        let columns = layout.columns.clone();
        let output = self.outputs.len();
        let own_table = match self.nodes[input].operator {
            Operator::Scan(table) if self.tables[table].layout.identity == key => Some(table),
            _ => None,
        };
        let (arrangement, node) = match own_table {
            Some(table) => (self.tables[table].arrangement, None),
            None => {
                let arrangement = self.add_arrangement();
                let operator = Box::new(Output::new(layout.clone(), key.to_vec()));
                let state = State::Output { operator, arrangement, rows: Arrangement::default() };
                let spec = Spec::Plan(plan::Node::Output { input, key: key.to_vec() });
                let operator = Operator::Output(output);
                (arrangement, Some(self.add_node(spec, layout, &[input], operator, state)))
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
        state: State,
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
            reads: Vec::new(),
            users: Vec::new(),
            pending: RefCell::default(),
            operator,
            state: RefCell::new(state),
            filled: false,
            first_until: 0,
            cut_in: Cell::new(0),
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
        self.told.take()
    }

    pub(super) fn tell(&self, notice: Told) {
        let mut told = self.told.borrow_mut();
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
                let Node { inputs, reads, .. } = &self.nodes[at];
                inputs.iter().chain(reads).for_each(|&input| is_part[input] = true);
            }
        }
        (0..=node).filter(|&at| is_part[at]).collect()
    }
}
