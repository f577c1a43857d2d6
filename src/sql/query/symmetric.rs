//! BETWEEN SYMMETRIC, which sqlparser does not read: the word is taken out before, and what stood there is
//! written out after.

use std::ops::{ControlFlow, Range};

use sqlparser::ast::{BinaryOperator, Expr, Query, UnaryOperator, VisitMut, VisitorMut};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::Fault;
use super::column::{binary, nested};
use super::parse::Text;
use crate::sql::expr::Places;

/// The tokens without the word, and where the words stand.
pub(super) fn without(
    tokens: Vec<TokenWithSpan>,
    places: &Places<'_>,
) -> (Vec<TokenWithSpan>, Vec<Range<usize>>) {
    let (mut kept, mut found) = (Vec::new(), Vec::new());
    let mut between: Option<Range<usize>> = None;
    for token in tokens {
        match (&token.token, between.take()) {
            (Token::Whitespace(_), before) => between = before,
            (Token::Word(word), Some(before))
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("SYMMETRIC") =>
            {
                found.push(before.start..places.of(&token).end);
                continue;
            }
            (Token::Word(word), _)
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("BETWEEN") =>
            {
                between = Some(places.of(&token));
            }
            _ => {}
        }
        kept.push(token);
    }
    (kept, found)
}

/// `x BETWEEN SYMMETRIC a AND b` is `x BETWEEN a AND b OR x BETWEEN b AND a`.
pub(super) fn written_out(
    query: &mut Query,
    text: &Text<'_>,
    places: &[Range<usize>],
) -> Result<(), Fault> {
    if places.is_empty() {
        return Ok(());
    }
    let mut symmetric = Symmetric { text, places, done: vec![false; places.len()] };
    // The visitor never breaks off.
    let _ = VisitMut::visit(query, &mut symmetric);
    match symmetric.done.iter().position(|done| !done) {
        None => Ok(()),
        Some(at) => Err(Fault::new("this BETWEEN SYMMETRIC is not supported")
            .hint("write BETWEEN least(a, b) AND greatest(a, b)")
            .at(places[at].clone())),
    }
}

struct Symmetric<'s> {
    text: &'s Text<'s>,
    places: &'s [Range<usize>],
    done: Vec<bool>,
}

impl Symmetric<'_> {
    /// Whether nothing but blanks and parentheses stands between the words and this.
    fn follows(&self, words: &Range<usize>, low: &Expr) -> bool {
        let start = self.text.place(low).start;
        let between = self.text.text.get(words.end..start);
        between.is_some_and(|between| between.chars().all(|c| c.is_whitespace() || c == '('))
    }
}

impl VisitorMut for Symmetric<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Between { expr: of, negated, low, high } = expr else {
            return ControlFlow::Continue(());
        };
        let found = self.places.iter().position(|words| self.follows(words, low));
        let Some(at) = found.filter(|at| !self.done[*at]) else {
            return ControlFlow::Continue(());
        };
        self.done[at] = true;
        let way = |low: &Expr, high: &Expr| {
            nested(Expr::Between {
                expr: of.clone(),
                negated: false,
                low: Box::new(low.clone()),
                high: Box::new(high.clone()),
            })
        };
        let both = nested(binary(way(low, high), BinaryOperator::Or, way(high, low)));
        *expr = match negated {
            true => nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(both) }),
            false => both,
        };
        ControlFlow::Continue(())
    }
}
