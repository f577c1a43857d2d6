//! Holds the source to what its documents say: which room may use which, what is named where, and
//! that nothing unfinished or merely slept over comes in.

#![allow(clippy::unwrap_used, reason = "a test may: the panic is its failure")]

use std::fs;
use std::path::{Path, PathBuf};

/// What a room may use beside `lsn`, which all may. A change here is a decision for ARCHITECTURE.md.
const ROOMS: &[(&str, &[&str])] = &[
    ("lsn", &[]),
    ("value", &[]),
    ("pgoutput", &["value"]),
    ("sql", &["value"]),
    ("engine", &["sql", "value"]),
    ("output", &["engine", "value"]),
    ("pipeline", &["output", "engine", "sql", "pgoutput", "value"]),
    ("memory", &[]),
    ("metrics", &[]),
    ("failpoint", &[]),
    ("config", &["value"]),
    ("pg", &["config", "metrics"]),
    ("source", &["pg", "pgoutput", "engine", "sql", "value", "config", "metrics"]),
    ("state", &["output", "engine", "value", "config", "metrics"]),
    ("sink", &["output", "engine", "sql", "pg", "value", "config", "metrics", "failpoint"]),
    ("http", ALL),
    ("cli", ALL),
    ("main", ALL),
    ("lib", ALL),
];

const ALL: &[&str] = &["*"];

/// Rooms that decide and never act: no I/O, no clock, no tasks.
const PURE: &[&str] = &["lsn", "value", "pgoutput", "sql", "engine", "output", "pipeline"];

/// The files of `pipeline` that do what the others decide.
const DOER: &str = "src/pipeline/run";

const IMPURE_PATHS: &[&str] = &[
    "tokio",
    "tokio_util",
    "tokio_postgres",
    "tokio_rustls",
    "rustls",
    "redis",
    "elasticsearch",
    "fjall",
    "axum",
    "reqwest",
    "std::fs",
    "std::net",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// A client crate and the only place that names it.
const ONE_HOME: &[(&str, &str)] = &[
    ("redis", "src/sink/redis/"),
    ("elasticsearch", "src/sink/elasticsearch/"),
    ("fjall", "src/state/"),
];

#[test]
fn rooms_use_what_the_table_allows() {
    let mut faults = Vec::new();
    for file in rust_files("src") {
        let Some(allowed) = ROOMS.iter().find(|(room, _)| *room == file.room()).map(|(_, a)| *a)
        else {
            faults.push(format!("{}: its room is not in the table", file.name));
            continue;
        };
        if allowed == ALL || file.name.starts_with(DOER) {
            continue;
        }
        for path in paths(file.code()) {
            let Some(used) = path.strip_prefix("crate::") else { continue };
            let used = used.split("::").next().unwrap_or_default();
            let is_room = ROOMS.iter().any(|(room, _)| *room == used);
            if is_room && used != file.room() && used != "lsn" && !allowed.contains(&used) {
                faults.push(format!("{}: {} may not use {path}", file.name, file.room()));
            }
        }
    }
    none(&faults);
}

#[test]
fn rooms_that_decide_do_not_act() {
    let mut faults = Vec::new();
    for file in rust_files("src") {
        if !PURE.contains(&file.room()) || file.name.starts_with(DOER) {
            continue;
        }
        for path in paths(file.code()) {
            if IMPURE_PATHS.iter().any(|impure| is_within(&path, impure)) {
                faults.push(format!("{}: {path} acts; {} only decides", file.name, file.room()));
            }
        }
    }
    none(&faults);
}

#[test]
fn client_crates_have_one_home() {
    let mut faults = Vec::new();
    for file in rust_files("src") {
        for (client, home) in ONE_HOME {
            // A room's own module may bear the client's name.
            let is_module = file.code().contains(&format!("mod {client};"));
            if file.name.starts_with(home) || is_module {
                continue;
            }
            for path in paths(file.code()) {
                if is_within(&path, client) {
                    faults.push(format!("{}: {path} belongs into {home}", file.name));
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn nothing_unfinished_stays() {
    // In pieces, so that this file passes too.
    let marks =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("db", "g!")];
    let mut faults = Vec::new();
    for dir in ["src", "tests", "examples", "benches", "fuzz"] {
        for file in rust_files(dir) {
            for (number, line) in file.text.lines().enumerate() {
                if marks.iter().any(|mark| has_word(line, mark)) {
                    faults.push(format!("{}:{}: {}", file.name, number + 1, line.trim()));
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn tests_wait_for_conditions() {
    let sleeps = [concat!("thread::", "sleep"), concat!("time::", "sleep")];
    let mut faults = Vec::new();
    for dir in ["src", "tests"] {
        for file in rust_files(dir) {
            if file.name == "tests/it/harness/wait.rs" {
                continue;
            }
            if sleeps.iter().any(|sleep| file.tests().contains(sleep)) {
                faults.push(format!("{}: sleeps in a test", file.name));
            }
        }
    }
    none(&faults);
}

#[test]
fn documents_name_files_that_exist() {
    let mut faults = Vec::new();
    for entry in fs::read_dir(root()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if !name.ends_with(".md") {
            continue;
        }
        for file in files_named_in(&fs::read_to_string(entry.path()).unwrap()) {
            if !root().join(&file).exists() {
                faults.push(format!("{name} names {file}, which does not exist"));
            }
        }
    }
    none(&faults);
}

#[test]
fn the_architecture_names_what_is_there() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(text.lines().count() <= 200, "a map, not a book");
    let mut faults = Vec::new();
    let code: String =
        ["src", "tests"].into_iter().flat_map(rust_files).map(|file| file.text).collect();
    let is_test =
        |name: &&str| name.len() > 24 && name.chars().all(|c| c == '_' || c.is_ascii_lowercase());
    for test in text.split('`').skip(1).step_by(2).filter(is_test) {
        if !code.contains(&format!("fn {test}(")) {
            faults.push(format!("ARCHITECTURE.md names {test}, which does not exist"));
        }
    }
    for (room, allowed) in ROOMS.iter().filter(|(_, allowed)| *allowed != ALL) {
        let row = text.lines().find(|line| {
            line.starts_with(&format!("| `{room}/`")) || line.starts_with(&format!("| `{room}.rs`"))
        });
        let told = row.and_then(|row| row.trim_end_matches('|').rsplit('|').next());
        let told = told.unwrap_or("no row").trim();
        let same = match told {
            "" | "nothing; all may use it" => allowed.is_empty(),
            "all above; `run` all" => *room == "pipeline",
            told => {
                let (mut told, mut allowed): (Vec<_>, Vec<_>) =
                    (told.split(", ").collect(), allowed.to_vec());
                told.sort_unstable();
                allowed.sort_unstable();
                told == allowed
            }
        };
        if !same {
            faults.push(format!("{room} may use {allowed:?}; ARCHITECTURE.md says: {told}"));
        }
    }
    none(&faults);
}

#[test]
fn the_scanner_sees_what_it_should() {
    let code = r#"
        use crate::{lsn::Lsn, sink::{self, redis::Step as S}};
        pub(crate) use std::time::Instant;
        // crate::comment
        /* crate::block */
        fn f<'a>(x: &'a str) { crate::pg::connect("crate::text", '"', b'\''); a.b::<c::D>(); }
        fn g(x: &u8) -> impl Iterator + use<'_> { crate::state::open() }
    "#;
    let code = without_comments_and_text(code);
    let found = paths(&code);
    for path in [
        "crate::lsn::Lsn",
        "crate::sink::self",
        "crate::sink::redis::Step",
        "std::time::Instant",
        "crate::pg::connect",
        "crate::state::open",
    ] {
        assert!(found.contains(&path.to_owned()), "{path} is not in {found:?}");
    }
    assert!(!found.iter().any(|p| p.contains("comment") || p.contains("text")), "{found:?}");
    assert!(!found.iter().any(|p| p.contains("block")), "{found:?}");

    let text =
        "`./demo`, [map](ARCHITECTURE.md), [site](https://x.y/z), `tests/it/`, `a/b`, `src/*`";
    assert_eq!(files_named_in(text), ["./demo", "tests/it/", "ARCHITECTURE.md"]);
}

struct SourceFile {
    /// From the root of the repository.
    name: String,
    text: String,
    /// Without comments and literals.
    bare: String,
}

impl SourceFile {
    /// `src/pg/wire.rs` and `src/pg.rs` are of the room `pg`.
    fn room(&self) -> &str {
        let inside = self.name.strip_prefix("src/").unwrap_or_default();
        inside.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn split(&self) -> (&str, &str) {
        let is_test = self.name.starts_with("tests/")
            || self.name.ends_with("/tests.rs")
            || self.name.contains("/tests/");
        if is_test {
            return ("", &self.bare);
        }
        // By convention the tests beside the code are the end of their file.
        let start = self.bare.match_indices("#[cfg(test)]").find(|(at, mark)| {
            let next = self.bare[at + mark.len()..].trim_start();
            next.starts_with("mod ")
                && next.find(['{', ';']).is_some_and(|at| next[at..].starts_with('{'))
        });
        self.bare.split_at(start.map_or(self.bare.len(), |(at, _)| at))
    }

    /// What is shipped.
    fn code(&self) -> &str {
        self.split().0
    }

    fn tests(&self) -> &str {
        self.split().1
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &str) -> Vec<SourceFile> {
    let mut files = Vec::new();
    collect(&root().join(dir), &mut files);
    files.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        SourceFile { name, bare: without_comments_and_text(&text), text }
    };
    files.into_iter().map(read).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_name) && !line[at + word.len()..].starts_with(is_name)
    })
}

/// Every path of the code with at least two segments, `use` groups spread out.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(is_name) {
        let before_is_path = rest[..start].ends_with("::");
        rest = &rest[start..];
        let end = rest.find(|c| !is_name(c) && c != ':').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        // `impl Trait + use<'a>` captures and imports nothing.
        if word == "use" && !rest.trim_start().starts_with('<') {
            let end = rest.find(';').unwrap_or(rest.len());
            spread("", &rest[..end], &mut found);
            rest = &rest[end..];
        } else if word.contains("::") && !before_is_path {
            found.push(word.trim_end_matches(':').to_owned());
        }
    }
    found
}

/// `a::{b, c::{d as e}}` below `prefix` is `a::b` and `a::c::d`.
fn spread(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim().trim_start_matches("::");
    let Some((head, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        if !path.is_empty() {
            found.push(format!("{prefix}{path}"));
        }
        return;
    };
    let prefix = format!("{prefix}{}", head.trim());
    let group = group.rsplit_once('}').map_or(group, |(inside, _)| inside);
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                spread(&prefix, &group[start..at], found);
                start = at + 1;
            }
            _ => {}
        }
    }
    spread(&prefix, &group[start..], found);
}

/// Each comment and literal is one blank, so that what looks like code in them is none.
fn without_comments_and_text(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skip = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => quoted(rest, '"'),
            // A lifetime has no closing quote after one character.
            '\'' if rest[1..].starts_with('\\') => quoted(rest, '\''),
            '\'' => match rest.char_indices().nth(2) {
                Some((at, '\'')) => at + 1,
                _ => 0,
            },
            'r' if !code.ends_with(is_name) || code.ends_with('b') => raw_text(rest),
            _ => 0,
        };
        if skip > 0 {
            code.push(' ');
            rest = &rest[skip..];
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    code
}

/// Length of the literal that `text` begins with, its quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of the raw string that `text` begins with; 0 when it is none.
fn raw_text(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|b| *b == b'#').count();
    let open = 1 + hashes;
    if !text[open..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[open + 1..].find(&close).map_or(text.len(), |end| open + 1 + end + close.len())
}

/// Links to files, and names in backticks that begin with `./` or a directory of ours. `/v1/wait` is no file.
fn files_named_in(markdown: &str) -> Vec<String> {
    let quoted = markdown.split('`').skip(1).step_by(2).filter(|name| {
        let top = name.split_once('/').map(|(top, _)| top);
        let plain = |c: char| is_name(c) || "./-".contains(c);
        name.chars().all(plain)
            && top.is_some_and(|t| t == "." || !t.is_empty() && root().join(t).is_dir())
    });
    let linked = markdown.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let linked = linked.filter(|target| !target.is_empty() && !target.contains(':'));
    quoted.chain(linked).map(Into::into).collect()
}
