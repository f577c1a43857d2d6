//! Which parts of the configuration file may be shown in a message, and which not.
//!
//! The rule fails closed: a value is shown only under a key that is known to hold nothing secret, so
//! that a misspelt `pasword` is hidden too. Of a URL only the scheme, the host, the path and the
//! well-known parameters are shown. Comments are hidden, since passwords are parked in them. A value
//! that is nothing but `${NAME}` is shown, for the file then holds only the name.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What stands for a secret, whatever its length.
pub(super) const MASK: &str = "***";

/// Keys of the configuration whose values are no secret.
pub(super) const HARMLESS: &[&str] = &[
    "slot",
    "publication",
    "on_slot_loss",
    "wal_budget",
    "on_wal_budget",
    "load_rows_per_second",
    "accept_system",
    "dir",
    "memory",
    "tombstones",
    "listen",
    "token_file",
    "group",
    "lease",
    "password_file",
    "ca_file",
    "username",
    "step_rows",
    "max_lag",
    "required",
    "table",
    "query",
    "key",
    "on_error",
    "indexes",
    "history",
    "index",
    "id",
    "mappings",
    "settings",
    "hash",
    "json",
    "sorted_set",
    "set",
    "stream",
    "list",
    "member",
    "score",
    "ttl",
    "columns",
    "maxlen",
    "message",
    "when",
    "data",
    "type",
];

/// Parameters of a URL whose values are no secret.
const HARMLESS_PARAMETERS: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "channel_binding",
    "require_auth",
    "target_session_attrs",
    "load_balance_hosts",
    "connect_timeout",
    "application_name",
    "keepalives",
    "tcp_user_timeout",
    "gssencmode",
    "passfile",
];

/// The secret parts of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hidden {
    /// In the order of the file, apart from each other.
    spans: Vec<Range<usize>>,
    /// TOML could not read all of it, so that a secret may lie outside of what was recognised.
    broken: bool,
}

impl Hidden {
    pub(super) fn of(text: &str) -> Self {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut walk = Walk { text, hidden: Vec::new(), known: Vec::new() };
        walk.table(document.get_ref(), false, false);
        let comments = comments(text, walk.known);
        Self { spans: merged(walk.hidden, comments), broken: !errors.is_empty() }
    }

    /// The secret parts of one line of the file.
    pub(super) fn of_line(&self, text: &str, line: Range<usize>) -> Vec<Range<usize>> {
        let clip = |span: &Range<usize>| span.start.max(line.start)..span.end.min(line.end);
        let known: Vec<_> = self.spans.iter().map(clip).filter(|span| !span.is_empty()).collect();
        if !self.broken {
            return known;
        }
        let guessed = guess(&text[line.clone()]);
        let guessed = guessed.map(|span| line.start + span.start..line.start + span.end);
        merged(known, guessed.into_iter().collect())
    }
}

struct Walk<'a> {
    text: &'a str,
    hidden: Vec<Range<usize>>,
    /// Keys and values, where a `#` begins no comment.
    known: Vec<Range<usize>>,
}

impl Walk<'_> {
    /// `free`: inside `mappings` or `settings`, whose keys are the user's own. `targets`: the keys
    /// are sinks' names.
    fn table(&mut self, table: &DeTable<'_>, free: bool, targets: bool) {
        for (key, value) in table {
            self.known.push(key.span());
            let name: &str = key.get_ref();
            let free = free || matches!(name, "mappings" | "settings");
            let harmless = if free { !sounds_secret(name) } else { HARMLESS.contains(&name) };
            self.value(name, value, harmless || targets, free);
        }
    }

    fn value(&mut self, key: &str, value: &Spanned<DeValue<'_>>, harmless: bool, free: bool) {
        match value.get_ref() {
            DeValue::Table(table) => self.table(table, free, key == "to"),
            DeValue::Array(items) => {
                for item in items {
                    self.value(key, item, harmless, free);
                }
            }
            _ => {
                let span = value.span();
                self.known.push(span.clone());
                let Some(literal) = self.text.get(span.clone()) else { return };
                if key == "url" {
                    let secret = secret_of_url(literal);
                    let secret =
                        secret.into_iter().map(|s| span.start + s.start..span.start + s.end);
                    self.hidden.extend(secret);
                } else if !harmless && !is_reference(literal) {
                    self.hidden.push(span);
                }
            }
        }
    }
}

/// Keys in free JSON that are hidden nevertheless.
fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "secret", "token", "credential", "api_key", "apikey"].iter().any(|s| key.contains(s))
}

/// A string literal that is one `${NAME}` and nothing else.
fn is_reference(literal: &str) -> bool {
    let text = literal.trim_matches(['"', '\'']);
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

/// The secret parts of a URL as it is written in the file, quotes included. What does not look like
/// a URL is hidden as a whole: it may be libpq's `host=… password=…`.
fn secret_of_url(literal: &str) -> Vec<Range<usize>> {
    if is_reference(literal) {
        return Vec::new();
    }
    let mut hidden = Vec::new();
    let authority = literal.find("://").map_or(0, |at| at + 3);
    if authority == 0 || literal.contains('\\') {
        hidden.push(authority..literal.len());
        return hidden;
    }
    // The last `@`: one in a password should have been written as %40, but was perhaps not.
    let host = literal.rfind('@').map_or(authority, |at| at.max(authority));
    if host > authority {
        hidden.push(authority..host);
    } else {
        let end = literal[host..].find(['/', '?', '"', '\'']).map_or(literal.len(), |at| host + at);
        // Without a host behind it, user and password look like a host and a port.
        if !literal[host..end].split(',').all(is_address) {
            hidden.push(host..end);
        }
    }
    let Some(query) = literal[host..].find('?').map(|at| host + at + 1) else { return hidden };
    let end = literal.trim_end_matches(['"', '\'']).len().max(query);
    let mut at = query;
    for parameter in literal[query..end].split('&') {
        let (name, value_at) = match parameter.split_once('=') {
            Some((name, _)) => (name, at + name.len() + 1),
            None => ("", at),
        };
        let parameter_end = at + parameter.len();
        if !HARMLESS_PARAMETERS.contains(&name) && value_at < parameter_end {
            hidden.push(value_at..parameter_end);
        }
        at = parameter_end + 1;
    }
    hidden
}

/// `name`, `name:5432`, `[::1]:5432`, or a part of them from the environment.
fn is_address(address: &str) -> bool {
    let ip6 = address.starts_with('[').then(|| address.find(']')).flatten();
    let (name, port) = match (ip6, address.split_once(':')) {
        (Some(end), _) => (&address[1..end], address[end + 1..].strip_prefix(':').unwrap_or("")),
        (None, Some((name, port))) => (name, port),
        (None, None) => (address, ""),
    };
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    (digits || is_reference(port)) && (ip6.is_some() || !name.contains(['[', ':']))
}

/// A URL without its secret parts.
pub(super) fn visible_url(url: &str) -> String {
    let mut visible = String::new();
    let mut at = 0;
    for secret in secret_of_url(url) {
        visible.push_str(&url[at..secret.start]);
        visible.push_str(MASK);
        at = secret.end;
    }
    visible.push_str(&url[at..]);
    visible
}

/// An error's text with `***` in place of what it quotes of a URL and the URL's visible parts do not
/// show: a password with a slash in it is read as a port, and quoted as one.
pub(super) fn mask_quoted(text: &str, visible: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('"') {
        let quoted = &rest[open + 1..];
        let mut escaped = false;
        let close = quoted.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let inner = &quoted[..close.unwrap_or(quoted.len())];
        masked.push_str(&rest[..=open]);
        masked.push_str(if visible.contains(inner) { inner } else { MASK });
        rest = &quoted[inner.len()..];
        if let Some(after) = rest.strip_prefix('"') {
            masked.push('"');
            rest = after;
        }
    }
    masked + rest
}

/// Everything after a `#` that is neither in a key nor in a value.
fn comments(text: &str, mut known: Vec<Range<usize>>) -> Vec<Range<usize>> {
    known.sort_by_key(|span| span.start);
    let mut known = known.into_iter().peekable();
    let mut comments = Vec::new();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'#', text.as_bytes().get(at..).unwrap_or_default()) {
        let hash = at + found;
        while known.peek().is_some_and(|span| span.end <= hash) {
            known.next();
        }
        match known.peek() {
            Some(span) if span.contains(&hash) => at = span.end,
            _ => {
                let end = text[hash..].find('\n').map_or(text.len(), |newline| hash + newline);
                let end = hash + text[hash..end].trim_end_matches('\r').len();
                if end > hash + 1 {
                    comments.push(hash + 1..end);
                }
                at = end.max(hash + 1);
            }
        }
    }
    comments
}

/// What to hide of a line that TOML could not read: all from the first key that is not known to be
/// harmless, and all of a line without a key, which may lie inside a string.
fn guess(line: &str) -> Option<Range<usize>> {
    let trimmed = line.trim_start();
    if trimmed.is_empty() || trimmed.starts_with('[') && !line.contains('=') {
        return None;
    }
    let mut has_key = false;
    for (at, _) in line.match_indices('=') {
        let before = line[..at].trim_end();
        let before = before.strip_suffix(['"', '\'']).unwrap_or(before);
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let key = &before[before.trim_end_matches(word).len()..];
        let value = line[at + 1..].trim_start();
        let rest = line.len() - value.len()..line.len();
        if key == "url" {
            let mut secret = secret_of_url(value).into_iter();
            return secret.next().map(|first| rest.start + first.start..line.len());
        }
        if !key.is_empty() && !HARMLESS.contains(&key) && !is_sink_target(line, key) {
            let reference = is_reference(value.trim_end());
            return (!reference && !rest.is_empty()).then_some(rest);
        }
        has_key |= !key.is_empty();
    }
    (!has_key).then_some(0..line.len())
}

/// `to.cache = { … }`: the inner keys decide.
fn is_sink_target(line: &str, key: &str) -> bool {
    line.trim_start().strip_prefix("to.").is_some_and(|rest| rest.starts_with(key))
}

/// Both lists as one, in order, what overlaps joined.
fn merged(mut spans: Vec<Range<usize>>, more: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.extend(more);
    spans.retain(|span| !span.is_empty());
    spans.sort_by_key(|span| span.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::super::place::SourceFile;

    fn shown(text: &str) -> String {
        let file = SourceFile::new("f", text);
        let mut lines = Vec::new();
        let mut at = 0;
        for line in text.split('\n') {
            lines.push(file.shown_line(&(at..at)).text);
            at += line.len() + 1;
        }
        lines.join("\n")
    }

    #[test]
    fn values_of_unknown_keys_are_hidden() {
        assert_eq!(
            shown("slot = 'a'\npasword = 'x'\npin = 12"),
            "slot = 'a'\npasword = ***\npin = ***"
        );
        assert_eq!(
            shown("password = '''\nx\ny'''\nslot='b'"),
            "password = ***\n***\n***\nslot='b'"
        );
        assert_eq!(
            shown("a = { password = 'x', slot = 'b' }"),
            "a = { password = ***, slot = 'b' }"
        );
    }

    #[test]
    fn references_to_the_environment_are_shown() {
        assert_eq!(shown("password = \"${PW}\""), "password = \"${PW}\"");
        assert_eq!(shown("password = \"${PW}x\""), "password = ***");
    }

    #[test]
    fn urls_lose_userinfo_and_unknown_parameters() {
        assert_eq!(shown("url = 'redis://:pw@h:1/0'"), "url = 'redis://***@h:1/0'");
        assert_eq!(
            shown("url = 'postgres://u:a@b/c@h/d?sslmode=require&password=x&y'"),
            "url = 'postgres://***@h/d?sslmode=require&password=***&***'"
        );
        assert_eq!(shown("url = 'host=db password=x'"), "url = ***");
        assert_eq!(shown("url = \"redis://\\u003apw\\u0040h\""), "url = \"redis://***");
        for whole in
            ["http://h:9200", "postgres://h1:1,[::1]:2,h3/d", "redis://${H}:${P}/0", "redis://h"]
        {
            let line = format!("url = '{whole}'");
            assert_eq!(shown(&line), line);
        }
        assert_eq!(shown("url = 'redis://u:pw/0'"), "url = 'redis://***/0'");
        assert_eq!(shown("url = 'redis://u:pw'"), "url = 'redis://***'");
        assert_eq!(shown("url = 'redis://u:p:1/0'"), "url = 'redis://***/0'");
    }

    #[test]
    fn comments_are_hidden() {
        assert_eq!(shown("slot = 'a#b' # was x\n# y\n"), "slot = 'a#b' #***\n#***\n");
    }

    #[test]
    fn free_json_is_shown_but_for_what_sounds_secret() {
        assert_eq!(
            shown("mappings = { a = 'x', the_password = 'y' }"),
            "mappings = { a = 'x', the_password = *** }"
        );
    }

    #[test]
    fn broken_lines_fail_closed() {
        assert_eq!(shown("password = \"x\nslot = 'a"), "password = ***\nslot = 'a");
        assert_eq!(shown("url = 'redis://:pw@h\n"), "url = 'redis://***\n");
        assert_eq!(shown("slot = \npw\n[sink]\n"), "slot = \n***\n[sink]\n");
        assert_eq!(shown("a = = 'x'"), "a = ***");
        assert_eq!(shown("a = \"\"\"\npw\npw2"), "a = ***\n***\n***");
    }
}
