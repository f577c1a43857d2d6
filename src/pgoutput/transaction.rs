//! The stream as transactions: holds messages against the grammar of protocol 1, gives each change
//! its place, and leaves out what was already done.
//!
//! ```text
//! stream      = (transaction | RELATION | TYPE | MESSAGE)*
//! transaction = BEGIN (ORIGIN | RELATION | TYPE | MESSAGE | INSERT | UPDATE | DELETE | TRUNCATE)* COMMIT
//! ```
//!
//! Transactions arrive whole and in the order of their commit records. One `Transactions` serves
//! one connection: a new walsender describes each relation anew before its first row.
//!
//! Its memory is one [`Relation`] for each table that the connection has met.

use std::sync::Arc;

use hashbrown::HashMap;

use super::message::{Change, Message};
use super::relation::Relation;
use super::tuple::Tuple;
use crate::lsn::Lsn;

/// How far the stream has been worked off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Every transaction whose commit record starts before it is done.
    pub lsn: Lsn,
    /// The first changes of the next transaction are done too.
    pub inside: Option<Inside>,
}

/// The first `changes` changes of the transaction with this commit record are done, its messages counted
/// as changes. The slot sends the same ones in the same order again as long as its publication stays as it
/// is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inside {
    pub commit_lsn: Lsn,
    pub changes: u64,
}

/// What the stream says that has not been done yet. `commit_lsn` is where the transaction's commit
/// record starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    Begin {
        commit_lsn: Lsn,
        commit_time: i64,
        xid: u32,
    },
    /// Comes for transactions that are done as well, and again whenever the server thinks that the
    /// table may have changed, be it equal or not.
    Relation(Arc<Relation>),
    /// `ordinal` is the change's place in its transaction, from 1, a TRUNCATE of several tables
    /// being one change: after it the position is `Inside { commit_lsn, changes: ordinal }`.
    Change {
        commit_lsn: Lsn,
        ordinal: u64,
        change: Change<'a>,
    },
    /// `in_transaction` says of which transaction, and which place it has there, counted with the
    /// changes; `None` for a message that was written outside of transactions.
    Message {
        in_transaction: Option<Inside>,
        lsn: Lsn,
        prefix: &'a str,
        content: &'a [u8],
    },
    /// After it the position's `lsn` is `end_lsn`, with nothing `inside`.
    Commit {
        commit_lsn: Lsn,
        end_lsn: Lsn,
        commit_time: i64,
    },
}

/// Messages that are each well-formed but cannot follow one another: the stream is not what the
/// protocol says, or not the one that the position was taken from. Nothing can be applied after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    #[error("{message} outside of a transaction")]
    Outside { message: &'static str },
    #[error("transaction {new} begins inside transaction {open}")]
    Nested { open: Lsn, new: Lsn },
    #[error("transaction {commit_lsn} ends as {said}")]
    OtherCommit { commit_lsn: Lsn, said: Lsn },
    #[error("transaction {commit_lsn} ends at {end_lsn}, before its own commit record")]
    EndsBeforeCommit { commit_lsn: Lsn, end_lsn: Lsn },
    #[error("transaction {commit_lsn} comes after the end of the stream's last one, {last_end}")]
    Backwards { commit_lsn: Lsn, last_end: Lsn },
    #[error("transaction {commit_lsn}: change {ordinal} is of relation {oid}, never described")]
    UnknownRelation { commit_lsn: Lsn, ordinal: u64, oid: u32 },
    #[error(
        "transaction {commit_lsn}: change {ordinal} has {cells} columns, its table {schema}.{table} has {columns}"
    )]
    ColumnCount {
        commit_lsn: Lsn,
        ordinal: u64,
        schema: String,
        table: String,
        cells: usize,
        columns: usize,
    },
    #[error(
        "transaction {expected} was left after {changes} changes, the stream goes on with {commit_lsn}"
    )]
    Missing { expected: Lsn, changes: u64, commit_lsn: Lsn },
    #[error("transaction {commit_lsn} was left after {changes} changes, now it has only {now}")]
    Shrunk { commit_lsn: Lsn, changes: u64, now: u64 },
}

/// The state of one connection's stream.
pub struct Transactions {
    /// Transactions whose commit record starts before it are done.
    done: Lsn,
    /// Where the work goes on inside a transaction, until that transaction begins.
    inside: Option<Inside>,
    relations: HashMap<u32, Arc<Relation>>,
    open: Option<Open>,
    last_end: Lsn,
}

struct Open {
    commit_lsn: Lsn,
    changes: u64,
    /// So many of the changes are done; `u64::MAX` says that the transaction is.
    done: u64,
}

impl Open {
    fn is_done(&self) -> bool {
        self.done == u64::MAX
    }
}

impl Transactions {
    pub fn new(resume: Position) -> Self {
        // Changes are done in the order of commits: whoever has met one transaction has done all
        // before it, and one before `lsn` is done whatever `inside` says of it.
        let inside = resume.inside.filter(|inside| inside.commit_lsn >= resume.lsn);
        Self {
            done: inside.map_or(resume.lsn, |inside| inside.commit_lsn),
            inside,
            relations: HashMap::new(),
            open: None,
            last_end: Lsn::ZERO,
        }
    }

    /// The table as it was described last on this connection.
    pub fn relation(&self, oid: u32) -> Option<&Arc<Relation>> {
        self.relations.get(&oid)
    }

    /// Takes the next message of the stream; `None` when there is nothing to do for it.
    pub fn step<'a>(
        &mut self,
        message: Message<'a>,
    ) -> Result<Option<Event<'a>>, TransactionError> {
        match message {
            Message::Change(change) => self.change(change),
            Message::Begin { final_lsn, commit_time, xid } => {
                self.begin(final_lsn, commit_time, xid)
            }
            Message::Commit { commit_lsn, end_lsn, commit_time } => {
                self.commit(commit_lsn, end_lsn, commit_time)
            }
            Message::Relation(relation) => {
                let relation = Arc::new(Relation::from(relation));
                self.relations.insert(relation.oid, Arc::clone(&relation));
                Ok(Some(Event::Relation(relation)))
            }
            // Values are known by their types' oids, from the catalog.
            Message::Type { .. } => Ok(None),
            // Rows count, wherever they were first written.
            Message::Origin { .. } => self.open("ORIGIN").map(|_| None),
            Message::LogicalMessage { transactional: true, lsn, prefix, content } => {
                let open = self.open("transactional MESSAGE")?;
                open.changes += 1;
                let Open { commit_lsn, changes, done } = *open;
                let in_transaction = Some(Inside { commit_lsn, changes });
                let event = Event::Message { in_transaction, lsn, prefix, content };
                Ok((changes > done).then_some(event))
            }
            Message::LogicalMessage { transactional: false, lsn, prefix, content } => {
                let done = lsn < self.done;
                let in_transaction = None;
                Ok((!done).then_some(Event::Message { in_transaction, lsn, prefix, content }))
            }
        }
    }

    fn begin<'a>(
        &mut self,
        commit_lsn: Lsn,
        commit_time: i64,
        xid: u32,
    ) -> Result<Option<Event<'a>>, TransactionError> {
        if let Some(open) = &self.open {
            return Err(TransactionError::Nested { open: open.commit_lsn, new: commit_lsn });
        }
        if commit_lsn < self.last_end {
            return Err(TransactionError::Backwards { commit_lsn, last_end: self.last_end });
        }
        let done = if commit_lsn < self.done {
            u64::MAX
        } else {
            match self.inside.take() {
                Some(inside) if inside.commit_lsn == commit_lsn => inside.changes,
                Some(Inside { commit_lsn: expected, changes }) => {
                    return Err(TransactionError::Missing { expected, changes, commit_lsn });
                }
                None => 0,
            }
        };
        let open = Open { commit_lsn, changes: 0, done };
        let event = (!open.is_done()).then_some(Event::Begin { commit_lsn, commit_time, xid });
        self.open = Some(open);
        Ok(event)
    }

    fn commit<'a>(
        &mut self,
        commit_lsn: Lsn,
        end_lsn: Lsn,
        commit_time: i64,
    ) -> Result<Option<Event<'a>>, TransactionError> {
        let open = self.open("COMMIT")?;
        if open.commit_lsn != commit_lsn {
            return Err(TransactionError::OtherCommit {
                commit_lsn: open.commit_lsn,
                said: commit_lsn,
            });
        }
        if end_lsn <= commit_lsn {
            return Err(TransactionError::EndsBeforeCommit { commit_lsn, end_lsn });
        }
        let is_done = open.is_done();
        if !is_done && open.changes < open.done {
            return Err(TransactionError::Shrunk {
                commit_lsn,
                changes: open.done,
                now: open.changes,
            });
        }
        self.open = None;
        self.last_end = end_lsn;
        Ok((!is_done).then_some(Event::Commit { commit_lsn, end_lsn, commit_time }))
    }

    fn change<'a>(&mut self, change: Change<'a>) -> Result<Option<Event<'a>>, TransactionError> {
        let open = self.open(match change {
            Change::Insert { .. } => "INSERT",
            Change::Update { .. } => "UPDATE",
            Change::Delete { .. } => "DELETE",
            Change::Truncate { .. } => "TRUNCATE",
        })?;
        open.changes += 1;
        let Open { commit_lsn, changes: ordinal, done } = *open;
        match change {
            Change::Insert { relation, new } => {
                self.fits(commit_lsn, ordinal, relation, [Some(new), None])?;
            }
            Change::Update { relation, before, new } => {
                let before = before.map(|before| before.tuple());
                self.fits(commit_lsn, ordinal, relation, [before, Some(new)])?;
            }
            Change::Delete { relation, before } => {
                self.fits(commit_lsn, ordinal, relation, [Some(before.tuple()), None])?;
            }
            Change::Truncate { relations, .. } => {
                for oid in relations.iter() {
                    self.fits(commit_lsn, ordinal, oid, [None, None])?;
                }
            }
        }
        Ok((ordinal > done).then_some(Event::Change { commit_lsn, ordinal, change }))
    }

    /// The tuples belong to a relation that is known and has as many columns.
    fn fits(
        &self,
        commit_lsn: Lsn,
        ordinal: u64,
        oid: u32,
        tuples: [Option<Tuple<'_>>; 2],
    ) -> Result<(), TransactionError> {
        let Some(relation) = self.relations.get(&oid) else {
            return Err(TransactionError::UnknownRelation { commit_lsn, ordinal, oid });
        };
        match tuples.into_iter().flatten().find(|tuple| tuple.len() != relation.columns.len()) {
            None => Ok(()),
            Some(tuple) => Err(TransactionError::ColumnCount {
                commit_lsn,
                ordinal,
                schema: relation.schema.clone(),
                table: relation.name.clone(),
                cells: tuple.len(),
                columns: relation.columns.len(),
            }),
        }
    }

    fn open(&mut self, message: &'static str) -> Result<&mut Open, TransactionError> {
        self.open.as_mut().ok_or(TransactionError::Outside { message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pgoutput::decode;

    const TABLE: u32 = 7;

    /// Bodies of messages that need some bytes of their own; all changes are of `TABLE`, which has
    /// one column.
    fn relation() -> Message<'static> {
        decode(b"R\0\0\0\x07s\0t\0d\0\x01\x01id\0\0\0\0\x17\xff\xff\xff\xff").expect("relation")
    }
    fn insert() -> Message<'static> {
        decode(b"I\0\0\0\x07N\0\x01n").expect("insert")
    }
    fn truncate() -> Message<'static> {
        decode(b"T\0\0\0\x02\0\0\0\0\x07\0\0\0\x07").expect("truncate")
    }
    fn note(transactional: bool, lsn: u64) -> Message<'static> {
        Message::LogicalMessage { transactional, lsn: Lsn(lsn), prefix: "p", content: b"" }
    }
    fn begin(lsn: u64) -> Message<'static> {
        Message::Begin { final_lsn: Lsn(lsn), commit_time: 5, xid: 6 }
    }
    fn commit(lsn: u64, end: u64) -> Message<'static> {
        Message::Commit { commit_lsn: Lsn(lsn), end_lsn: Lsn(end), commit_time: 5 }
    }

    /// The events in short: `B100`, `R7`, `100/1`, `M`, `C108`; a refusal ends them.
    fn play(resume: Position, messages: &[Message<'static>]) -> String {
        let mut stream = Transactions::new(resume);
        let mut told = Vec::new();
        for message in messages {
            match stream.step(*message) {
                Ok(None) => {}
                Ok(Some(Event::Begin { commit_lsn, .. })) => {
                    told.push(format!("B{}", commit_lsn.0))
                }
                Ok(Some(Event::Relation(relation))) => told.push(format!("R{}", relation.oid)),
                Ok(Some(Event::Change { commit_lsn, ordinal, .. })) => {
                    told.push(format!("{}/{ordinal}", commit_lsn.0));
                }
                Ok(Some(Event::Message { lsn, .. })) => told.push(format!("M{}", lsn.0)),
                Ok(Some(Event::Commit { end_lsn, .. })) => told.push(format!("C{}", end_lsn.0)),
                Err(error) => {
                    told.push(error.to_string());
                    break;
                }
            }
        }
        told.join(" ")
    }

    fn from_start(messages: &[Message<'static>]) -> String {
        play(Position::default(), messages)
    }

    fn at(lsn: u64, inside: Option<(u64, u64)>) -> Position {
        let inside = inside.map(|(lsn, changes)| Inside { commit_lsn: Lsn(lsn), changes });
        Position { lsn: Lsn(lsn), inside }
    }

    fn two_transactions() -> Vec<Message<'static>> {
        vec![
            begin(100),
            relation(),
            insert(),
            insert(),
            commit(100, 108),
            note(false, 110),
            begin(200),
            note(true, 190),
            insert(),
            truncate(),
            note(true, 195),
            insert(),
            commit(200, 208),
        ]
    }

    #[test]
    fn every_change_has_its_place() {
        assert_eq!(
            from_start(&two_transactions()),
            "B100 R7 100/1 100/2 C108 M110 B200 M190 200/2 200/3 M195 200/5 C208"
        );
    }

    #[test]
    fn events_carry_what_the_messages_said() {
        let mut stream = Transactions::new(Position::default());
        assert_eq!(
            stream.step(begin(100)),
            Ok(Some(Event::Begin { commit_lsn: Lsn(100), commit_time: 5, xid: 6 }))
        );
        let Ok(Some(Event::Relation(described))) = stream.step(relation()) else { panic!() };
        assert_eq!((described.schema.as_str(), described.name.as_str()), ("s", "t"));
        assert_eq!(stream.relation(TABLE), Some(&described));
        assert_eq!(stream.relation(8), None);
        let Message::Change(change) = insert() else { panic!() };
        assert_eq!(
            stream.step(insert()),
            Ok(Some(Event::Change { commit_lsn: Lsn(100), ordinal: 1, change }))
        );
        assert_eq!(
            stream.step(note(true, 90)),
            Ok(Some(Event::Message {
                in_transaction: Some(Inside { commit_lsn: Lsn(100), changes: 2 }),
                lsn: Lsn(90),
                prefix: "p",
                content: b""
            }))
        );
        assert_eq!(
            stream.step(commit(100, 108)),
            Ok(Some(Event::Commit { commit_lsn: Lsn(100), end_lsn: Lsn(108), commit_time: 5 }))
        );
    }

    #[test]
    fn what_was_done_is_left_out_but_relations() {
        let messages = two_transactions();
        // A commit record that starts at the position is not before it.
        assert!(play(at(100, None), &messages).starts_with("B100 R7 100/1"));
        let second = "R7 M110 B200 M190 200/2 200/3 M195 200/5 C208";
        assert_eq!(play(at(101, None), &messages), second);
        assert_eq!(play(at(108, None), &messages), second);
        assert_eq!(play(at(111, None), &messages), second.replace("M110 ", ""));
        assert_eq!(play(at(208, None), &messages), "R7");
    }

    #[test]
    fn a_transaction_goes_on_after_the_changes_that_were_done() {
        let messages = two_transactions();
        for (changes, left) in [
            (0, "M190 200/2 200/3 M195 200/5 "),
            (1, "200/2 200/3 M195 200/5 "),
            (2, "200/3 M195 200/5 "),
            (3, "M195 200/5 "),
            (4, "200/5 "),
            (5, ""),
        ] {
            let rest = format!("R7 B200 {left}C208");
            for lsn in [108, 200, 0] {
                let inside = Some(Inside { commit_lsn: Lsn(200), changes });
                let resume = Position { lsn: Lsn(lsn), inside };
                assert_eq!(play(resume, &messages), rest, "{resume:?}");
            }
        }
        // The position has moved past the transaction since.
        let stale = Some(Inside { commit_lsn: Lsn(100), changes: 1 });
        assert_eq!(play(Position { lsn: Lsn(208), inside: stale }, &messages), "R7");
    }

    #[test]
    fn resuming_anywhere_gives_each_change_once() {
        let messages = two_transactions();
        let whole = from_start(&messages);
        let changes = |told: &str| -> Vec<String> {
            told.split(' ').filter(|word| word.contains('/')).map(str::to_owned).collect()
        };
        // Stop after each event, take the position that its documentation names, and go on.
        let mut position = Position::default();
        let mut stream = Transactions::new(position);
        let mut seen = Vec::new();
        for message in &messages {
            match stream.step(*message).expect("grammar") {
                Some(Event::Change { commit_lsn, ordinal, .. }) => {
                    seen.push(format!("{}/{ordinal}", commit_lsn.0));
                    position.inside = Some(Inside { commit_lsn, changes: ordinal });
                }
                Some(Event::Commit { end_lsn, .. }) => {
                    position = Position { lsn: end_lsn, inside: None };
                }
                _ => {}
            }
            let mut all = seen.clone();
            all.extend(changes(&play(position, &messages)));
            assert_eq!(all, changes(&whole), "{position:?}");
        }
    }

    #[test]
    fn a_stream_other_than_the_position_is_refused() {
        let messages = two_transactions();
        assert_eq!(
            play(at(120, Some((150, 3))), &messages),
            "R7 transaction 0/96 was left after 3 changes, the stream goes on with 0/C8"
        );
        assert_eq!(
            play(at(200, Some((200, 6))), &messages),
            "R7 B200 transaction 0/C8 was left after 6 changes, now it has only 5"
        );
    }

    #[test]
    fn the_grammar_is_held() {
        for (message, name) in [
            (insert(), "INSERT"),
            (truncate(), "TRUNCATE"),
            (note(true, 1), "transactional MESSAGE"),
            (Message::Origin { lsn: Lsn(1), name: "o" }, "ORIGIN"),
            (commit(1, 2), "COMMIT"),
        ] {
            assert_eq!(from_start(&[message]), format!("{name} outside of a transaction"));
        }
        assert_eq!(
            from_start(&[begin(1), begin(2)]),
            "B1 transaction 0/2 begins inside transaction 0/1"
        );
        assert_eq!(from_start(&[begin(1), commit(2, 3)]), "B1 transaction 0/1 ends as 0/2");
        assert_eq!(
            from_start(&[begin(16), commit(16, 16)]),
            "B16 transaction 0/10 ends at 0/10, before its own commit record"
        );
        assert_eq!(
            from_start(&[begin(1), commit(1, 9), begin(9), commit(9, 12), begin(11)]),
            "B1 C9 B9 C12 transaction 0/B comes after the end of the stream's last one, 0/C"
        );
        // Also among those that are done.
        assert_eq!(
            play(at(50, None), &[begin(9), commit(9, 12), begin(11)]),
            "transaction 0/B comes after the end of the stream's last one, 0/C"
        );
    }

    #[test]
    fn rows_must_fit_their_relation() {
        assert_eq!(
            from_start(&[begin(1), insert()]),
            "B1 transaction 0/1: change 1 is of relation 7, never described"
        );
        let truncate_unknown = decode(b"T\0\0\0\x02\0\0\0\0\x07\0\0\0\x08").expect("truncate");
        assert_eq!(
            from_start(&[relation(), begin(1), insert(), truncate_unknown]),
            "R7 B1 1/1 transaction 0/1: change 2 is of relation 8, never described"
        );
        for wide in [
            &b"I\0\0\0\x07N\0\x02nn"[..],
            b"U\0\0\0\x07N\0\x02nn",
            b"U\0\0\0\x07K\0\x02nnN\0\x01n",
            b"D\0\0\0\x07O\0\x02nn",
        ] {
            assert_eq!(
                from_start(&[relation(), begin(1), decode(wide).expect("wide")]),
                "R7 B1 transaction 0/1: change 1 has 2 columns, its table s.t has 1"
            );
        }
    }

    #[test]
    fn types_and_origins_pass() {
        let type_ = Message::Type { oid: 1, schema: "s", name: "t" };
        let origin = Message::Origin { lsn: Lsn(1), name: "o" };
        assert_eq!(from_start(&[begin(1), origin, type_, commit(1, 2)]), "B1 C2");
    }
}
