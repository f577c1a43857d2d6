//! `to_char`: times and numbers by a pattern.

mod number;
mod time;

use super::Table;

pub(super) fn register(table: &mut Table) {
    time::register(table);
    number::register(table);
}
