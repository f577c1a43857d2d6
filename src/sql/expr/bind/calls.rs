//! Calls of functions, and the syntax that stands for some: EXTRACT, SUBSTRING, TRIM, LIKE, AT TIME ZONE.

use std::ops::Range;

use sqlparser::ast::{
    CeilFloorKind, DateTimeField, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgOperator, FunctionArguments, Ident, ObjectNamePart, TrimWhereField,
};

use crate::value::Scalar;

use super::super::catalog::{
    ANY, CATALOG, INT4, JSON, Method, Oid, RECORD, Signature, TEXT, UNKNOWN,
};
use super::super::fold_case;
use super::super::function::from_similar;
use super::super::names::Ctype;
use super::super::node::Node;
use super::super::ty::Collation;
use super::choose::{Asked, Candidate, Choice, Path, choose, path};
use super::{Binder, Bound, Result};

/// Functions that are written without parentheses.
const CLOCKS: [&str; 5] =
    ["current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"];
const SESSION: [&str; 6] =
    ["current_user", "session_user", "user", "current_role", "current_catalog", "current_schema"];
const AGGREGATES: [&str; 22] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "bool_and",
    "bool_or",
    "every",
    "array_agg",
    "string_agg",
    "json_agg",
    "jsonb_agg",
    "json_object_agg",
    "jsonb_object_agg",
    "stddev",
    "variance",
    "bit_and",
    "bit_or",
    "mode",
    "percentile_cont",
    "percentile_disc",
    "any_value",
];

pub(super) fn is_clock(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CLOCKS.contains(&name.as_str()) || SESSION.contains(&name.as_str())
}

impl Binder<'_> {
    pub(super) fn clock(&self, expr: &Expr, name: &str) -> Result {
        let name = name.to_ascii_lowercase();
        let (what, hint) = if CLOCKS.contains(&name.as_str()) {
            (format!("{name} reads the clock"), "a read model changes with its rows alone")
        } else {
            (format!("{name} depends on the session"), "write the value")
        };
        self.refuse(self.place(expr), what, hint)
    }

    /// Syntax that stands for a function.
    pub(super) fn syntax(&self, expr: &Expr) -> Result {
        match expr {
            Expr::Function(function) => self.function(expr, function),
            Expr::Extract { field, expr: of, .. } => {
                let field = field_name(field);
                let of = self.expr(of)?;
                self.call(&self.place(expr), "extract", vec![text_literal(&field), of])
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                let (of, zone) = (self.expr(timestamp)?, self.expr(time_zone)?);
                self.call(&self.place(expr), "timezone", vec![zone, of])
            }
            Expr::Position { expr: part, r#in } => {
                let (part, of) = (self.expr(part)?, self.expr(r#in)?);
                self.call(&self.place(expr), "position", vec![of, part])
            }
            Expr::Ceil { expr: of, field } => self.rounded(expr, "ceil", of, field),
            Expr::Floor { expr: of, field } => self.rounded(expr, "floor", of, field),
            Expr::Substring { expr: of, substring_from, substring_for, shorthand, .. } => {
                let mut arguments = vec![self.expr(of)?];
                match (substring_from, substring_for) {
                    (Some(from), _) => arguments.push(self.expr(from)?),
                    (None, _) => {
                        arguments.push(Bound::new(Node::Const(Scalar::Int(1)), INT4));
                    }
                }
                if let Some(length) = substring_for {
                    arguments.push(self.expr(length)?);
                }
                let name = if *shorthand { "substr" } else { "substring" };
                self.call(&self.place(expr), name, arguments)
            }
            Expr::Trim { trim_where, trim_what, expr: of, trim_characters } => {
                let name = match trim_where {
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                    Some(TrimWhereField::Both) | None => "btrim",
                };
                let mut arguments = vec![self.expr(of)?];
                if let Some(what) = trim_what {
                    arguments.push(self.expr(what)?);
                }
                for what in trim_characters.iter().flatten() {
                    arguments.push(self.expr(what)?);
                }
                self.call(&self.place(expr), name, arguments)
            }
            Expr::Overlay { expr: of, overlay_what, overlay_from, overlay_for } => {
                let mut arguments =
                    vec![self.expr(of)?, self.expr(overlay_what)?, self.expr(overlay_from)?];
                if let Some(length) = overlay_for {
                    arguments.push(self.expr(length)?);
                }
                self.call(&self.place(expr), "overlay", arguments)
            }
            Expr::SimilarTo { negated, expr: of, pattern, escape_char } => {
                self.similar(expr, of, pattern, escape_char.as_deref(), *negated)
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                self.refuse(self.place(expr), "a subquery may not stand here", "")
            }
            _ => self.unsupported(expr),
        }
    }

    fn rounded(&self, expr: &Expr, name: &'static str, of: &Expr, field: &CeilFloorKind) -> Result {
        match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => {
                let of = self.expr(of)?;
                self.call(&self.place(expr), name, vec![of])
            }
            _ => self.unsupported(expr),
        }
    }

    pub(super) fn like(
        &self,
        expr: &Expr,
        of: &Expr,
        operator: &str,
        pattern: &Expr,
        escape: Option<&Expr>,
    ) -> Result {
        let at = self.place(expr);
        let (of, mut pattern) = (self.expr(of)?, self.expr(pattern)?);
        if let Some(escape) = escape {
            let escape = self.expr(escape)?;
            pattern = self.call(&at, "like_escape", vec![pattern, escape])?;
        }
        self.operator(&at, operator, vec![of, pattern])
    }

    /// SIMILAR TO with a pattern that is written there.
    fn similar(
        &self,
        expr: &Expr,
        of: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        negated: bool,
    ) -> Result {
        let at = self.place(expr);
        let text = |of: &Expr| {
            let bound = self.expr(of)?;
            match bound.node.constant() {
                Some(Scalar::Text(text)) => Ok(text.to_string()),
                _ => self.refuse(
                    self.place(of),
                    "the pattern of SIMILAR TO is not a text that is written there",
                    "write the pattern itself, or a regular expression by ~",
                ),
            }
        };
        let pattern = text(pattern)?;
        let escape = match escape {
            None => Some('\\'),
            Some(escape) => text(escape)?.chars().next(),
        };
        let pattern = match from_similar(&pattern, escape) {
            Ok(pattern) => pattern,
            Err(error) => return self.refuse(at, error.to_string(), "write LIKE"),
        };
        let of = self.expr(of)?;
        let operator = if negated { "!~" } else { "~" };
        self.operator(&at, operator, vec![of, text_literal(&pattern)])
    }

    fn function(&self, expr: &Expr, function: &Function) -> Result {
        let at = self.place(expr);
        let name = match function.name.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => fold_case(name),
            [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(name)]
                if fold_case(schema) == "pg_catalog" =>
            {
                fold_case(name)
            }
            _ => {
                let what = format!("the function {} is not known here", function.name);
                return self.refuse(
                    at,
                    what,
                    "functions of the database's own are not computed here",
                );
            }
        };
        if function.over.is_some() {
            let hint = "write a subquery with GROUP BY, or LATERAL … ORDER BY … LIMIT";
            return self.refuse(at, "window functions are not supported", hint);
        }
        if AGGREGATES.contains(&name.as_str()) {
            let what = format!("the aggregate {name} may not stand here");
            return self.refuse(
                at,
                what,
                "aggregates stand in the SELECT list, HAVING and ORDER BY",
            );
        }
        if is_clock(&name) {
            return self.clock(expr, &name);
        }
        let arguments = match &function.args {
            FunctionArguments::List(list)
                if !function.uses_odbc_syntax
                    && matches!(function.parameters, FunctionArguments::None)
                    && function.within_group.is_empty()
                    && function.filter.is_none()
                    && function.null_treatment.is_none()
                    && list.clauses.is_empty()
                    && !matches!(list.duplicate_treatment, Some(DuplicateTreatment::Distinct)) =>
            {
                list.args.as_slice()
            }
            _ => return self.unsupported(expr),
        };
        if let Some(bound) = self.whole_row(&name, arguments, &at)? {
            return Ok(bound);
        }
        let mut bound = Vec::with_capacity(arguments.len());
        let mut named: Vec<(String, Bound)> = Vec::new();
        for argument in arguments {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(of)) => bound.push(self.expr(of)?),
                FunctionArg::Named {
                    name,
                    arg: FunctionArgExpr::Expr(of),
                    operator: FunctionArgOperator::RightArrow | FunctionArgOperator::Assignment,
                } => named.push((fold_case(name), self.expr(of)?)),
                _ => return self.unsupported(expr),
            }
        }
        if !named.is_empty() {
            bound = self.positional(&name, bound, named, &at)?;
        }
        match (name.as_str(), bound.len()) {
            ("nullif", 2) => {
                let mut bound = bound.into_iter();
                match (bound.next(), bound.next()) {
                    (Some(left), Some(right)) => self.null_if(&at, left, right),
                    _ => self.unsupported(expr),
                }
            }
            ("coalesce", 1..) => self.coalesce(&at, bound),
            ("greatest", 1..) => self.extreme(&at, bound, true),
            ("least", 1..) => self.extreme(&at, bound, false),
            ("nullif" | "coalesce" | "greatest" | "least", count) => {
                self.refuse(at, format!("{name} does not take {count} arguments"), "")
            }
            _ => self.call(&at, &name, bound),
        }
    }

    /// Arguments by name, which make_interval is mostly called with.
    fn positional(
        &self,
        name: &str,
        mut bound: Vec<Bound>,
        named: Vec<(String, Bound)>,
        at: &Range<usize>,
    ) -> Result<Vec<Bound>> {
        const MAKE_INTERVAL: [&str; 7] =
            ["years", "months", "weeks", "days", "hours", "mins", "secs"];
        if name != "make_interval" {
            let what = format!("{name} is not called with names of arguments here");
            return self.refuse(at.clone(), what, "write the arguments in their order");
        }
        let given = bound.len();
        for _ in given..MAKE_INTERVAL.len() {
            bound.push(Bound::new(Node::Const(Scalar::Int(0)), INT4));
        }
        for (name, value) in named {
            match MAKE_INTERVAL.iter().position(|known| *known == name) {
                Some(position) if position >= given => bound[position] = value,
                _ => {
                    let what = format!("make_interval has no argument `{name}`");
                    let hint = format!("its arguments are {}", MAKE_INTERVAL.join(", "));
                    return self.refuse(at.clone(), what, &hint);
                }
            }
        }
        Ok(bound)
    }

    /// `to_jsonb(o)`, `row_to_json(o)`: an object of a table's columns.
    fn whole_row(
        &self,
        name: &str,
        arguments: &[FunctionArg],
        at: &Range<usize>,
    ) -> Result<Option<Bound>> {
        let builder = match name {
            "to_jsonb" => "jsonb_build_object",
            "to_json" | "row_to_json" => "json_build_object",
            _ => return Ok(None),
        };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(table)))] = arguments
        else {
            return Ok(None);
        };
        // A column of that name comes first.
        if self.known.names.column(std::slice::from_ref(table)).is_ok() {
            return Ok(None);
        }
        let Some(columns) = self.known.names.whole_row(table) else { return Ok(None) };
        let mut pairs = Vec::with_capacity(2 * columns.len());
        for (name, field) in columns {
            pairs.push(text_literal(&name));
            let ty = self.known.base(field.ty.oid).0;
            let node = Node::Column {
                position: field.position,
                ty: field.ty.stored,
                not_null: field.ty.not_null,
            };
            pairs.push(Bound::new(node, ty));
        }
        let builder = if builder == "json_build_object" { "row_to_json" } else { builder };
        if builder == "row_to_json" {
            let mut nodes = Vec::new();
            let mut types = Vec::new();
            for bound in pairs {
                types.push(if bound.ty == UNKNOWN { TEXT } else { bound.ty });
                nodes.push(bound.node);
            }
            let types = self.types(&types, JSON);
            let run = super::super::function::row_to_json;
            let node = super::coerce::call("row_to_json", run, false, false, nodes, types);
            return Ok(Some(Bound::new(node, JSON)));
        }
        self.call(at, builder, pairs).map(Some)
    }

    /// A call by name.
    pub(super) fn call(&self, at: &Range<usize>, name: &str, of: Vec<Bound>) -> Result {
        let signatures = CATALOG.functions(name);
        let inputs: Vec<Oid> = of.iter().map(|bound| bound.ty).collect();
        let candidates: Vec<Candidate> =
            signatures.iter().filter_map(|&signature| candidate(signature, inputs.len())).collect();
        let exact = candidates.iter().any(|candidate| candidate.arguments == inputs);
        if !exact && let Some(bound) = self.as_cast(at, name, &of)? {
            return Ok(bound);
        }
        match choose(self.known, &inputs, &candidates) {
            Choice::One(chosen) => {
                if chosen.signature.run.is_none() {
                    self.not_ours(at, name, chosen.signature.volatility)?;
                }
                self.apply(at, chosen, of)
            }
            Choice::Several => {
                let what = format!("the call {name}({}) is not unique", self.shown(&inputs));
                self.refuse(at.clone(), what, "cast the arguments")
            }
            Choice::None if signatures.is_empty() => self.unknown_function(at, name),
            Choice::None => {
                if signatures.iter().all(|signature| signature.run.is_none()) {
                    self.not_ours(at, name, signatures[0].volatility)?;
                }
                let what = format!("there is no function {name}({})", self.shown(&inputs));
                self.refuse(at.clone(), what, "cast the arguments")
            }
        }
    }

    fn shown(&self, types: &[Oid]) -> String {
        let shown: Vec<String> = types.iter().map(|&ty| self.show(ty)).collect();
        shown.join(", ")
    }

    fn not_ours(&self, at: &Range<usize>, name: &str, volatility: u8) -> Result<()> {
        match (name, volatility) {
            (
                "now"
                | "clock_timestamp"
                | "statement_timestamp"
                | "transaction_timestamp"
                | "timeofday"
                | "age",
                _,
            ) => {
                let hint = "a read model changes with its rows alone";
                self.refuse(at.clone(), format!("{name} reads the clock"), hint)
            }
            (_, b'v') => {
                let hint = "a read model must have one answer";
                self.refuse(at.clone(), format!("{name} gives another value at each call"), hint)
            }
            ("power" | "pow", _) => {
                let hint = "cast to double precision: the digits of numeric depend on the server's version";
                self.refuse(at.clone(), format!("{name} of numeric is not supported"), hint)
            }
            ("cbrt", _) => {
                let hint = "write power(x, 1.0 / 3): C libraries differ in the last digit of cbrt";
                self.refuse(at.clone(), "cbrt is not supported", hint)
            }
            ("to_number", _) => {
                let hint = "write replace(text, ',', '')::numeric";
                self.refuse(at.clone(), "to_number is not supported", hint)
            }
            ("regexp_replace" | "regexp_count" | "regexp_substr" | "regexp_instr", _) => {
                let hint =
                    "write regexp_replace (text, pattern, replacement, flags), regexp_match, ~";
                self.refuse(
                    at.clone(),
                    format!("{name} with these arguments is not supported"),
                    hint,
                )
            }
            _ => Ok(()),
        }
    }

    fn unknown_function<T>(&self, at: &Range<usize>, name: &str) -> Result<T> {
        const ALIKE: f64 = 0.8;
        let best = CATALOG
            .function_names()
            .map(|known| (strsim::jaro_winkler(known, name), known))
            .filter(|(alike, _)| *alike >= ALIKE)
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        let (what, hint) = match name {
            "row" => ("ROW (…) as a value is", "write jsonb_build_object, or name the columns"),
            "unnest"
            | "generate_series"
            | "generate_subscripts"
            | "json_array_elements"
            | "json_array_elements_text"
            | "json_each"
            | "json_each_text"
            | "json_object_keys"
            | "jsonb_array_elements"
            | "jsonb_array_elements_text"
            | "jsonb_each"
            | "jsonb_each_text"
            | "jsonb_object_keys"
            | "jsonb_path_query"
            | "regexp_matches"
            | "regexp_split_to_table"
            | "string_to_table" => (
                "functions that give several rows are",
                "project the array or the JSON value as a whole",
            ),
            "cot" | "sinh" | "cosh" | "tanh" | "asinh" | "acosh" | "atanh" | "sind" | "cosd"
            | "tand" => (
                "these trigonometric functions are",
                "there are sin, cos, tan, asin, acos, atan, atan2, degrees and radians",
            ),
            _ => ("", ""),
        };
        if !what.is_empty() {
            return self.refuse(at.clone(), format!("{what} not supported"), hint);
        }
        let hint = match best {
            Some((_, known)) => format!("did you mean {known}?"),
            None => "docs/sql.md lists what expressions may hold".into(),
        };
        self.refuse(at.clone(), format!("the function {name} is not known here"), &hint)
    }

    /// `text(a)`, `date(a)`: a type's name as a function is a cast.
    fn as_cast(&self, at: &Range<usize>, name: &str, of: &[Bound]) -> Result<Option<Bound>> {
        let [of] = of else { return Ok(None) };
        let Some(to) = CATALOG.named(name).filter(|&ty| super::is_builtin(ty)) else {
            return Ok(None);
        };
        if matches!(to, ANY | RECORD | UNKNOWN) {
            return Ok(None);
        }
        let by_cast = of.is_unknown()
            || match path(self.known, of.ty, to, Asked::Explicit) {
                Some(Path::Same) => true,
                Some(Path::Cast(cast)) => cast.method == Method::Binary,
                Some(Path::Text) => self.known.category(to).0 == b'S',
                _ => false,
            };
        if !by_cast {
            return Ok(None);
        }
        self.cast_to(of.clone(), to, -1, at).map(Some)
    }

    /// What upper and lower case are under a collation.
    pub(super) fn ctype(&self, collation: Collation) -> Ctype {
        match collation {
            Collation::C => Ctype::C,
            Collation::Utf8 => Ctype::Libc,
            Collation::Default => self.known.names.database().ctype,
            Collation::Other { .. } | Collation::Conflict => Ctype::Unknown,
        }
    }
}

/// A signature for so many arguments, if it takes them.
fn candidate(signature: &'static Signature, count: usize) -> Option<Candidate> {
    let declared = &signature.arguments;
    if signature.variadic && count + 1 > declared.len() && !declared.is_empty() {
        let mut arguments = declared.clone();
        let last = arguments.pop()?;
        let element = CATALOG.element(last).unwrap_or(last);
        arguments.resize(count, element);
        return (count >= declared.len()).then_some(Candidate { signature, arguments });
    }
    let least = declared.len() - signature.defaults.min(declared.len());
    (least..=declared.len())
        .contains(&count)
        .then(|| Candidate { signature, arguments: declared[..count].to_vec() })
}

fn text_literal(text: &str) -> Bound {
    Bound::new(Node::Const(Scalar::Text(text.to_owned().into())), UNKNOWN)
}

/// A field of a time as Postgres' functions name it.
fn field_name(field: &DateTimeField) -> String {
    match field {
        DateTimeField::Custom(Ident { value, quote_style: Some(_), .. }) => value.clone(),
        field => field.to_string().trim_matches('\'').to_lowercase(),
    }
}
