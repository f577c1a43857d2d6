//! Upper and lower case as the C library's locales have it: one character for one.

/// The letter in that case, itself where it has none.
pub(super) fn in_case(letter: char, upper: bool) -> char {
    let (mut lower_case, mut upper_case) = (letter.to_lowercase(), letter.to_uppercase());
    let single = |first: Option<char>, second: Option<char>| match (first, second) {
        (Some(one), None) => one,
        _ => letter,
    };
    if upper {
        single(upper_case.next(), upper_case.next())
    } else {
        single(lower_case.next(), lower_case.next())
    }
}
