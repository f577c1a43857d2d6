//! The faults found so far. Everything that reads configuration goes on after a fault.

use std::collections::BTreeSet;

use super::diagnostic::Diagnostic;

#[derive(Default)]
pub(super) struct Faults {
    found: Vec<Diagnostic>,
    /// What TOML could not read.
    syntax: Vec<Diagnostic>,
    /// Faults of what is not there; after a syntax error it may only not have been recognised.
    absent: Vec<Diagnostic>,
}

impl Faults {
    pub(super) fn push(&mut self, fault: Diagnostic) {
        self.found.push(fault);
    }

    pub(super) fn push_syntax(&mut self, fault: Diagnostic) {
        self.syntax.push(fault);
    }

    pub(super) fn push_absent(&mut self, fault: Diagnostic) {
        self.absent.push(fault);
    }

    pub(super) fn extend(&mut self, faults: impl IntoIterator<Item = Diagnostic>) {
        self.found.extend(faults);
    }

    /// In the order of the file, those without a place in it last.
    pub(super) fn into_sorted(self) -> Vec<Diagnostic> {
        let line = |fault: &Diagnostic| {
            let place = fault.place.as_ref()?;
            Some(place.file.as_ref()?.position(place.span.start).0)
        };
        let broken: BTreeSet<_> = self.syntax.iter().filter_map(line).collect();
        let mut faults = self.found;
        if self.syntax.is_empty() {
            faults.extend(self.absent);
        } else {
            // What was read on a broken line is a guess.
            faults.retain(|fault| line(fault).is_none_or(|line| !broken.contains(&line)));
            faults.extend(self.syntax);
        }
        sort(&mut faults);
        faults
    }

    pub(super) fn has_syntax(&self) -> bool {
        !self.syntax.is_empty()
    }
}

/// In the order of the file, those without a place in it last; each once.
pub(super) fn sort(faults: &mut Vec<Diagnostic>) {
    faults.sort_by_key(|fault| match &fault.place {
        Some(place) if place.file.is_some() => (0, place.span.start),
        Some(_) => (1, 0),
        None => (2, 0),
    });
    faults.dedup();
}
