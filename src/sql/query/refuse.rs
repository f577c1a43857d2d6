//! What sqlparser reads and PostgreSQL does not have, and what PostgreSQL has and is not maintained.

use std::ops::ControlFlow;

use sqlparser::ast::{
    GroupByExpr, Query, Select, SelectFlavor, SelectItem, SetExpr, TableFactor, Visit, Visitor,
    WildcardAdditionalOptions,
};

use super::Fault;
use super::parse::Text;
use super::planner::Result;
use super::set_function::SetFunction;

pub(super) fn query(query: &Query, text: &Text<'_>) -> Result<()> {
    match query.visit(&mut Refuse { text }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(fault) => Err(*fault),
    }
}

struct Refuse<'r> {
    text: &'r Text<'r>,
}

type Step = ControlFlow<Box<Fault>>;

impl Visitor for Refuse<'_> {
    type Break = Box<Fault>;

    fn pre_visit_query(&mut self, query: &Query) -> Step {
        step(self.of_query(query))
    }

    fn pre_visit_select(&mut self, select: &Select) -> Step {
        step(self.of_select(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Step {
        step(self.of_factor(factor))
    }
}

fn step(result: Result<()>) -> Step {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(fault) => ControlFlow::Break(Box::new(fault)),
    }
}

fn refuse(what: &str, hint: &str, at: std::ops::Range<usize>) -> Result<()> {
    Err(Fault::new(what).hint(hint).at(at))
}

const FOREIGN: &str = "this is not PostgreSQL's";

impl Refuse<'_> {
    fn of_query(&self, query: &Query) -> Result<()> {
        let body = self.text.place(&*query.body);
        let word = |word: &str| self.text.words(word, body.end);
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            let at = self.text.words("RECURSIVE", 0);
            return refuse("WITH RECURSIVE is not supported", "write the levels as joins", at);
        }
        if !query.locks.is_empty() {
            return refuse(
                "FOR UPDATE and FOR SHARE lock rows of the source",
                "leave it out",
                word("FOR"),
            );
        }
        let foreign = query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        if foreign {
            return refuse(FOREIGN, "", body);
        }
        match &*query.body {
            SetExpr::Select(_)
            | SetExpr::Query(_)
            | SetExpr::SetOperation { .. }
            | SetExpr::Values(_) => Ok(()),
            SetExpr::Table(_) => refuse("TABLE is not supported", "write SELECT * FROM", body),
            _ => refuse("a query that changes rows is no read model", "write a SELECT", body),
        }
    }

    fn of_select(&self, select: &Select) -> Result<()> {
        let at = self.text.place(select);
        let word = |word: &str| self.text.words(word, at.start);
        if select.into.is_some() {
            let hint = "leave it out: the targets of the projection say where its rows go";
            return refuse("SELECT INTO makes a table", hint, word("INTO"));
        }
        if !select.named_window.is_empty() {
            return refuse(
                "window functions are not supported",
                "write an aggregate with GROUP BY, or LATERAL (SELECT … ORDER BY … LIMIT n)",
                word("WINDOW"),
            );
        }
        let modified = match &select.group_by {
            GroupByExpr::All(_) => true,
            GroupByExpr::Expressions(_, modifiers) => !modifiers.is_empty(),
        };
        if modified {
            let hint = "name the expressions; make a projection of each grouping";
            return refuse("this GROUP BY is not supported", hint, word("GROUP BY"));
        }
        let foreign = select.top.is_some()
            || select.exclude.is_some()
            || !select.lateral_views.is_empty()
            || select.prewhere.is_some()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty()
            || select.qualify.is_some()
            || select.value_table_mode.is_some()
            || select.select_modifiers.is_some()
            || select.flavor != SelectFlavor::Standard
            || select.projection.iter().any(has_options);
        if foreign {
            return refuse(FOREIGN, "", at);
        }
        Ok(())
    }

    fn of_factor(&self, factor: &TableFactor) -> Result<()> {
        let at = self.text.place(factor);
        let function = |name: String| {
            refuse(
                &format!("the function {name} in FROM is not supported"),
                "there are unnest, and jsonb_array_elements, jsonb_each and jsonb_object_keys",
                at.clone(),
            )
        };
        if let Some(called) = SetFunction::of(factor) {
            return called.refuse(at);
        }
        match factor {
            TableFactor::TableFunction { .. } | TableFactor::JsonTable { .. } => {
                function("TABLE".into())
            }
            TableFactor::Table { sample: Some(_), .. }
            | TableFactor::Derived { sample: Some(_), .. } => {
                let at = self.text.words("TABLESAMPLE", at.start);
                refuse("TABLESAMPLE gives other rows each time", "leave it out", at)
            }
            TableFactor::Table {
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                index_hints,
                ..
            } if !with_hints.is_empty()
                || version.is_some()
                || *with_ordinality
                || !partitions.is_empty()
                || json_path.is_some()
                || !index_hints.is_empty() =>
            {
                refuse(FOREIGN, "", at)
            }
            TableFactor::Table { .. }
            | TableFactor::Derived { .. }
            | TableFactor::NestedJoin { .. } => Ok(()),
            _ => refuse(FOREIGN, "", at),
        }
    }
}

fn has_options(item: &SelectItem) -> bool {
    let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) = item else {
        return matches!(item, SelectItem::ExprWithAliases { .. });
    };
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    opt_ilike.is_some()
        || opt_exclude.is_some()
        || opt_except.is_some()
        || opt_replace.is_some()
        || opt_rename.is_some()
        || opt_alias.is_some()
}
