//! Expressions of a wanted type, at random.

use std::collections::HashMap;

use readside::sql::expr::{Computed, Kind};

use super::pools::pools;
use super::table::literal;

/// How deep an argument is nested.
const DEPTH_MAX: usize = 2;

pub(super) struct Generator<'a> {
    rng: fastrand::Rng,
    by_result: HashMap<&'a str, Vec<&'a Computed>>,
}

impl<'a> Generator<'a> {
    pub(super) fn new(rng: fastrand::Rng, all: &'a [Computed]) -> Self {
        let mut by_result: HashMap<&str, Vec<&Computed>> = HashMap::new();
        for of in all {
            by_result.entry(&of.result).or_default().push(of);
        }
        Self { rng, by_result }
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.rng.usize(..end)
    }

    /// A call of this signature with arguments of its types.
    pub(super) fn call(&mut self, of: &Computed) -> String {
        let depth = self.rng.usize(..DEPTH_MAX);
        self.written(of, depth)
    }

    fn written(&mut self, of: &Computed, depth: usize) -> String {
        // One type for all that are of any.
        let any = ["int4", "text", "numeric"][self.below(3)];
        let mut types: Vec<String> =
            of.arguments.iter().map(|ty| concrete(ty, any).to_owned()).collect();
        if of.variadic {
            let last = types.pop().unwrap_or_default();
            let element = last.strip_prefix('_').unwrap_or(&last).to_owned();
            for _ in 0..self.rng.usize(1..5) {
                types.push(element.clone());
            }
        }
        let arguments: Vec<String> = types
            .iter()
            .map(|ty| match ty.as_str() {
                "any" => {
                    let pools = pools();
                    let pool = &pools[self.below(pools.len())];
                    if self.rng.u8(..3) == 0 { self.of("text", 0) } else { pool.name.into() }
                }
                ty => self.of(ty, depth),
            })
            .collect();
        let units = [
            "'year'",
            "'month'",
            "'day'",
            "'hour'",
            "'second'",
            "'week'",
            "'decade'",
            "'century'",
            "'quarter'",
            "'milliseconds'",
            "'microseconds'",
            "'epoch'",
            "'dow'",
            "'isodow'",
            "'doy'",
            "'isoyear'",
            "'julian'",
            "'minute'",
            "'millennium'",
            "'timezone'",
        ];
        match (of.kind, of.name, arguments.as_slice()) {
            (_, "extract", [_, from]) => {
                let unit = units[self.below(units.len())].trim_matches('\'');
                format!("extract({unit} FROM {from})")
            }
            (_, "date_trunc" | "date_part", [_, from]) => {
                format!("{}({}, {from})", of.name, units[self.below(units.len())])
            }
            (_, "to_char", [of, _]) => {
                let patterns: &[&str] = match of_number(&types[0]) {
                    true => &[
                        "9999",
                        "FM9999.99",
                        "0000",
                        "999,999.00",
                        "FM999,990.0099",
                        "9.9",
                        "FM0.00",
                        ".99",
                        "99,9",
                        "FM9,999",
                        "9990",
                        "0999.9",
                    ],
                    false => &[
                        "YYYY-MM-DD HH24:MI:SS",
                        "Dy, DD Mon YYYY",
                        "FMMonth FMDDth, YYYY",
                        "Day|MONTH|month",
                        "IYYY-IW-ID",
                        "HH12:MI AM",
                        "YYYY\"x\"Q",
                        "DDD J WW W",
                        "MS US SSSS",
                        "Y,YYY YYY YY Y BC",
                        "CC RM TZ TZH OF",
                        "IDDD IYY IY I D",
                        "DDTH ddth FMMI a.m. b.c.",
                        "YYYY-MM-DD\"T\"HH24:MI:SS.USTZH:TZM",
                        "FF1FF3FF6",
                    ],
                };
                format!("to_char({of}, '{}')", patterns[self.below(patterns.len())])
            }
            (_, "to_date" | "to_timestamp", [_, _]) => {
                let read = super::pools::READ;
                let (text, pattern) = read[self.below(read.len())];
                let mut text = text.to_owned();
                // What is written for another pattern, and what is nearly right.
                match self.below(4) {
                    0 => text = read[self.below(read.len())].0.to_owned(),
                    1 => {
                        let mut letters: Vec<char> = text.chars().collect();
                        let at = self.below(letters.len() + 1);
                        letters.truncate(letters.len() - self.below(2).min(letters.len() - at));
                        letters.insert(
                            at.min(letters.len()),
                            ['1', ' ', '-', '0', 'x', '9'][self.below(6)],
                        );
                        text = letters.into_iter().collect();
                    }
                    _ => {}
                }
                format!("{}({}, {})", of.name, literal(&text), literal(pattern))
            }
            (_, "timezone", [_, from]) => {
                let zones = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "nowhere"];
                format!("({from} AT TIME ZONE '{}')", zones[self.below(zones.len())])
            }
            (
                _,
                "bpchar" | "varchar" | "numeric" | "timestamp" | "timestamptz" | "time",
                [from, _, ..],
            ) => {
                let ty = match of.name {
                    "numeric" => ["numeric(10,2)", "numeric(5)", "numeric(3,3)"][self.below(3)],
                    "bpchar" => ["char(3)", "char(10)"][self.below(2)],
                    "varchar" => ["varchar(3)", "varchar(10)"][self.below(2)],
                    "timestamp" => "timestamp(2)",
                    "timestamptz" => "timestamptz(0)",
                    _ => "time(3)",
                };
                format!("({from})::{ty}")
            }
            (Kind::Operator, name @ ("~" | "!~" | "~*" | "!~*"), [left, _]) => {
                format!("({left} {name} {})", literal(&self.pattern()))
            }
            (_, name, [of, _, rest @ ..]) if name.starts_with("regexp_") => {
                let mut call = format!("{name}({of}, {}", literal(&self.pattern()));
                let replacement = ["<\\&>", "", "\\1-\\2", "x", "\\\\\\3", "$1"][self.below(6)];
                if name == "regexp_replace" {
                    call.push_str(&format!(", {}", literal(replacement)));
                }
                if rest.len() > usize::from(name == "regexp_replace") {
                    let flags = if name == "regexp_replace" { 4 } else { 3 };
                    call.push_str([", 'i'", ", ''", ", 'c'", ", 'gi'"][self.below(flags)]);
                }
                format!("{call})")
            }
            (_, "substring", [of, _]) if types == ["text", "text"] => {
                format!("substring({of} FROM {})", literal(&self.pattern()))
            }
            (Kind::Operator, name, [of]) => format!("({name} {of})"),
            (Kind::Operator, "~~" | "!~~" | "~~*" | "!~~*", [left, right]) => {
                let name = match of.name {
                    "~~" => "LIKE",
                    "!~~" => "NOT LIKE",
                    "~~*" => "ILIKE",
                    _ => "NOT ILIKE",
                };
                format!("({left} {name} {right})")
            }
            (Kind::Operator, name, [left, right]) => format!("({left} {name} {right})"),
            (Kind::Cast, name, [of]) => format!("({of})::{name}"),
            (_, "position", [of, part]) => format!("position({part} IN {of})"),
            (_, name @ ("time" | "timestamp" | "interval" | "numeric"), arguments) => {
                format!("\"{name}\"({})", arguments.join(", "))
            }
            (_, name, arguments) => format!("{name}({})", arguments.join(", ")),
        }
    }

    /// A regular expression: one that people write, or any over few letters.
    fn pattern(&mut self) -> String {
        if self.below(3) > 0 {
            return super::pools::PATTERNS[self.below(super::pools::PATTERNS.len())].into();
        }
        self.branch(2)
    }

    fn branch(&mut self, depth: u8) -> String {
        const ATOMS: [&str; 14] =
            ["a", "b", "c", "ab", ".", "[ab]", "[^a]", "\\w", "\\d", " ", "o", "\\s", "^", "$"];
        const TIMES: [&str; 12] = ["", "", "", "", "*", "+", "?", "{2}", "{1,2}", "*?", "+?", "??"];
        let parts = (0..self.rng.usize(1..4)).map(|_| {
            let atom = match self.rng.u8(..6) {
                0 if depth > 0 => format!("({})", self.branch(depth - 1)),
                1 if depth > 0 => {
                    format!("({}|{})", self.branch(depth - 1), self.branch(depth - 1))
                }
                2 if depth > 0 => format!("(?:{})", self.branch(depth - 1)),
                _ => ATOMS[self.below(ATOMS.len())].to_owned(),
            };
            let greedy = self.below(4) > 0;
            let times = TIMES[self.below(if greedy { 9 } else { TIMES.len() })];
            format!("{atom}{times}")
        });
        parts.collect()
    }

    /// An expression of this type.
    fn of(&mut self, ty: &str, depth: usize) -> String {
        match self.rng.u8(..12) {
            0 => return self.constant(ty),
            1 | 2 if depth > 0 && ty == "bool" => return self.condition(depth - 1),
            1 if depth > 0 && (ty == "_int4" || ty == "_text") => {
                let element = &ty[1..];
                return format!("ARRAY[{}, {}]", self.of(element, depth - 1), self.of(element, 0));
            }
            1 if depth > 0 => {
                let (one, two) = (self.of(ty, depth - 1), self.of(ty, depth - 1));
                return match self.rng.u8(..6) {
                    4 => format!("greatest({one}, {two})"),
                    5 => format!("least({one}, {two})"),
                    0 => format!("coalesce({one}, {two})"),
                    1 => format!("nullif({one}, {two})"),
                    2 => format!("(CASE WHEN {} THEN {one} ELSE {two} END)", self.of("bool", 0)),
                    _ => format!("(CASE i4 WHEN 1 THEN {one} WHEN i2 THEN {two} END)"),
                };
            }
            2..=5 if depth > 0 => {
                if let Some(all) = self.by_result.get(ty) {
                    let of = all[self.rng.usize(..all.len())];
                    // The functions of these names are casts with a length.
                    if !(of.kind == Kind::Function
                        && of.arguments.len() > 2
                        && of.name == of.result)
                    {
                        return self.written(of, depth - 1);
                    }
                }
            }
            _ => {}
        }
        let columns: Vec<&'static str> =
            pools().iter().filter(|pool| pool.type_name == ty).map(|pool| pool.name).collect();
        if columns.is_empty() {
            return self.constant(ty);
        }
        columns[self.below(columns.len())].to_owned()
    }

    /// What no function stands for.
    pub(super) fn condition(&mut self, depth: usize) -> String {
        let types = [
            "int4",
            "numeric",
            "text",
            "float8",
            "date",
            "timestamptz",
            "varchar",
            "mood",
            "bool",
            "uuid",
            "jsonb",
            "int8",
            "bpchar",
            "interval",
            "_int4",
        ];
        let ty = types[self.below(types.len())];
        let (one, two, three) = (self.of(ty, depth), self.of(ty, 0), self.of(ty, 0));
        let not = ["", "NOT "][self.below(2)];
        match self.rng.u8(..14) {
            0 => format!("({one} {not}IN ({two}, {three}))"),
            1 => format!("({one} {not}IN ({}, {}, {two}))", self.constant(ty), self.constant(ty)),
            2 => format!("({one} {not}BETWEEN {two} AND {three})"),
            3 => format!("({one} IS {not}DISTINCT FROM {two})"),
            4 => format!("({one} IS {not}NULL)"),
            5 => {
                let what = ["TRUE", "FALSE", "UNKNOWN"][self.below(3)];
                format!("({} IS {not}{what})", self.of("bool", depth))
            }
            6 => format!("({} AND {})", self.of("bool", depth), self.of("bool", depth)),
            7 => format!("({} OR {})", self.of("bool", depth), self.of("bool", depth)),
            8 => format!("(NOT {})", self.of("bool", depth)),
            9 => {
                let (operator, every) =
                    (["=", "<>", "<", ">="][self.below(4)], ["ANY", "ALL"][self.below(2)]);
                let (element, array) =
                    [("int4", "_int4"), ("text", "_text"), ("int8", "_int4")][self.below(3)];
                format!("({} {operator} {every} ({}))", self.of(element, depth), self.of(array, 0))
            }
            10 => format!("({one} = {two} AND {two} <> {three})"),
            11 => format!("({one} = {})", self.constant(ty)),
            12 => format!("(({one}, {}) = ({two}, {}))", self.of("int4", 0), self.of("int2", 0)),
            _ => format!("(CASE {one} WHEN {two} THEN TRUE WHEN {three} THEN b END)"),
        }
    }

    fn constant(&mut self, ty: &str) -> String {
        let pools = pools();
        let values: Vec<&str> = pools
            .iter()
            .filter(|pool| pool.type_name == ty)
            .flat_map(|pool| pool.values.iter().copied())
            .collect();
        let shown = match ty.strip_prefix('_') {
            Some(element) => format!("{element}[]"),
            None => ty.to_owned(),
        };
        if values.is_empty() {
            return format!("NULL::{shown}");
        }
        let value = values[self.below(values.len())];
        match self.rng.u8(..6) {
            0 => format!("NULL::{shown}"),
            1 => literal(value),
            _ => format!("{}::{shown}", literal(value)),
        }
    }
}

/// A type for one that stands for several.
fn concrete<'t>(ty: &'t str, any: &'t str) -> &'t str {
    match (ty, any) {
        ("anyarray" | "anycompatiblearray", "text") => "_text",
        ("anyarray" | "anycompatiblearray", "numeric") => "_numeric",
        ("anyarray" | "anycompatiblearray", _) => "_int4",
        ("anyelement" | "anynonarray" | "anycompatible" | "anycompatiblenonarray", any) => any,
        ("anyenum", _) => "mood",
        (ty, _) => ty,
    }
}

fn of_number(ty: &str) -> bool {
    matches!(ty, "int4" | "int8" | "numeric")
}
