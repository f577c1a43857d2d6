//! "Did you mean": the known name that a wrong one probably stood for.

/// The nearest of `known`, when near enough to be a slip of the keyboard or of the shift key.
pub(crate) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let folded = wrong.to_lowercase().replace('-', "_");
    let allowed = (wrong.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| {
            let distance =
                strsim::damerau_levenshtein(&folded, &name.to_lowercase().replace('-', "_"));
            (distance, name)
        })
        .filter(|(distance, name)| *distance <= allowed && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A hint that names the nearest of `known`, or all of them where none is near.
pub(crate) fn hint<'a>(
    wrong: &str,
    kind: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(name) = nearest(wrong, known.clone()) {
        return format!("did you mean `{name}`?");
    }
    let all: Vec<_> = known.into_iter().map(|name| format!("`{name}`")).collect();
    match all.len() {
        0 => format!("there is no {kind} here"),
        _ => format!("known here: {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered_and_far_ones_are_not() {
        let known = ["url", "username", "password", "step_rows"];
        assert_eq!(nearest("ulr", known), Some("url"));
        assert_eq!(nearest("pasword", known), Some("password"));
        assert_eq!(nearest("step-rows", known), Some("step_rows"));
        assert_eq!(nearest("Username", known), Some("username"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", ["y"]), None);
    }
}
