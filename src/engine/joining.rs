//! How a join's sides are found, and in which order their changes meet.

use super::access::{Access, Nulls, Port};
use super::graph::{Engine, Operator, State};
use super::operator::{Input, Join, Mode, NotIn};
use crate::sql::plan::{Expr, JoinKind};

/// A join's node.
pub(super) struct Joined {
    pub(super) inputs: [usize; 2],
    pub(super) reads: Vec<usize>,
    pub(super) operator: Operator,
    pub(super) state: State,
}

impl Engine {
    pub(super) fn join(
        &mut self,
        (left, right): (usize, usize),
        kind: JoinKind,
        on: &[(usize, usize)],
        residual: Option<&Expr>,
    ) -> Joined {
        let (left_on, right_on): (Vec<usize>, Vec<usize>) = on.iter().copied().unzip();
        let of = |engine: &Self, at: usize| engine.nodes[at].layout.clone();
        let reads = |sides: &[Access; 2]| {
            let mut reads = Vec::new();
            sides.iter().for_each(|side| side.reads(&mut reads));
            reads
        };
        if kind == JoinKind::AntiNull {
            let sides = [self.kept_under(left, &left_on), self.kept_under(right, &right_on)];
            let (inputs, reads) = (self.inputs([left, right], &sides), reads(&sides));
            let (left, right) = ((of(self, left), &left_on[..]), (of(self, right), &right_on[..]));
            let operator = Operator::NotIn(Box::new(NotIn::new(left, right, sides)));
            return Joined { inputs, reads, operator, state: State::Nothing };
        }
        let of_left = self.found(left, &left_on, Nulls::Never);
        let of_right = self.found(right, &right_on, Nulls::Never);
        let counts = Join::counts(kind, residual);
        let mode = match counts {
            true => Mode::Both,
            false => self.mode([left, right], [&of_left, &of_right], kind),
        };
        let kept = |engine: &mut Self, side: Access, at, on: &[usize]| {
            // A row's partners are counted for the row as a whole.
            match engine.is_direct(&side) && (!counts || engine.is_of_kept_rows(&side)) {
                true => side,
                false => engine.kept_under(at, on),
            }
        };
        let [of_left, of_right] = match mode {
            Mode::First(_) => [of_left, of_right],
            Mode::Both => {
                [kept(self, of_left, left, &left_on), kept(self, of_right, right, &right_on)]
            }
        };
        let sides = [of_left, of_right];
        let (inputs, reads) = (self.inputs([left, right], &sides), reads(&sides));
        let (left, right) =
            (Input::new(of(self, left), &left_on), Input::new(of(self, right), &right_on));
        let join = Join::new(kind, left, right, residual.cloned(), (sides, mode), self);
        let state = State::Join(join.state());
        Joined { inputs, reads, operator: Operator::Join(Box::new(join)), state }
    }

    /// How the rows are found; they are kept where they cannot be found otherwise.
    fn found(&mut self, at: usize, columns: &[usize], nulls: Nulls) -> Access {
        let access = self.access(at, columns, nulls);
        access.unwrap_or_else(|| self.kept_under(at, columns))
    }

    /// Who sends the sides' rows: what is kept of them, so that the join hears of them when they are there.
    fn inputs(&self, inputs: [usize; 2], sides: &[Access; 2]) -> [usize; 2] {
        Port::BOTH.map(|port| match sides[port as usize] {
            Access::Rows(at) if !self.nodes[at].inputs.is_empty() => at,
            _ => inputs[port as usize],
        })
    }

    fn mode(&mut self, inputs: [usize; 2], [left, right]: [&Access; 2], kind: JoinKind) -> Mode {
        // Whether the second side can be seen as it was, and a right one that is the first tells when its
        // keys turn.
        let tells = kind == JoinKind::Inner || self.is_of_tables(right) || self.is_direct(right);
        let mut firsts = Vec::new();
        if self.is_of_tables(right) {
            firsts.push(Port::Left);
        }
        if self.is_of_tables(left) && tells {
            firsts.push(Port::Right);
        }
        // Changes of the second side wait for the first side's: they should be no more than a table's.
        let second = |first: Port| inputs[first.other() as usize];
        if let Some(&first) = firsts.iter().find(|first| self.passes(second(**first))) {
            return Mode::First(first);
        }
        for first in firsts {
            if self.precede(inputs[first as usize], second(first)) {
                return Mode::First(first);
            }
        }
        Mode::Both
    }

    /// Whether the rows are a table's, one for one at most, or what is in them.
    fn passes(&self, at: usize) -> bool {
        match &self.nodes[at].operator {
            Operator::Scan(_) => true,
            Operator::Filter(_) | Operator::Map(_) | Operator::Expand(_) | Operator::Union => {
                self.nodes[at].inputs.iter().all(|&input| self.passes(input))
            }
            _ => false,
        }
    }

    /// Sees to it that all operators that send to `first` run before those that send to `second`.
    fn precede(&mut self, first: usize, second: usize) -> bool {
        let (firsts, seconds) = (self.senders(first), self.senders(second));
        let known = self.precedences.len();
        let pairs = firsts.iter().flat_map(|&a| seconds.iter().map(move |&b| (a, b)));
        self.precedences.extend(pairs);
        let is_possible = self.ordered().is_some();
        if !is_possible {
            self.precedences.truncate(known);
        }
        is_possible
    }

    /// The operators below, itself included, that work off what they are sent.
    fn senders(&self, at: usize) -> Vec<usize> {
        let mut is_part = vec![false; at + 1];
        is_part[at] = true;
        for at in (0..=at).rev() {
            if is_part[at] {
                self.nodes[at].inputs.iter().for_each(|&input| is_part[input] = true);
            }
        }
        (0..=at).filter(|&at| is_part[at] && self.nodes[at].operator.gathers()).collect()
    }

    /// Nodes in an order that `precedences` allow, inputs first; `None` where there is none.
    fn ordered(&self) -> Option<Vec<usize>> {
        let count = self.nodes.len();
        let mut before: Vec<usize> = vec![0; count];
        let mut behind: Vec<Vec<usize>> = vec![Vec::new(); count];
        let inputs = self.nodes.iter().enumerate();
        let inputs = inputs.flat_map(|(at, node)| node.inputs.iter().map(move |&from| (from, at)));
        for (a, b) in inputs.chain(self.precedences.iter().copied()) {
            before[b] += 1;
            behind[a].push(b);
        }
        let mut ready: Vec<usize> = (0..count).rev().filter(|&at| before[at] == 0).collect();
        let mut order = Vec::with_capacity(count);
        while let Some(at) = ready.pop() {
            order.push(at);
            for &next in &behind[at] {
                before[next] -= 1;
                if before[next] == 0 {
                    ready.push(next);
                }
            }
        }
        (order.len() == count).then_some(order)
    }

    /// Called when nodes have been added.
    pub(super) fn put_in_order(&mut self) {
        self.order = self.ordered().expect("only what leaves an order is demanded");
        let mut place = vec![0; self.nodes.len()];
        self.order.iter().enumerate().for_each(|(at, &node)| place[node] = at);
        for at in 0..self.nodes.len() {
            let Operator::Join(join) = &self.nodes[at].operator else { continue };
            let Mode::First(first) = join.mode else { continue };
            let senders = self.senders(self.nodes[at].inputs[first as usize]);
            let until = senders.into_iter().map(|sender| place[sender] + 1).max();
            self.nodes[at].first_until = until.unwrap_or(0);
        }
    }

    /// How the rows of a group are found, for lists of them that need not be kept then.
    pub(super) fn lists(&mut self, input: usize, group: &[usize]) -> Option<Access> {
        self.access(input, group, Nulls::Perhaps).filter(|rows| self.is_of_tables(rows))
    }
}

impl Operator {
    /// Whether it gathers what it is sent before it runs.
    pub(super) fn gathers(&self) -> bool {
        !matches!(
            self,
            Operator::Scan(_)
                | Operator::Filter(_)
                | Operator::Map(_)
                | Operator::Expand(_)
                | Operator::Union
        )
    }
}
