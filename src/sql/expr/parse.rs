//! The text, by sqlparser. It accepts more than Postgres does: `bind` refuses what it does not know.

use std::ops::Range;

use sqlparser::ast::{Expr, SelectItem, Spanned};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, Tokenizer};

use super::Fault;

/// More are refused: the tree is walked by recursion.
const TOKENS_MAX: usize = 1_000;

/// Where the parts of a parsed text stand in it.
#[derive(Clone, Copy)]
pub struct Places<'t> {
    text: &'t str,
}

impl<'t> Places<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text }
    }

    /// The bytes of an expression; the whole text where its parts do not know.
    pub fn of(&self, part: &impl Spanned) -> Range<usize> {
        range(self.text, part.span())
    }
}

pub(in crate::sql) struct Parsed<'t> {
    pub(in crate::sql) places: Places<'t>,
    pub(in crate::sql) expr: Expr,
}

pub(in crate::sql) fn parse(text: &str) -> Result<Parsed<'_>, Fault> {
    let mut expr = read(text, |parser| parser.parse_expr())?;
    super::normal::expr(&mut expr);
    Ok(Parsed { places: Places::new(text), expr })
}

/// What may stand behind SELECT.
pub(in crate::sql) fn parse_list(text: &str) -> Result<(Vec<SelectItem>, Places<'_>), Fault> {
    let mut items = read(text, |parser| parser.parse_projection())?;
    items.iter_mut().for_each(super::normal::item);
    Ok((items, Places::new(text)))
}

fn read<T>(
    text: &str,
    with: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T, Fault> {
    let fault =
        |what: String, span: Range<usize>| Fault { what, hint: None, span, unknown_column: None };
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|error| {
        let place = range(text, Span::new(error.location, error.location));
        fault(format!("the expression cannot be read: {}", error.message), place)
    })?;
    if tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).count()
        > TOKENS_MAX
    {
        let what = format!("the expression has more than {TOKENS_MAX} words and signs");
        return Err(fault(what, 0..text.len()));
    }
    // Spelled differently in Postgres, where `==` is no operator.
    if let Some(token) = tokens.iter().find(|token| token.token == Token::DoubleEq) {
        let place = range(text, token.span);
        return Err(Fault {
            hint: Some("write =".into()),
            ..fault("there is no operator ==".into(), place)
        });
    }
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let read = with(&mut parser).map_err(|error| match error {
        ParserError::TokenizerError(what) | ParserError::ParserError(what) => {
            let (what, place) = placed(text, &what);
            fault(format!("the expression cannot be read: {what}"), place)
        }
        ParserError::RecursionLimitExceeded => {
            fault("the expression is nested too deep".into(), 0..text.len())
        }
    })?;
    let rest = parser.peek_token();
    match rest.token {
        Token::EOF => Ok(read),
        token => {
            let what = format!("the expression cannot be read: {token} is not expected here");
            Err(fault(what, range(text, rest.span)))
        }
    }
}

/// The parser writes the place behind its words.
fn placed(text: &str, message: &str) -> (String, Range<usize>) {
    let split = || {
        let (what, place) = message.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        let at = Location::new(line.parse().ok()?, column.parse().ok()?);
        Some((what.to_owned(), range(text, Span::new(at, at))))
    };
    split().unwrap_or_else(|| (message.to_owned(), 0..text.len()))
}

/// Lines and columns of characters as bytes.
fn range(text: &str, span: Span) -> Range<usize> {
    match (offset(text, span.start), offset(text, span.end)) {
        (Some(start), Some(end)) if start <= end => start..end,
        _ => 0..text.len(),
    }
}

fn offset(text: &str, at: Location) -> Option<usize> {
    let line = usize::try_from(at.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(at.column).ok()?.checked_sub(1)?;
    let start = match line {
        0 => 0,
        line => text.match_indices('\n').nth(line - 1)?.0 + 1,
    };
    let rest = text.get(start..)?;
    let within = rest.char_indices().map(|(at, _)| at).chain([rest.len()]).nth(column)?;
    Some(start + within)
}
