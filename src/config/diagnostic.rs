//! A fault for people: what, where (file:line:column with a caret), why, and what to do.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::place::Place;

/// One fault. Faults are collected: `check` shows all of them at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub what: String,
    pub place: Option<Place>,
    /// What to do, beginning with a verb; statements to type stand on lines of their own.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), place: None, hint: None }
    }

    pub fn at(self, place: &Place) -> Self {
        Self { place: (!place.is_nowhere()).then(|| place.clone()), ..self }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// As text for a terminal, without a newline at its end.
    pub fn render(&self, style: Style) -> String {
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Coloured => Renderer::styled(),
        };
        let title = Level::ERROR.primary_title(self.what.as_str());
        let hint = self.hint.as_deref().map(|hint| {
            Group::with_title(Level::HELP.with_name(Some("hint")).secondary_title(hint))
        });
        let Some(place) = &self.place else {
            let groups: Vec<_> = [Group::with_title(title)].into_iter().chain(hint).collect();
            return renderer.render(&groups);
        };
        let Some(file) = &place.file else {
            let origin = Origin::path(place.to_string());
            let groups: Vec<_> = [title.element(origin)].into_iter().chain(hint).collect();
            return renderer.render(&groups);
        };
        let shown = file.shown_line(&place.span);
        let caret = AnnotationKind::Primary.span(shown.caret.clone());
        let snippet = Snippet::source(shown.text.as_str())
            .path(file.path.as_str())
            .line_start(shown.line)
            .annotation(caret);
        let groups: Vec<_> = [title.element(snippet)].into_iter().chain(hint).collect();
        let rendered = renderer.render(&groups);
        // The renderer counts columns in the line it was given, where a mask may have moved the caret.
        let masked_column = shown.text[..shown.caret.start].chars().count() + 1;
        let position = |column| format!("{}:{}:{column}", file.path, shown.line);
        move_position(&rendered, &position(masked_column), &position(shown.column))
    }
}

/// Replaces the position in the arrow line.
fn move_position(rendered: &str, from: &str, to: &str) -> String {
    match rendered.find(&format!("--> {from}")) {
        Some(at) if from != to => {
            let at = at + "--> ".len();
            format!("{}{to}{}", &rendered[..at], &rendered[at + from.len()..])
        }
        _ => rendered.to_owned(),
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    /// With the terminal's colours.
    Coloured,
}
