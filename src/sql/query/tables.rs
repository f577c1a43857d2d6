//! The tables that a query reads, before the catalog is asked about them.

use std::ops::{ControlFlow, Range};

use sqlparser::ast::{Query, TableFactor, Visit, Visitor};

use super::from::parts;
use super::parse::{self, Text};
use super::planner::Result;
use super::refuse;
use crate::sql::expr::fold_case;

/// A table as a query names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRef {
    pub schema: String,
    pub name: String,
    /// Bytes of the query's text.
    pub span: Range<usize>,
}

/// In the order in which they stand there.
pub fn tables(text: &str) -> Result<Vec<TableRef>> {
    let (query, text) = parse::parse(text)?;
    refuse::query(&query, &text)?;
    let mut search = Search { text: &text, frames: Vec::new(), found: Vec::new() };
    // The visitor never breaks off.
    let _ = query.visit(&mut search);
    Ok(search.found)
}

struct Search<'s> {
    text: &'s Text<'s>,
    /// The queries around.
    frames: Vec<Frame>,
    found: Vec<TableRef>,
}

/// The names of a query's WITH. They are planned in their order, and each sees those before it.
struct Frame {
    names: Vec<String>,
    visible: usize,
}

impl Visitor for Search<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let common = query.with.iter().flat_map(|with| &with.cte_tables);
        let names = common.map(|common| fold_case(&common.alias.name)).collect();
        self.frames.push(Frame { names, visible: 0 });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.frames.pop();
        // The queries of WITH come before all others inside the query around them.
        if let Some(around) = self.frames.last_mut() {
            around.visible += 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, args: None, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let span = self.text.place(name);
        let parts = parts(name);
        let is_common = |name: &String| {
            self.frames.iter().any(|f| f.names.iter().take(f.visible).any(|known| known == name))
        };
        let table = match parts.as_slice() {
            [name] if is_common(name) => None,
            [name] => Some(("public".to_owned(), name.clone())),
            [schema, name] => Some((schema.clone(), name.clone())),
            // Told when it is planned.
            _ => None,
        };
        self.found.extend(table.map(|(schema, name)| TableRef { schema, name, span }));
        ControlFlow::Continue(())
    }
}
