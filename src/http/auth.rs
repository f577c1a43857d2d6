//! The bearer token (RFC 6750).

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use ring::hmac;
use tokio::sync::watch;

use super::{answer, page};
use crate::config::Secret;

/// Probes come without a token.
const OPEN: &[&str] = &["/healthz", "/readyz"];

/// The token as something to compare with that takes the same time for every other text.
struct Token {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Token {
    fn new(token: &Secret) -> Token {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"readside");
        let tag = hmac::sign(&key, token.expose().as_bytes());
        Token { key, tag }
    }

    fn is(&self, given: &[u8]) -> bool {
        hmac::verify(&self.key, given, self.tag.as_ref()).is_ok()
    }
}

pub(super) async fn require(
    State(token): State<watch::Receiver<Option<Secret>>>,
    request: Request,
    next: Next,
) -> Response {
    let token = token.borrow().as_ref().map(Token::new);
    let Some(token) = token else { return next.run(request).await };
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match request.headers().get(AUTHORIZATION).map(|value| bearer(value.as_bytes())) {
        Some(Some(given)) if token.is(given) => next.run(request).await,
        Some(Some(_)) => {
            refuse("Bearer realm=\"readside\", error=\"invalid_token\"", "the token is another one")
        }
        Some(None) => {
            refuse("Bearer realm=\"readside\"", "the Authorization header is no Bearer token")
        }
        None if page::is_for_people(request.uri().path(), request.headers()) => {
            challenge("Bearer realm=\"readside\"", page::page().await)
        }
        None => {
            refuse("Bearer realm=\"readside\"", "a token is needed: Authorization: Bearer TOKEN")
        }
    }
}

fn refuse(how: &'static str, error: &str) -> Response {
    challenge(how, answer::error(StatusCode::UNAUTHORIZED, error))
}

fn challenge(challenge: &'static str, mut answer: Response) -> Response {
    *answer.status_mut() = StatusCode::UNAUTHORIZED;
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    answer
}

/// The scheme's name has no case (RFC 9110).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}
