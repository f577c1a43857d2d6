//! Postgres' own catalog, as far as expressions go: types, casts, operators and functions with all the
//! signatures that Postgres chooses among, ours or not. Plain facts, in the text files beside this
//! one; what computes is attached to them from `function`.
//!
//! ```text
//! types.txt:     oid name category preferred oid-of-array name-for-humans
//! casts.txt:     from to context(i, a, e) method(f, b, i) volatility
//! operators.txt: name left right result volatility strict
//! functions.txt: name volatility strict variadic defaults result arguments…
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use super::function::{self, Run};

pub(super) type Oid = u32;

pub(super) const BOOL: Oid = 16;
pub(super) const BYTEA: Oid = 17;
pub(super) const NAME: Oid = 19;
pub(super) const INT8: Oid = 20;
pub(super) const INT2: Oid = 21;
pub(super) const INT4: Oid = 23;
pub(super) const TEXT: Oid = 25;
pub(super) const JSON: Oid = 114;
pub(super) const FLOAT4: Oid = 700;
pub(super) const FLOAT8: Oid = 701;
pub(super) const UNKNOWN: Oid = 705;
pub(super) const BPCHAR: Oid = 1042;
pub(super) const VARCHAR: Oid = 1043;
pub(super) const DATE: Oid = 1082;
pub(super) const TIME: Oid = 1083;
pub(super) const TIMESTAMP: Oid = 1114;
pub(super) const TIMESTAMPTZ: Oid = 1184;
pub(super) const INTERVAL: Oid = 1186;
pub(super) const TIMETZ: Oid = 1266;
pub(super) const NUMERIC: Oid = 1700;
pub(super) const RECORD: Oid = 2249;
pub(super) const ANY: Oid = 2276;
pub(super) const ANYARRAY: Oid = 2277;
pub(super) const ANYELEMENT: Oid = 2283;
pub(super) const ANYNONARRAY: Oid = 2776;
pub(super) const UUID: Oid = 2950;
pub(super) const ANYENUM: Oid = 3500;
pub(super) const JSONB: Oid = 3802;
pub(super) const ANYRANGE: Oid = 3831;
pub(super) const ANYMULTIRANGE: Oid = 4537;
pub(super) const ANYCOMPATIBLE: Oid = 5077;
pub(super) const ANYCOMPATIBLEARRAY: Oid = 5078;
pub(super) const ANYCOMPATIBLENONARRAY: Oid = 5079;

/// A built-in type that is no array.
pub(super) struct PgType {
    pub(super) oid: Oid,
    pub(super) name: &'static str,
    pub(super) category: u8,
    pub(super) preferred: bool,
    pub(super) array: Oid,
    pub(super) display: String,
}

/// How a value of one type becomes one of another.
#[derive(Clone, Copy)]
pub(super) struct Cast {
    /// i implicit, a in assignments, e explicit.
    pub(super) context: u8,
    pub(super) method: Method,
    pub(super) signature: &'static Signature,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Function,
    /// The same bytes.
    Binary,
    /// By way of the text.
    Text,
}

/// One function or operator, for certain types of arguments.
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) arguments: Vec<Oid>,
    pub(super) result: Oid,
    /// NULL for a NULL.
    pub(super) strict: bool,
    pub(super) volatility: u8,
    /// The last argument may be repeated, or, for the type "any", any number may follow.
    pub(super) variadic: bool,
    /// So many of the last arguments may be left out.
    pub(super) defaults: usize,
    /// `None`: Postgres has it, we do not.
    pub(super) run: Option<Run>,
}

/// As the registry writes it.
impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments: Vec<String> = self.arguments.iter().map(|oid| name_of(*oid)).collect();
        write!(f, "{}({})", self.name, arguments.join(","))
    }
}

pub(super) struct Catalog {
    types: Vec<PgType>,
    by_oid: HashMap<Oid, usize>,
    by_name: HashMap<&'static str, usize>,
    elements: HashMap<Oid, Oid>,
    pub(super) casts: HashMap<(Oid, Oid), Cast>,
    operators: HashMap<&'static str, Vec<&'static Signature>>,
    functions: HashMap<&'static str, Vec<&'static Signature>>,
}

pub(super) static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::load);

impl Catalog {
    fn load() -> Self {
        let mut types = Vec::new();
        for line in include_str!("types.txt").lines() {
            if let [oid, name, category, preferred, array, display] = *words(line) {
                types.push(PgType {
                    oid: number(oid),
                    name,
                    category: category.as_bytes()[0],
                    preferred: preferred == "t",
                    array: number(array),
                    display: display.replace('_', " "),
                });
            }
        }
        let by_oid = types.iter().enumerate().map(|(at, ty)| (ty.oid, at)).collect();
        let by_name = types.iter().enumerate().map(|(at, ty)| (ty.name, at)).collect();
        let elements = types.iter().map(|ty| (ty.array, ty.oid)).collect();
        let mut catalog = Self {
            types,
            by_oid,
            by_name,
            elements,
            casts: HashMap::new(),
            operators: HashMap::new(),
            functions: HashMap::new(),
        };
        let runs = function::runs();
        catalog.load_casts(&runs);
        catalog.load_operators(&runs);
        catalog.load_functions(&runs);
        catalog
    }

    fn load_casts(&mut self, runs: &HashMap<String, Run>) {
        for line in include_str!("casts.txt").lines() {
            let [from, to, context, method, volatility] = *words(line) else { continue };
            let (Some(source), Some(target)) = (self.named(from), self.named(to)) else { continue };
            let signature = Signature {
                name: to,
                arguments: vec![source],
                result: target,
                strict: true,
                volatility: volatility.as_bytes()[0],
                variadic: false,
                defaults: 0,
                run: runs.get(&format!("{from}::{to}")).copied(),
            };
            let method = match method {
                "f" => Method::Function,
                "b" => Method::Binary,
                _ => Method::Text,
            };
            let signature: &'static Signature = Box::leak(Box::new(signature));
            let cast = Cast { context: context.as_bytes()[0], method, signature };
            self.casts.insert((source, target), cast);
        }
    }

    fn load_operators(&mut self, runs: &HashMap<String, Run>) {
        for line in include_str!("operators.txt").lines() {
            let [name, left, right, result, volatility, strict] = *words(line) else { continue };
            let names: Vec<&str> = [left, right].into_iter().filter(|name| *name != "-").collect();
            let signature = self.signature(name, &names, result, runs);
            let Some(mut signature) = signature else { continue };
            signature.volatility = volatility.as_bytes()[0];
            signature.strict = strict == "s";
            let signature: &'static Signature = Box::leak(Box::new(signature));
            self.operators.entry(name).or_default().push(signature);
        }
    }

    fn load_functions(&mut self, runs: &HashMap<String, Run>) {
        for line in include_str!("functions.txt").lines() {
            let [name, volatility, strict, variadic, defaults, result, arguments @ ..] =
                &*words(line)
            else {
                continue;
            };
            let Some(mut signature) = self.signature(name, arguments, result, runs) else {
                continue;
            };
            signature.volatility = volatility.as_bytes()[0];
            signature.strict = *strict == "s";
            signature.variadic = *variadic == "v";
            signature.defaults = number(defaults) as usize;
            let signature: &'static Signature = Box::leak(Box::new(signature));
            self.functions.entry(name).or_default().push(signature);
        }
    }

    fn signature(
        &self,
        name: &'static str,
        arguments: &[&str],
        result: &str,
        runs: &HashMap<String, Run>,
    ) -> Option<Signature> {
        Some(Signature {
            name,
            arguments: arguments.iter().map(|name| self.named(name)).collect::<Option<_>>()?,
            result: self.named(result)?,
            strict: true,
            volatility: b'i',
            variadic: false,
            defaults: 0,
            run: runs.get(&format!("{name}({})", arguments.join(","))).copied(),
        })
    }

    pub(super) fn ty(&self, oid: Oid) -> Option<&PgType> {
        self.by_oid.get(&oid).map(|at| &self.types[*at])
    }

    /// By pg_type's name, `_int4` being the arrays of `int4`.
    pub(super) fn named(&self, name: &str) -> Option<Oid> {
        if let Some(element) = name.strip_prefix('_')
            && let Some(at) = self.by_name.get(element)
        {
            return Some(self.types[*at].array);
        }
        match name {
            "anyarray" => Some(ANYARRAY),
            "anycompatiblearray" => Some(ANYCOMPATIBLEARRAY),
            _ => self.by_name.get(name).map(|at| self.types[*at].oid),
        }
    }

    pub(super) fn element(&self, array: Oid) -> Option<Oid> {
        self.elements.get(&array).copied().filter(|_| array != 0)
    }

    pub(super) fn operators(&self, name: &str) -> &[&'static Signature] {
        self.operators.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn functions(&self, name: &str) -> &[&'static Signature] {
        self.functions.get(name).map_or(&[], Vec::as_slice)
    }

    /// Names of the functions that are computed here.
    pub(super) fn function_names(&self) -> impl Iterator<Item = &'static str> {
        self.functions
            .iter()
            .filter(|(_, all)| all.iter().any(|signature| signature.run.is_some()))
            .map(|(name, _)| *name)
    }

    /// All that are computed here: operators, functions, casts.
    pub(super) fn computed(&self) -> Vec<(Kind, &'static Signature)> {
        let operators = self.operators.values().flatten().map(|of| (Kind::Operator, *of));
        let functions = self.functions.values().flatten().map(|of| (Kind::Function, *of));
        let casts = self.casts.values().map(|cast| (Kind::Cast, cast.signature));
        operators
            .chain(functions)
            .chain(casts)
            .filter(|(_, signature)| signature.run.is_some())
            .collect()
    }
}

/// How something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Operator,
    Function,
    Cast,
}

/// pg_type's name.
pub(super) fn name_of(oid: Oid) -> String {
    match (CATALOG.ty(oid), CATALOG.element(oid)) {
        (Some(ty), _) => ty.name.to_owned(),
        (None, Some(element)) => format!("_{}", name_of(element)),
        (None, None) => oid.to_string(),
    }
}

fn words(line: &'static str) -> Box<[&'static str]> {
    line.split(' ').filter(|word| !word.is_empty()).collect()
}

fn number(text: &str) -> u32 {
    text.parse().expect("the catalog's files have numbers there")
}
