//! A query string's parameters, each once and known by name.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What was given, by name.
pub(super) struct Parameters<'k> {
    known: &'k [&'k str],
    values: Vec<Option<String>>,
}

impl<'k> Parameters<'k> {
    /// The error names the parameter.
    pub(super) fn parse(
        query: Option<&str>,
        known: &'k [&'k str],
    ) -> Result<Parameters<'k>, String> {
        let mut values = vec![None; known.len()];
        let query = query.unwrap_or_default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name).unwrap_or_else(|| name.to_owned());
            let Some(at) = known.iter().position(|known| *known == name) else {
                return Err(format!("{name}: there is no such parameter"));
            };
            let value = decoded(value).ok_or_else(|| format!("{name}: not UTF-8"))?;
            if value.is_empty() {
                return Err(format!("{name}: empty"));
            }
            if values[at].replace(value).is_some() {
                return Err(format!("{name}: given twice"));
            }
        }
        Ok(Parameters { known, values })
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.known.iter().position(|known| *known == name)?;
        self.values[at].take()
    }

    /// `true` or `false`, by default false.
    pub(super) fn take_flag(&mut self, name: &str) -> Result<bool, String> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(format!("{name}: neither true nor false")),
        }
    }
}

/// As forms are encoded: a plus sign is a space.
fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(Cow::into_owned)
}
