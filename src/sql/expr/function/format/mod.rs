//! `to_char`, `to_date`, `to_timestamp`: times and numbers by a pattern.

mod number;
mod read;
mod time;

use super::Table;

pub(super) fn register(table: &mut Table) {
    time::register(table);
    number::register(table);
    read::register(table);
}
