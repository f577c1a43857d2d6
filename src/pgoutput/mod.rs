//! Logical replication as bytes: CopyBoth messages in, row changes with their positions out.
//!
//! `frame` cuts what was read into XLogData and keepalives, `message` reads one pgoutput message
//! (protocol 1), `relation` keeps what a RELATION message said, `transaction` holds the messages
//! against the grammar of the stream and gives each change its place in it.
//!
//! Everything borrows from the read buffer and is sans-I/O. Bytes come from outside, so whatever
//! they are, the answer is a value or a [`DecodeError`], never a panic, and nothing is allocated by
//! what a length or a count in them claims.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod error;
mod frame;
mod message;
mod read;
mod relation;
mod transaction;
mod tuple;

pub use error::{DecodeError, Fault};
pub use frame::{Frame, Frames, MESSAGE_BYTES_MAX, complete_prefix, frames};
pub use message::{Before, Change, Message, Relations, decode};
pub use relation::{ColumnRef, ColumnRefs, Relation, RelationColumn, RelationRef, ReplicaIdentity};
pub use transaction::{Event, Inside, Position, TransactionError, Transactions};
pub use tuple::{Cell, Cells, Tuple};
