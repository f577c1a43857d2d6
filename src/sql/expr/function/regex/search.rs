//! Where a pattern matches.

use std::cell::RefCell;
use std::ops::Range;

use regex_automata::meta;
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{self, NFA};
use regex_automata::util::captures::Captures;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{self, Class, Hir};

use super::super::super::eval::Result;
use super::super::super::names::Ctype;
use super::super::text::is_word;
use super::certain::{Preference, groups_are_sure, preference};
use super::syntax::{self, Look, Node, Repeat, Unsure};
use super::{Asked, refused};

/// Of an automaton; larger patterns are refused.
const BYTES_MAX: usize = 2 << 20;

pub(super) struct Regex {
    /// Whether and from where on there is a match.
    first: meta::Regex,
    /// All ends of matches from one place.
    ends: Ends,
    pub(super) groups: usize,
    preference: Option<Preference>,
    groups_are_sure: bool,
    unsure: Unsure,
    ctype: Ctype,
}

struct Ends {
    vm: PikeVM,
    cache: RefCell<pikevm::Cache>,
}

/// Where a match is, and where its parentheses are.
pub(super) struct Match {
    pub(super) whole: Range<usize>,
    pub(super) groups: Vec<Option<Range<usize>>>,
}

impl Regex {
    pub(super) fn new(
        pattern: &str,
        folded: bool,
        ctype: Ctype,
    ) -> std::result::Result<Self, String> {
        let pattern = syntax::read(pattern, folded, ctype)?;
        let tree = tree(&pattern.node, &mut 0);
        let too_large = |_| "it is too large".to_owned();
        let config = meta::Config::new()
            .nfa_size_limit(Some(BYTES_MAX))
            .hybrid_cache_capacity(BYTES_MAX)
            .onepass(false);
        let first =
            meta::Builder::new().configure(config).build_from_hir(&tree).map_err(too_large)?;
        let nfa: NFA = thompson::Compiler::new()
            .configure(thompson::Config::new().nfa_size_limit(Some(BYTES_MAX)))
            .build_from_hir(&tree)
            .map_err(|_| "it is too large".to_owned())?;
        let vm = PikeVM::builder()
            .configure(PikeVM::config().match_kind(MatchKind::All))
            .build_from_nfa(nfa)
            .map_err(|_| "it is too large".to_owned())?;
        let cache = RefCell::new(vm.create_cache());
        Ok(Self {
            first,
            ends: Ends { vm, cache },
            groups: pattern.groups,
            preference: preference(&pattern.node),
            groups_are_sure: groups_are_sure(&pattern.node),
            unsure: pattern.unsure,
            ctype,
        })
    }

    /// Whether what is asked for is known of this pattern.
    pub(super) fn answers(&self, asked: Asked) -> Result<()> {
        if asked != Asked::Whether && self.preference.is_none() {
            return Err(refused(
                "greedy quantifiers and such as *? together are supported for ~ alone",
            ));
        }
        if asked == Asked::Groups && !self.groups_are_sure {
            return Err(refused("what its parentheses match is not sure for all texts"));
        }
        Ok(())
    }

    /// Refuses texts of which it is not known what the pattern means there.
    pub(super) fn admit(&self, text: &str) -> Result<()> {
        if self.unsure == Unsure::None || text.is_ascii() {
            return Ok(());
        }
        if self.unsure == Unsure::BeyondAscii {
            return Err(refused("its classes are known for texts in ASCII alone"));
        }
        for letter in text.chars() {
            is_word(letter, self.ctype)?;
        }
        Ok(())
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.first.is_match(text)
    }

    /// The first match from there on.
    pub(super) fn find(&self, text: &str, from: usize, asked: Asked) -> Result<Option<Match>> {
        let Some(found) = self.first.find(Input::new(text).range(from..)) else { return Ok(None) };
        let start = found.start();
        let input = Input::new(text).range(start..).anchored(Anchored::Yes);
        let input = input.earliest(self.preference == Some(Preference::Shortest));
        let mut slots = [None; 2];
        self.ends.vm.search_slots(&mut self.ends.cache.borrow_mut(), &input, &mut slots);
        let end = slots[1].map_or(found.end(), |end| end.get());
        let whole = start..end;
        let mut groups = Vec::new();
        if asked == Asked::Groups && self.groups > 0 {
            let input = Input::new(text).range(start..).anchored(Anchored::Yes);
            let mut captures: Captures = self.first.create_captures();
            self.first.search_captures(&input, &mut captures);
            if captures.get_match().is_none_or(|found| found.range() != whole) {
                return Err(refused("what its parentheses match is not sure for this text"));
            }
            groups = (1..=self.groups)
                .map(|group| captures.get_group(group).map(|span| span.range()))
                .collect();
        }
        Ok(Some(Match { whole, groups }))
    }
}

/// The pattern as the automata are built from it.
fn tree(node: &Node, groups: &mut u32) -> Hir {
    match node {
        Node::Set(set) => Hir::class(Class::Unicode(set.clone())),
        Node::Look(look) => Hir::look(match look {
            Look::Start => hir::Look::Start,
            Look::End => hir::Look::End,
            Look::WordStart => hir::Look::WordStartAscii,
            Look::WordEnd => hir::Look::WordEndAscii,
            Look::WordEdge => hir::Look::WordAscii,
            Look::NoWordEdge => hir::Look::WordAsciiNegate,
        }),
        Node::Concat(of) => Hir::concat(of.iter().map(|node| tree(node, groups)).collect()),
        Node::Alternation(of) => {
            Hir::alternation(of.iter().map(|node| tree(node, groups)).collect())
        }
        Node::Repeat(Repeat { of, min, max, greedy, .. }) => {
            let sub = Box::new(tree(of, groups));
            Hir::repetition(hir::Repetition { min: *min, max: *max, greedy: *greedy, sub })
        }
        Node::Group { of, captures: false } => tree(of, groups),
        Node::Group { of, captures: true } => {
            *groups += 1;
            let index = *groups;
            let sub = Box::new(tree(of, groups));
            Hir::capture(hir::Capture { index, name: None, sub })
        }
    }
}
