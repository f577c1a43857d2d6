//! The file: TOML text to nodes with places, `${NAME}` replaced. Syntax errors do not end the reading.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::environment::{Environment, Missing};
use super::faults::Faults;
use super::literal::{Mapped, ReferenceFault, ReferenceFaultKind, substitute};
use super::node::{Node, Origin, Text, Value};
use super::place::{Place, SourceFile};

pub(super) fn read(file: &Arc<SourceFile>, environment: &Environment, faults: &mut Faults) -> Node {
    let (document, errors) = DeTable::parse_recoverable(&file.text);
    for error in errors {
        let place = Place::in_file(file, error.span().unwrap_or_default());
        faults.push_syntax(Diagnostic::new(format!("TOML: {}", error.message())).at(&place));
    }
    let reader = Reader { file, environment, literal: false };
    let entries = reader.table(document.get_ref());
    Node::table(Place::in_file(file, 0..0), entries)
}

/// A value alone, as a variable gives it where a list or a table is wanted.
pub(super) fn read_value(text: &str, place: &Place) -> Option<Node> {
    let document = format!("value = {text}");
    let (table, errors) = DeTable::parse_recoverable(&document);
    if !errors.is_empty() || table.get_ref().len() != 1 {
        return None;
    }
    let file = Arc::new(SourceFile::new("", document.as_str()));
    let environment = Environment::default();
    let reader = Reader { file: &file, environment: &environment, literal: true };
    let (_, mut node) = reader.table(table.get_ref()).pop()?;
    move_to(&mut node, place);
    let mut faults = Faults::default();
    node.tell_broken(&mut faults);
    faults.into_sorted().is_empty().then_some(node)
}

/// The places of a variable's value are all the variable.
fn move_to(node: &mut Node, place: &Place) {
    node.key_place = place.clone();
    node.place = place.clone();
    match &mut node.value {
        Value::Text(text) => text.origin = Origin::Variable,
        Value::List(items) => items.iter_mut().for_each(|item| move_to(item, place)),
        Value::Table(entries) => entries.iter_mut().for_each(|(_, item)| move_to(item, place)),
        _ => {}
    }
}

struct Reader<'a> {
    file: &'a Arc<SourceFile>,
    environment: &'a Environment,
    /// A variable's value has no `${NAME}` in it.
    literal: bool,
}

impl Reader<'_> {
    fn table(&self, table: &DeTable<'_>) -> Vec<(String, Node)> {
        let entry = |(key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
            let mut node = self.value(value);
            node.key_place = Place::in_file(self.file, key.span());
            (key.get_ref().to_string(), node)
        };
        table.iter().map(entry).collect()
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let place = Place::in_file(self.file, value.span());
        let value = match value.get_ref() {
            DeValue::String(text) => return self.text(text, value.span()),
            DeValue::Integer(number) => match to_i64(number) {
                Some(number) => Value::Integer(number),
                None => broken("the number is too large", &place),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => broken("the number cannot be read", &place),
            },
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(_) => broken("no key takes a date: write a string", &place),
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| self.value(item)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node::leaf(place, value)
    }

    fn text(&self, text: &str, span: Range<usize>) -> Node {
        let place = Place::in_file(self.file, span.clone());
        let literal = self.file.text.get(span.clone()).unwrap_or_default();
        let mapped = Mapped::of_literal(literal, span.start, text);
        let substituted = match self.literal {
            true => Ok((mapped, false)),
            false => substitute(mapped, self.environment),
        };
        match substituted {
            Ok((mapped, replaced)) => {
                let origin = if replaced { Origin::Substituted } else { Origin::Literal };
                let text = Text { value: mapped.value, origin };
                Node::leaf(place.with_text(mapped.offsets), Value::Text(text))
            }
            Err(faults) => {
                let faults = faults.into_iter().map(|fault| reference(fault, self.file));
                Node::leaf(place, Value::Broken(faults.collect()))
            }
        }
    }
}

fn broken(what: &str, place: &Place) -> Value {
    Value::Broken(vec![Diagnostic::new(what).at(place)])
}

fn to_i64(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn reference(fault: ReferenceFault, file: &Arc<SourceFile>) -> Diagnostic {
    let place = Place::in_file(file, fault.span);
    let literal = "write $${ where the text ${ itself is meant";
    let (what, hint) = match fault.kind {
        ReferenceFaultKind::Unclosed => ("`${` is never closed".to_owned(), literal.to_owned()),
        ReferenceFaultKind::BadName => {
            let what = "a variable's name is made of letters, digits and `_`";
            (what.to_owned(), literal.to_owned())
        }
        ReferenceFaultKind::Missing(name, Missing::Unset) => (
            format!("the environment variable `{name}` is not set"),
            format!(
                "set {name} where Readside is started, or write $${{ where the text ${{ itself is meant"
            ),
        ),
        ReferenceFaultKind::Missing(name, Missing::NotUtf8) => (
            format!("the value of the environment variable `{name}` is not UTF-8"),
            format!("set {name} to UTF-8 text"),
        ),
    };
    Diagnostic::new(what).at(&place).hint(hint)
}
