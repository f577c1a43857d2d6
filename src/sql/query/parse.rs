//! The text of a query, by sqlparser, and where in it something stands.

use std::ops::Range;

use sqlparser::ast::{Query, Spanned, Statement};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use super::{Fault, symmetric};
use crate::sql::expr::{Places, normal};

/// More are refused: the tree is walked by recursion, and a read model is no program.
const TOKENS_MAX: usize = 5_000;
/// Each AND, OR, + and the like may be one more level of the tree.
const OPERATORS_MAX: usize = 250;
/// Each join is one more level of the plan.
const JOINS_MAX: usize = 100;

/// A query's text.
pub(super) struct Text<'t> {
    pub(super) text: &'t str,
    pub(super) places: Places<'t>,
    /// Its words in upper case, with their places; quoted ones are left out.
    words: Vec<(String, Range<usize>)>,
}

impl Text<'_> {
    pub(super) fn place(&self, part: &impl Spanned) -> Range<usize> {
        let place = self.places.of(part);
        // The parser's places of calls and subqueries end before the parenthesis that closes them.
        let open = |text: &str| text.matches('(').count() > text.matches(')').count();
        let mut end = place.end;
        while open(self.text.get(place.start..end).unwrap_or_default()) {
            let rest = &self.text[end..];
            match rest
                .find(|c: char| !c.is_whitespace())
                .filter(|at| rest[*at..].starts_with([')', '*']))
            {
                Some(at) => end += at + 1,
                None => return place,
            }
        }
        place.start..end
    }

    /// The first such words at or behind `from`; the whole text where they are not.
    pub(super) fn words(&self, phrase: &str, from: usize) -> Range<usize> {
        let wanted: Vec<&str> = phrase.split(' ').collect();
        let found = self.words.windows(wanted.len()).find(|words| {
            words[0].1.start >= from && words.iter().map(|(word, _)| word).eq(wanted.iter())
        });
        match found {
            Some(words) => words[0].1.start..words[words.len() - 1].1.end,
            None => 0..self.text.len(),
        }
    }

    /// What stands at a place, in one line, shortened.
    pub(super) fn shown(&self, place: &Range<usize>) -> String {
        const SHOWN_CHARS_MAX: usize = 60;
        let text = self.text.get(place.clone()).unwrap_or_default();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match text.char_indices().nth(SHOWN_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

/// The query without the semicolon that ends it, and what is said behind that.
pub fn without_end(text: &str) -> &str {
    // What cannot be read is not for here to say.
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location();
    let places = Places::new(text);
    let mut end = text.len();
    for token in tokens.unwrap_or_default().iter().rev() {
        match token.token {
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon => end = places.of(token).start,
            _ => break,
        }
    }
    &text[..end]
}

pub(super) fn parse(text: &str) -> Result<(Query, Text<'_>), Fault> {
    let dialect = PostgreSqlDialect {};
    let places = Places::new(text);
    let at = |location: Location| {
        places.of(&TokenWithSpan::new(Token::EOF, Span::new(location, location)))
    };
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|error| {
        Fault::new(format!("the query cannot be read: {}", error.message)).at(at(error.location))
    })?;
    let words = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    if words.count() > TOKENS_MAX {
        let what = format!("the query has more than {TOKENS_MAX} words and signs");
        return Err(Fault::new(what).at(0..text.len()));
    }
    too_much(&tokens, text.len())?;
    // PostgreSQL has neither, sqlparser both.
    let foreign = |token: &&TokenWithSpan| {
        matches!(token.token, Token::DoubleEq | Token::Placeholder(_) | Token::Spaceship)
    };
    if let Some(token) = tokens.iter().find(foreign) {
        let fault = match token.token {
            Token::Placeholder(_) => {
                Fault::new("a read model has no parameters").hint("write the value itself")
            }
            _ => Fault::new(format!("there is no operator {}", token.token)).hint("write ="),
        };
        return Err(fault.at(places.of(token)));
    }
    let words = words_of(&tokens, &places);
    let (tokens, symmetric) = symmetric::without(tokens, &places);
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let mut statements = parser.parse_statements().map_err(|error| match error {
        ParserError::TokenizerError(what) | ParserError::ParserError(what) => {
            let (what, location) = placed(&what);
            let span = location.map_or(0..text.len(), at);
            Fault::new(format!("the query cannot be read: {what}")).at(span)
        }
        ParserError::RecursionLimitExceeded => {
            Fault::new("the query is nested too deep").at(0..text.len())
        }
    })?;
    let text = Text { text, places, words };
    match (statements.pop(), statements.is_empty()) {
        (Some(Statement::Query(mut query)), true) => {
            normal::query(&mut query);
            symmetric::written_out(&mut query, &text, &symmetric)?;
            Ok((*query, text))
        }
        (None, _) => {
            Err(Fault::new("the query is empty").hint("write a SELECT").at(0..text.text.len()))
        }
        (_, false) => Err(Fault::new("there is more than one statement")
            .hint("write one SELECT; another one is another projection")
            .at(0..text.text.len())),
        (Some(_), true) => Err(Fault::new("the query is no SELECT")
            .hint("write one SELECT: a read model is the answer to a query")
            .at(0..text.text.len())),
    }
}

fn too_much(tokens: &[TokenWithSpan], len: usize) -> Result<(), Fault> {
    let is_word = |token: &Token, words: &[&str]| {
        matches!(token, Token::Word(word)
            if word.quote_style.is_none() && words.iter().any(|w| word.value.eq_ignore_ascii_case(w)))
    };
    let operators = tokens.iter().filter(|token| {
        let signs = matches!(
            token.token,
            Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod | Token::StringConcat
        );
        signs || is_word(&token.token, &["AND", "OR", "NOT"])
    });
    let joins = tokens.iter().filter(|token| is_word(&token.token, &["JOIN", "FROM", "UNION"]));
    let fault = |what: String, hint: &str| Err(Fault::new(what).hint(hint).at(0..len));
    if operators.count() > OPERATORS_MAX {
        let what = format!("the query has more than {OPERATORS_MAX} operators");
        return fault(what, "write IN (…) for many values of one column");
    }
    if joins.count() > JOINS_MAX {
        return fault(format!("the query has more than {JOINS_MAX} joins and subqueries"), "");
    }
    Ok(())
}

fn words_of(tokens: &[TokenWithSpan], places: &Places<'_>) -> Vec<(String, Range<usize>)> {
    let word = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) if word.quote_style.is_none() => {
            Some((word.value.to_ascii_uppercase(), places.of(token)))
        }
        _ => None,
    };
    tokens.iter().filter_map(word).collect()
}

/// The parser writes the place behind its words.
fn placed(message: &str) -> (String, Option<Location>) {
    let split = || {
        let (what, place) = message.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        Some((what.to_owned(), Location::new(line.parse().ok()?, column.parse().ok()?)))
    };
    match split() {
        Some((what, location)) => (what, Some(location)),
        None => (message.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_ends_before_its_semicolon() {
        for (text, query) in [
            ("SELECT 1", "SELECT 1"),
            ("SELECT 1;", "SELECT 1"),
            ("SELECT 'é;' ; -- all; of it", "SELECT 'é;' "),
            ("SELECT 1 /* ; */;; \n/* ; */ ", "SELECT 1 /* ; */"),
            ("SELECT 1 -- ;", "SELECT 1 -- ;"),
            ("SELECT $$;$$", "SELECT $$;$$"),
            ("SELECT 'unfinished;", "SELECT 'unfinished;"),
        ] {
            assert_eq!(without_end(text), query);
        }
    }
}
