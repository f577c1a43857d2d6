//! A fault for people: what, where (file:line:column with a caret), why, and what to do.

use std::sync::Arc;

/// A span of the configuration file, or of no file (an environment variable, a default).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub file: Option<Arc<SourceFile>>,
    /// Byte range in the file's text.
    pub span: std::ops::Range<usize>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    pub path: String,
    pub text: String,
}

/// One fault. Faults are collected: `check` shows all of them at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub what: String,
    pub place: Option<Place>,
    /// What to do, beginning with a verb; statements to type stand on lines of their own.
    pub hint: Option<String>,
}
