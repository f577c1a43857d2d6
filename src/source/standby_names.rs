//! Whether `synchronous_standby_names` would make a walsender of ours a synchronous standby: then each
//! commit of the application would wait for us.
//!
//! Grammar (syncrep_gram.y): `list`, `N (list)`, `FIRST N (list)` or `ANY N (list)`; a list is names
//! separated by commas; a name is an identifier, a text in double quotes, a number, or `*` for all.

/// Whether a walsender of this `application_name` would be one of them.
pub(super) fn would_match(setting: &str, application_name: &str) -> bool {
    let tokens = tokens(setting);
    let names = match &tokens[..] {
        [Token::Word(method), Token::Word(_), Token::Other('('), names @ ..]
            if method.eq_ignore_ascii_case("first") || method.eq_ignore_ascii_case("any") =>
        {
            names
        }
        [Token::Word(_), Token::Other('('), names @ ..] => names,
        names => names,
    };
    names.iter().any(|token| match token {
        // Postgres compares names without regard to case (SyncRepGetStandbyPriority).
        Token::Word(name) | Token::Quoted(name) => {
            name == "*" && matches!(token, Token::Quoted(_))
                || name.eq_ignore_ascii_case(application_name)
        }
        Token::Other(c) => *c == '*',
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Other(char),
}

fn tokens(setting: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = setting.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '"' {
            let mut text = String::new();
            while let Some(c) = chars.next() {
                // A quote inside is doubled.
                if c == '"' && chars.next_if_eq(&'"').is_none() {
                    break;
                }
                text.push(c);
            }
            tokens.push(Token::Quoted(text));
        } else if is_word(c) {
            let mut text = String::from(c);
            while let Some(c) = chars.next_if(|c| is_word(*c)) {
                text.push(c);
            }
            tokens.push(Token::Word(text));
        } else if !c.is_ascii_whitespace() && c != ',' {
            tokens.push(Token::Other(c));
        }
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for setting in [
            "readside",
            "*",
            "\"*\"",
            "a, readside",
            "1 (readside)",
            "FIRST 1 (a, \"readside\")",
            "any 2 (a,b,READSIDE)",
            "ANY 1 (*)",
            "first, readside",
            "2(s1,*)",
        ] {
            assert!(would_match(setting, "readside"), "{setting}");
        }
        for setting in
            ["", "a", "readside2", "FIRST 1 (a, b)", "\"read\"\"side\"", "1 (a)", "ANY 1 (b)"]
        {
            assert!(!would_match(setting, "readside"), "{setting}");
        }
        assert!(would_match("\"a\"\"b\"", "a\"b"));
        assert!(!would_match("FIRST 1 (a)", "first"));
        assert!(would_match("first", "first"));
    }
}
