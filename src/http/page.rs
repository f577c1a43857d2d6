//! The status page at `/`: one HTML file that shows what `/v1/status` and `/metrics` say. Its policy lets
//! nothing run or load but its own script and style, known by their digests, and answers of this server.

use std::sync::LazyLock;

use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

const HTML: &str = include_str!("page.html");

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        source("script"),
        source("style")
    );
    HeaderValue::try_from(policy).expect("base64 and the words above are visible ASCII")
});

pub(super) async fn page() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, POLICY.clone()),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // Another version's script would not fit this one's answers.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, HTML).into_response()
}

/// A browser shows a page of its own for what it is refused; the page then asks for the token.
pub(super) fn is_for_people(path: &str, headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    path == "/" && accepted.contains("text/html")
}

/// The digest of the page's only element of that name, as a policy names it.
fn source(element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let text = HTML.split_once(&open).and_then(|(_, after)| after.split_once(&close));
    let (text, _) = text.expect("the page has one element of each kind");
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_loads_nothing_and_builds_no_markup_from_text() {
        for element in ["script", "style"] {
            assert_eq!(HTML.matches(&format!("<{element}")).count(), 1);
        }
        for refused in
            ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "style=\""]
        {
            assert!(!HTML.contains(refused), "{refused}");
        }
        // The one name space that it needs is no address.
        let addresses = HTML.replace("http://www.w3.org/2000/svg", "");
        for scheme in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!addresses.contains(scheme), "{scheme}");
        }
    }
}
