//! A source table as the pipeline follows it: its stage, and how the stream's tuples become its rows.

use hashbrown::HashMap;

use super::machine::TableFacts;
use crate::engine::{self, Leaf, RowBuffer, RowError, TableId, TableLayout};
use crate::pgoutput::{self, Relation, Tuple};

/// What is done with the table's changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// They are applied as they come.
    Live,
    /// They wait in the backlog for the end of the table's load.
    Loading,
    /// The table is no longer what the projections were made for; its last good state stays.
    Quarantined(String),
}

#[derive(Debug, Clone)]
pub struct Table {
    /// As people write it, e.g. `public.orders`.
    pub name: String,
    pub id: TableId,
    pub stage: Stage,
    /// Its rows were once those of one position.
    pub(super) whole: bool,
    /// Rows know their leaf.
    pub partitioned: bool,
    pub(super) facts: TableFacts,
}

/// Where the rows of one relation of the stream go, and its columns among the layout's.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub table: usize,
    pub leaf: Leaf,
    /// For each column of the layout its place in the relation's tuples; `None` until the stream has
    /// described the relation on this connection.
    columns: Option<Columns>,
}

#[derive(Debug, Clone)]
enum Columns {
    /// The layout's columns are the tuple's first ones, in the same order.
    Same,
    At(Vec<usize>),
}

pub(super) type Routes = HashMap<u32, Route>;

impl Route {
    pub(super) fn new(table: usize, leaf: Leaf) -> Self {
        Self { table, leaf, columns: None }
    }

    pub(super) fn is_described(&self) -> bool {
        self.columns.is_some()
    }

    pub(super) fn forget(&mut self) {
        self.columns = None;
    }

    /// Finds the layout's columns in the relation by name and type; says what has become of one that
    /// is not there, or does not name rows any more.
    pub(super) fn describe(
        &mut self,
        relation: &Relation,
        layout: &TableLayout,
    ) -> Result<(), String> {
        let mut at = Vec::with_capacity(layout.columns.len());
        for column in &layout.columns {
            let place = relation.columns.iter().position(|found| found.name == column.name);
            let Some(place) = place else {
                return Err(format!("column {} is gone", column.name));
            };
            let found = relation.columns.get(place).map(|found| found.type_oid);
            if found != Some(column.type_oid) {
                return Err(format!(
                    "column {} is no longer of type {}",
                    column.name, column.sql_type
                ));
            }
            at.push(place);
        }
        // Of an old row the stream brings what the source's replica identity has, and NULLs for the rest:
        // without all of ours no row would be found by it.
        let names_rows = |&of: &usize| relation.columns.get(at[of]).is_some_and(|found| found.key);
        if let Some(of) = layout.identity.iter().find(|of| !names_rows(of)) {
            let name = &layout.columns[*of].name;
            return Err(format!("column {name} is no longer part of the replica identity"));
        }
        let same = at.iter().enumerate().all(|(column, &place)| column == place);
        self.columns = Some(if same { Columns::Same } else { Columns::At(at) });
        Ok(())
    }

    /// Encodes a tuple's row and key into `out`. What the change left as it was is taken from `before`,
    /// where the stream has sent it, else from the row `old`.
    pub(super) fn encode(
        &self,
        tuple: &Tuple<'_>,
        before: Option<&Tuple<'_>>,
        layout: &TableLayout,
        old: Option<&[u8]>,
        out: &mut RowBuffer,
    ) -> Result<(), RowError> {
        match (self.columns.as_ref().expect("described before its first row"), before) {
            (Columns::Same, None) => layout.encode(tuple.cells().map(cell), old, out),
            (Columns::Same, Some(before)) => layout.encode(over(tuple, before), old, out),
            (Columns::At(places), _) => {
                let cells: Vec<_> = match before {
                    None => tuple.cells().map(cell).collect(),
                    Some(before) => over(tuple, before).collect(),
                };
                layout.encode(places.iter().map(|&place| at(&cells, place)), old, out)
            }
        }
    }

    /// The layout's columns that the change left as they were and the stream does not tell.
    pub(super) fn untouched(&self, tuple: &Tuple<'_>, before: Option<&Tuple<'_>>) -> Vec<usize> {
        let cells: Vec<_> = match before {
            None => tuple.cells().map(cell).collect(),
            Some(before) => over(tuple, before).collect(),
        };
        let untold = |place: usize| matches!(cells.get(place), Some(engine::Cell::Unchanged));
        match self.columns.as_ref().expect("described before its first row") {
            Columns::Same => (0..cells.len()).filter(|&place| untold(place)).collect(),
            Columns::At(places) => (0..places.len()).filter(|&at| untold(places[at])).collect(),
        }
    }

    /// Encodes the key alone, of a tuple that may hold nothing but the identity's columns.
    pub(super) fn encode_key(
        &self,
        tuple: &Tuple<'_>,
        layout: &TableLayout,
        key: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        let cells: Vec<_> = tuple.cells().map(cell).collect();
        match self.columns.as_ref().expect("described before its first row") {
            Columns::Same => layout.encode_key(|column| at(&cells, column), key),
            Columns::At(places) => layout.encode_key(|column| at(&cells, places[column]), key),
        }
    }
}

/// The cells of `new`, with the values of `before` where it has any and `new` leaves them out.
fn over<'a>(new: &Tuple<'a>, before: &Tuple<'a>) -> impl Iterator<Item = engine::Cell<'a>> {
    new.cells().zip(before.cells()).map(|(new, before)| match (new, before) {
        (pgoutput::Cell::UnchangedToast, pgoutput::Cell::Text(_)) => cell(before),
        _ => cell(new),
    })
}

/// A tuple that is too short for its relation was refused before; NULL stands for no cell here.
fn at<'a>(cells: &[engine::Cell<'a>], place: usize) -> engine::Cell<'a> {
    cells.get(place).copied().unwrap_or(engine::Cell::Null)
}

fn cell(cell: pgoutput::Cell<'_>) -> engine::Cell<'_> {
    match cell {
        pgoutput::Cell::Null => engine::Cell::Null,
        pgoutput::Cell::UnchangedToast => engine::Cell::Unchanged,
        // Binary columns are never asked for.
        pgoutput::Cell::Text(text) | pgoutput::Cell::Binary(text) => engine::Cell::Text(text),
    }
}
