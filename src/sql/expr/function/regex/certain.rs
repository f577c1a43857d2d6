//! What is sure of a pattern: which match PostgreSQL prefers, and whether its parentheses have one meaning.

use regex_syntax::hir::ClassUnicode;

use super::syntax::{Node, Repeat};

/// Which of the matches that begin at the leftmost place is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preference {
    Longest,
    Shortest,
}

/// `None` where greedy and other quantifiers stand in one pattern: PostgreSQL's rules for that are its own.
pub(super) fn preference(node: &Node) -> Option<Preference> {
    let (mut greedy, mut lazy) = (false, false);
    visit(node, &mut |node| match node {
        Node::Alternation(_) => greedy = true,
        Node::Repeat(repeat) if !repeat.fixed => match repeat.greedy {
            true => greedy = true,
            false => lazy = true,
        },
        _ => {}
    });
    match (greedy, lazy) {
        (true, true) => None,
        (false, true) => Some(Preference::Shortest),
        _ => Some(Preference::Longest),
    }
}

fn visit(node: &Node, with: &mut impl FnMut(&Node)) {
    with(node);
    match node {
        Node::Set(_) | Node::Look(_) => {}
        Node::Concat(of) | Node::Alternation(of) => of.iter().for_each(|node| visit(node, with)),
        Node::Repeat(Repeat { of, .. }) | Node::Group { of, .. } => visit(of, with),
    }
}

/// Whether each pair of parentheses matches one part of a given match, whoever looks for it.
pub(super) fn groups_are_sure(node: &Node) -> bool {
    let mut parts = Vec::new();
    flattened(node, &mut parts);
    parts.iter().enumerate().all(|(at, part)| match part {
        Node::Set(_) | Node::Look(_) => true,
        Node::Concat(_) | Node::Group { .. } => groups_are_sure(part),
        Node::Alternation(branches) => {
            let apart = |at: usize| {
                let first = first(&branches[at]);
                branches[at + 1..].iter().all(|other| are_apart(&first, &self::first(other)))
            };
            branches.iter().all(|branch| !may_be_empty(branch) && groups_are_sure(branch))
                && (0..branches.len()).all(apart)
        }
        Node::Repeat(repeat) => is_sure(repeat) && follows_surely(&parts[..at], repeat),
    })
}

fn is_sure(repeat: &Repeat) -> bool {
    let of = &*repeat.of;
    if !repeat.greedy && !repeat.fixed {
        return false;
    }
    match of {
        Node::Set(_) => true,
        of if repeat.max == Some(1) => !may_be_empty(of) && groups_are_sure(of),
        of => length(of).is_some_and(|length| length > 0) && !captures(of) && groups_are_sure(of),
    }
}

/// Nothing before it takes what it could begin with.
fn follows_surely(before: &[&Node], repeat: &Repeat) -> bool {
    if matches!(*repeat.of, Node::Set(_)) {
        return true;
    }
    let first = first(&repeat.of);
    for part in before.iter().rev() {
        let mut all = ClassUnicode::empty();
        visit(part, &mut |node| {
            if let Node::Set(set) = node {
                all.union(set);
            }
        });
        if length(part).is_none() && !are_apart(&all, &first) {
            return false;
        }
        if !may_be_empty(part) {
            return true;
        }
    }
    true
}

/// The parts that follow each other, parentheses aside.
fn flattened<'n>(node: &'n Node, into: &mut Vec<&'n Node>) {
    match node {
        Node::Concat(of) => of.iter().for_each(|node| flattened(node, into)),
        Node::Group { of, .. } => flattened(of, into),
        node => into.push(node),
    }
}

fn captures(node: &Node) -> bool {
    let mut found = false;
    visit(node, &mut |node| found |= matches!(node, Node::Group { captures: true, .. }));
    found
}

/// The number of characters, where it is one.
fn length(node: &Node) -> Option<u64> {
    match node {
        Node::Set(_) => Some(1),
        Node::Look(_) => Some(0),
        Node::Concat(of) => of.iter().map(length).sum(),
        Node::Alternation(of) => {
            let first = length(of.first()?)?;
            of.iter().all(|node| length(node) == Some(first)).then_some(first)
        }
        Node::Repeat(Repeat { of, min, max, .. }) => {
            (Some(*min) == *max).then_some(length(of)? * u64::from(*min))
        }
        Node::Group { of, .. } => length(of),
    }
}

fn may_be_empty(node: &Node) -> bool {
    match node {
        Node::Set(_) => false,
        Node::Look(_) => true,
        Node::Concat(of) => of.iter().all(may_be_empty),
        Node::Alternation(of) => of.iter().any(may_be_empty),
        Node::Repeat(Repeat { of, min, .. }) => *min == 0 || may_be_empty(of),
        Node::Group { of, .. } => may_be_empty(of),
    }
}

/// The characters that it may begin with.
fn first(node: &Node) -> ClassUnicode {
    match node {
        Node::Set(set) => set.clone(),
        Node::Look(_) => ClassUnicode::empty(),
        Node::Concat(of) => {
            let mut all = ClassUnicode::empty();
            for node in of {
                all.union(&first(node));
                if !may_be_empty(node) {
                    break;
                }
            }
            all
        }
        Node::Alternation(of) => {
            let mut all = ClassUnicode::empty();
            of.iter().for_each(|node| all.union(&first(node)));
            all
        }
        Node::Repeat(Repeat { of, .. }) | Node::Group { of, .. } => first(of),
    }
}

fn are_apart(one: &ClassUnicode, other: &ClassUnicode) -> bool {
    let mut both = one.clone();
    both.intersect(other);
    both.ranges().is_empty()
}
