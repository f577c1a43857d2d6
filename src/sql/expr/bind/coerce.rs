//! Conversions, spelled out: what an operator or a cast asks for.

use std::ops::Range;

use crate::value::{Scalar, Type};

use super::super::catalog::{
    ANY, BPCHAR, CATALOG, INTERVAL, JSON, JSONB, NUMERIC, Oid, RECORD, TEXT, TIME, TIMESTAMP,
    TIMESTAMPTZ, TIMETZ, UNKNOWN, VARCHAR,
};
use super::super::function::{self, Types};
use super::super::node::{Call, Node};
use super::choose::{Asked, Path, converts, path};
use super::{Binder, Bound, Mark, Result};

impl Binder<'_> {
    /// To a type, where Postgres converts by itself.
    pub(super) fn implicit(&self, of: Bound, to: Oid, at: &Range<usize>) -> Result<Bound> {
        self.coerce(of, to, Asked::Implicit, at)
    }

    /// To a type with its typmod, as a cast does.
    pub(super) fn cast_to(
        &self,
        of: Bound,
        to: Oid,
        typmod: i32,
        at: &Range<usize>,
    ) -> Result<Bound> {
        let (base, domain_typmod) = self.known.base(to);
        let typmod = if typmod == -1 { domain_typmod } else { typmod };
        let mark = of.mark;
        let was_unknown = of.ty == UNKNOWN;
        let before = of.typmod;
        let from = of.ty;
        let mut bound = self.coerce(of, base, Asked::Explicit, at)?;
        if typmod >= 0 && !(from == base && before == typmod && !was_unknown) {
            bound = self.with_typmod(bound, typmod, at)?;
        } else if from == base {
            bound.typmod = if typmod == -1 && from == base { before } else { typmod };
        }
        if typmod == -1 {
            bound.typmod = -1;
        }
        bound.mark = if self.known.is_text(base) && self.known.is_text(from) {
            mark
        } else {
            Mark::default()
        };
        Ok(bound)
    }

    fn with_typmod(&self, of: Bound, typmod: i32, at: &Range<usize>) -> Result<Bound> {
        let element = self.known.element(of.ty);
        let name = match element.unwrap_or(of.ty) {
            NUMERIC => "numeric",
            VARCHAR => "varchar",
            BPCHAR => "bpchar",
            TIMESTAMP => "timestamp",
            TIMESTAMPTZ => "timestamptz",
            TIME => "time",
            TIMETZ => "timetz",
            INTERVAL => "interval",
            _ => return Ok(Bound { typmod, ..of }),
        };
        let ty = of.ty;
        if let Some(element) = element {
            let stand_in = Bound::new(Node::CaseOperand, element);
            let element = Box::new(self.with_typmod(stand_in, typmod, at)?.node);
            let types = self.types(&[ty], ty);
            let node = Node::Each { of: Box::new(of.node), element, types };
            return Ok(Bound { node, typmod, ty, mark: of.mark });
        }
        let arguments = [ty, 23, 16];
        let signature = CATALOG.functions(name).iter().find(|signature| {
            signature.arguments.len() > 1 && arguments.starts_with(&signature.arguments)
        });
        let Some((signature, run)) =
            signature.and_then(|signature| Some((signature, signature.run?)))
        else {
            let what = format!("{} with a precision is not supported", self.show(ty));
            return self.refuse(at.clone(), what, "write the type without it");
        };
        let mut parts =
            vec![of.node, Node::Const(Scalar::Int(typmod.into())), Node::Const(Scalar::Bool(true))];
        parts.truncate(signature.arguments.len());
        let types = self.types(&signature.arguments, ty);
        let node = call(signature.name, run, true, true, parts, types);
        Ok(Bound { node, typmod, ..of })
    }

    /// `coerce_type`.
    pub(super) fn coerce(
        &self,
        of: Bound,
        to: Oid,
        asked: Asked,
        at: &Range<usize>,
    ) -> Result<Bound> {
        let from = of.ty;
        if from == to || to == ANY {
            return Ok(match from {
                // A literal that is taken as it is, is a text.
                UNKNOWN => Bound { ty: TEXT, ..of },
                _ => of,
            });
        }
        if from == UNKNOWN {
            return self.literal_as(of, to, at);
        }
        if self.known.is_row(from) && to == RECORD {
            return Ok(of);
        }
        let Some(path) = path(self.known, from, to, asked) else {
            let what = format!("{} is not converted to {}", self.show(from), self.show(to));
            let hint = match path(self.known, from, to, Asked::Explicit) {
                Some(_) => "write the cast",
                None => "",
            };
            return self.refuse(at.clone(), what, hint);
        };
        let node = match path {
            Path::Same => of.node,
            Path::Text => self.by_text(of.node, from, to),
            Path::Array => self.array_cast(of.node, from, to, asked, at)?,
            Path::Cast(cast) => {
                let relabelled = cast.method == super::super::catalog::Method::Binary;
                match cast.signature.run {
                    None if relabelled => of.node,
                    Some(run) => {
                        let types = self.types(&[from], to);
                        let immutable = cast.signature.volatility == b'i';
                        call(cast.signature.name, run, true, immutable, vec![of.node], types)
                    }
                    None => {
                        let what = format!(
                            "the cast from {} to {} is not supported",
                            self.show(from),
                            self.show(to)
                        );
                        return self.refuse(at.clone(), what, "");
                    }
                }
            }
        };
        let mark = if self.known.is_text(from) { of.mark } else { Mark::default() };
        Ok(Bound { node, ty: to, typmod: -1, mark })
    }

    /// By the functions that print the one type and read the other.
    fn by_text(&self, of: Node, from: Oid, to: Oid) -> Node {
        let text = match self.known.category(from).0 == super::choose::STRING
            || matches!(from, JSON | JSONB)
        {
            // They are kept as their text.
            true => of,
            false => {
                let types = self.types(&[from], TEXT);
                call("output", function::output, true, self.prints_always(from), vec![of], types)
            }
        };
        if self.known.category(to).0 == super::choose::STRING && to != BPCHAR {
            return text;
        }
        if to == BPCHAR || (from == JSONB && to == JSON) {
            return text;
        }
        let types = self.types(&[TEXT], to);
        call("input", function::read, true, self.reads_always(to), vec![text], types)
    }

    /// The text does not depend on the session.
    fn prints_always(&self, ty: Oid) -> bool {
        !matches!(ty, 1082 | 1083 | 1114 | 1184 | 1186 | 1266) || matches!(ty, TIME | TIMETZ)
    }

    fn reads_always(&self, ty: Oid) -> bool {
        !matches!(ty, 1082 | 1083 | 1114 | 1184 | 1266)
    }

    fn array_cast(
        &self,
        of: Node,
        from: Oid,
        to: Oid,
        asked: Asked,
        at: &Range<usize>,
    ) -> Result<Node> {
        let elements = (self.known.element(from), self.known.element(to));
        let same_text = match elements {
            (Some(from), Some(to)) => {
                let stored = (self.known.stored(from), self.known.stored(to));
                let int = |ty: &Type| matches!(ty, Type::Int2 | Type::Int4 | Type::Int8);
                stored.0 == stored.1
                    || (int(&stored.0) && matches!(stored.1, Type::Int8 | Type::Numeric))
                    || (stored.0 == Type::Int2 && stored.1 == Type::Int4)
                    || stored.1 == Type::Text
            }
            _ => false,
        };
        if same_text {
            return Ok(of);
        }
        let (Some(inner), Some(outer)) = elements else { return Ok(of) };
        let stand_in = Bound::new(Node::CaseOperand, inner);
        let element = Box::new(self.coerce(stand_in, outer, asked, at)?.node);
        let types = self.types(&[from], to);
        Ok(Node::Each { of: Box::new(of), element, types })
    }

    /// A literal becomes what stands beside it: it is read as that type is.
    fn literal_as(&self, of: Bound, to: Oid, at: &Range<usize>) -> Result<Bound> {
        let bound = |node| Ok(Bound { node, ty: to, typmod: -1, mark: Mark::default() });
        let base = self.known.base(to).0;
        let text = match of.node {
            Node::Const(Scalar::Text(text)) => text,
            node => return bound(node),
        };
        if let Some(labels) = self.known.labels(base) {
            if !labels.iter().any(|label| *label == text) {
                let what = format!("invalid input value for enum {}: \"{text}\"", self.show(base));
                let hint = format!("its labels are {}", labels.join(", "));
                return self.refuse(at.clone(), what, &hint);
            }
            return bound(Node::Const(Scalar::Text(text)));
        }
        if base == RECORD || super::choose::is_generic(base) {
            return bound(Node::Const(Scalar::Text(text)));
        }
        match function::input(&self.known.stored(base), &text) {
            Ok(value) => bound(Node::Const(value.into_owned())),
            Err(error) => self.refuse(at.clone(), error.to_string(), ""),
        }
    }

    pub(super) fn converts(&self, from: Oid, to: Oid) -> bool {
        converts(self.known, from, to)
    }

    pub(super) fn types(&self, arguments: &[Oid], result: Oid) -> Types {
        Types {
            arguments: arguments.iter().map(|&oid| self.known.stored(oid)).collect(),
            result: self.known.stored(result),
            ctype: self.known.names.database().ctype,
            null_casts: self.known.names.database().casts_json_null(),
        }
    }
}

pub(super) fn call(
    name: &'static str,
    run: function::Run,
    strict: bool,
    immutable: bool,
    arguments: Vec<Node>,
    types: Types,
) -> Node {
    Node::Call(Box::new(Call { name, run, strict, immutable, arguments, types }))
}
