//! Templates: text with column names in braces; `{{` and `}}` are braces.

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Literal(String),
    /// The exact name of a column of the row.
    Column(String),
}
