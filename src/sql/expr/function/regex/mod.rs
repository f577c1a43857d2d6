//! Regular expressions: PostgreSQL's own syntax (ARE), as far as it is sure what PostgreSQL would find.
//!
//! ```text
//! pattern --syntax--> tree --certain--> what may be asked of it
//!                       └--> automata --search--> where it matches
//! ```
//!
//! PostgreSQL takes the longest match (the shortest where the expression is not greedy), and divides it among the
//! parentheses from the left. The automata's own preference, the first alternative, is another one: so where a
//! match ends is asked of a search for all ends, and parentheses are asked for where there is one way only.

mod calls;
mod certain;
mod search;
mod similar;
mod syntax;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::super::eval::{EvalError, Result};
use super::super::names::Ctype;
use super::Table;
use search::Regex;

pub(in super::super) use similar::from_similar;

pub(super) fn register(table: &mut Table) {
    calls::register(table);
}

/// What a call wants to know of a match.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Whether,
    /// Where it begins and ends.
    Where,
    /// What the parentheses match as well.
    Groups,
}

/// Patterns that have been read are kept, as far as there are few.
const KEPT_MAX: usize = 100;

type Known = HashMap<(String, bool, Ctype), Rc<std::result::Result<Regex, String>>>;

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// The pattern, ready to be looked for.
fn compiled(pattern: &str, folded: bool, ctype: Ctype) -> Rc<std::result::Result<Regex, String>> {
    KNOWN.with_borrow_mut(|known| {
        let key = (pattern.to_owned(), folded, ctype);
        if let Some(regex) = known.get(&key) {
            return Rc::clone(regex);
        }
        if known.len() >= KEPT_MAX {
            known.clear();
        }
        let regex = Rc::new(Regex::new(pattern, folded, ctype));
        known.insert(key, Rc::clone(&regex));
        regex
    })
}

/// The pattern is not one, or it is not sure what PostgreSQL finds for it.
fn refused(why: impl std::fmt::Display) -> EvalError {
    EvalError::new(format!("regular expression: {why}"))
}

/// Why a call with this constant pattern would always fail.
pub(in super::super) fn check(
    name: &str,
    pattern: &str,
    flags: Option<&str>,
    replacement: Option<&str>,
    ctype: Ctype,
) -> Result<()> {
    let flags = calls::Flags::read(flags.unwrap_or_default())?;
    let folded = flags.folded || name.ends_with('*');
    let regex = compiled(pattern, folded, ctype);
    let regex = regex.as_ref().as_ref().map_err(refused)?;
    regex.answers(calls::asked(name, regex, replacement))
}
