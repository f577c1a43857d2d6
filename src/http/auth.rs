//! The bearer token (RFC 6750). Without one, and reached from this machine alone, names that lead here: a page on
//! the web may have its own name lead to this machine (DNS rebinding), and is then of the same origin.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use ring::hmac;
use tokio::sync::watch;

use super::{answer, page};
use crate::config::Secret;

/// Probes come without a token.
const OPEN: &[&str] = &["/healthz", "/readyz"];
/// Probes and scrapes come under any name: they show no rows, and take no orders.
const OF_ANY_NAME: &[&str] = &["/healthz", "/readyz", "/metrics"];

#[derive(Clone)]
pub(super) struct Access {
    pub(super) token: watch::Receiver<Option<Secret>>,
    pub(super) hosts: Hosts,
}

/// Under which names it may be asked without a token.
#[derive(Clone, Debug)]
pub(super) enum Hosts {
    Any,
    /// This machine's own, or the one that is configured.
    Local {
        configured: String,
    },
}

impl Hosts {
    /// `is_local`: nobody but this machine can reach it.
    pub(super) fn new(listen: &str, is_local: bool) -> Self {
        let configured = listen.rsplit_once(':').map_or(listen, |(host, _)| host).to_owned();
        if is_local { Hosts::Local { configured } } else { Hosts::Any }
    }

    /// A browser always says by which name it has come.
    fn takes(&self, headers: &HeaderMap) -> bool {
        let (Hosts::Local { configured }, Some(host)) = (self, headers.get(HOST)) else {
            return true;
        };
        let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
        let host = authority.host();
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost")
            || host.eq_ignore_ascii_case(configured)
            || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

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
    State(access): State<Access>,
    request: Request,
    next: Next,
) -> Response {
    let token = access.token.borrow().as_ref().map(Token::new);
    let Some(token) = token else {
        let is_open = OF_ANY_NAME.contains(&request.uri().path());
        if is_open || access.hosts.takes(request.headers()) {
            return next.run(request).await;
        }
        let error = "without http.token_file it answers under this machine's own names alone: localhost, \
                     127.0.0.1, or the host of http.listen";
        return answer::error(StatusCode::FORBIDDEN, error);
    };
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
