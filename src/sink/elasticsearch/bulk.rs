//! Bulk requests: one body of our own NDJSON, sent until each of its items has a verdict.
//!
//! The request is split when it is too large for the server, and what the server was too busy for is
//! sent again a bounded number of times. Items are idempotent (external versions), so sending one
//! twice does no harm.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::client::{Client, Content, Method};
use super::error::{self, ServerError, Verdict};
use crate::sink::SinkError;

/// About 3 s in all; delivery's own retries come after.
const ATTEMPTS_MAX: u32 = 6;
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// NDJSON under construction.
#[derive(Default)]
pub(super) struct Request {
    pub(super) body: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Clone, Copy)]
struct Item {
    /// The caller's name for it.
    tag: usize,
    /// Its lines end here; they begin where the item before it ends.
    end: usize,
}

/// A part of a request on its way.
struct Part {
    body: Bytes,
    items: Vec<Item>,
    attempt: u32,
}

/// An item that the server will never accept.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) tag: usize,
    pub(super) error: String,
}

impl Request {
    /// The lines appended to `body` since the last call are the item `tag`.
    pub(super) fn end_item(&mut self, tag: usize) {
        self.items.push(Item { tag, end: self.body.len() });
    }

    /// Takes back the lines of an item that was not ended.
    pub(super) fn abandon_item(&mut self) {
        self.body.truncate(self.items.last().map_or(0, |item| item.end));
    }

    /// The bytes of the item that was not ended yet.
    pub(super) fn open_item_bytes(&self) -> usize {
        self.body.len() - self.items.last().map_or(0, |item| item.end)
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// Sends `request` to `path` (a bulk endpoint with its own query string, to which the answer's
/// filter is added). `doing` completes "while" in errors.
pub(super) async fn send(
    client: &Client,
    path: &str,
    doing: &str,
    request: Request,
) -> Result<Vec<Refusal>, SinkError> {
    let path = format!(
        "{path}&timeout=10s&filter_path=items.*.status,items.*.error.type,items.*.error.reason,\
         items.*.error.caused_by"
    );
    let mut refusals = Vec::new();
    let mut parts =
        vec![Part { body: Bytes::from(request.body), items: request.items, attempt: 0 }];
    while let Some(part) = parts.pop() {
        if part.items.is_empty() {
            continue;
        }
        if part.attempt > 0 {
            tokio::time::sleep(retry_delay(part.attempt)).await;
        }
        let answer = client.send(Method::Post, &path, Content::Ndjson(part.body.clone())).await?;
        match answer.status {
            200 => {}
            413 => {
                divide(part, &mut parts, &mut refusals, || {
                    "the document is larger than the search server accepts".into()
                });
                continue;
            }
            400 if !ServerError::of(&answer).is_the_sinks() => {
                // The server does not say which item it means.
                divide(part, &mut parts, &mut refusals, || ServerError::of(&answer).to_string());
                continue;
            }
            _ if error::is_busy(&answer) && part.attempt + 1 < ATTEMPTS_MAX => {
                parts.push(Part { attempt: part.attempt + 1, ..part });
                continue;
            }
            _ => return Err(error::refusal(doing, &answer)),
        }
        let items = read_items(doing, &answer)?;
        if items.len() != part.items.len() {
            return Err(error::trouble(format!(
                "the search server answered {} of {} items while {doing}",
                items.len(),
                part.items.len()
            )));
        }
        let mut again = Vec::new();
        let mut busy = None;
        for (item, result) in items.into_iter().enumerate() {
            match error::verdict(result.status, result.error.as_ref()) {
                Verdict::Done => {}
                Verdict::Again => {
                    again.push(item);
                    busy = Some(result);
                }
                Verdict::Refused => refusals.push(Refusal {
                    tag: part.items[item].tag,
                    error: result.error.unwrap_or_default().to_string(),
                }),
                Verdict::Trouble => return Err(item_trouble(doing, result)),
            }
        }
        if let Some(result) = busy {
            if part.attempt + 1 >= ATTEMPTS_MAX {
                return Err(item_trouble(doing, result));
            }
            parts.push(part.only(&again));
        }
    }
    Ok(refusals)
}

/// Halves what the server refused as a whole; a single item is refused for good.
fn divide(
    part: Part,
    parts: &mut Vec<Part>,
    refusals: &mut Vec<Refusal>,
    error: impl FnOnce() -> String,
) {
    match part.items.as_slice() {
        [item] => refusals.push(Refusal { tag: item.tag, error: error() }),
        items => {
            let (first, second) = items.split_at(items.len() / 2);
            let middle = first.last().map_or(0, |item| item.end);
            let moved = |item: &Item| Item { end: item.end - middle, ..*item };
            parts.push(Part {
                body: part.body.slice(middle..),
                items: second.iter().map(moved).collect(),
                attempt: part.attempt,
            });
            parts.push(Part {
                body: part.body.slice(..middle),
                items: first.to_vec(),
                attempt: part.attempt,
            });
        }
    }
}

impl Part {
    /// The items at these positions, for one more attempt.
    fn only(&self, positions: &[usize]) -> Part {
        let mut body = Vec::new();
        let mut items = Vec::with_capacity(positions.len());
        for &position in positions {
            let start = position.checked_sub(1).map_or(0, |before| self.items[before].end);
            let item = self.items[position];
            body.extend_from_slice(&self.body[start..item.end]);
            items.push(Item { end: body.len(), ..item });
        }
        Part { body: Bytes::from(body), items, attempt: self.attempt + 1 }
    }
}

fn item_trouble(doing: &str, result: ItemResult) -> SinkError {
    error::trouble(format!(
        "the search server failed while {doing} (status {}): {}",
        result.status,
        result.error.unwrap_or_default()
    ))
}

/// Doubles with each attempt; between a half and the whole of that, so that clients do not march.
pub(super) fn retry_delay(attempt: u32) -> Duration {
    let whole = RETRY_DELAY * (1 << attempt.min(6));
    whole / 2 + whole.mul_f64(fastrand::f64() / 2.0)
}

/// One item of a bulk answer.
#[derive(Debug, Deserialize)]
pub(super) struct ItemResult {
    #[serde(default)]
    pub(super) status: u16,
    #[serde(default)]
    pub(super) error: Option<ServerError>,
    #[serde(default, rename = "_seq_no")]
    pub(super) seq_no: Option<u64>,
    #[serde(default, rename = "_primary_term")]
    pub(super) primary_term: Option<u64>,
}

pub(super) fn read_items(
    doing: &str,
    answer: &super::client::Answer,
) -> Result<Vec<ItemResult>, SinkError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Outer {
        Index(ItemResult),
        Create(ItemResult),
        Delete(ItemResult),
    }
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        items: Vec<Outer>,
    }
    let body: Body = serde_json::from_slice(&answer.body)
        .map_err(|source| error::unexpected(doing, answer, source))?;
    Ok(body
        .items
        .into_iter()
        .map(|(Outer::Index(item) | Outer::Create(item) | Outer::Delete(item))| item)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(lines: &[&str]) -> Part {
        let mut request = Request::default();
        for (tag, line) in lines.iter().enumerate() {
            request.body.extend_from_slice(line.as_bytes());
            request.end_item(tag);
        }
        Part { body: request.body.into(), items: request.items, attempt: 0 }
    }

    #[test]
    fn halves_hold_the_same_items() {
        let (mut parts, mut refusals) = (Vec::new(), Vec::new());
        divide(part(&["a\n", "bb\n", "ccc\n"]), &mut parts, &mut refusals, String::new);
        let first = parts.pop().unwrap();
        let second = parts.pop().unwrap();
        assert_eq!((&first.body[..], first.items[0].tag), (&b"a\n"[..], 0));
        assert_eq!(&second.body[..], b"bb\nccc\n");
        assert_eq!(&second.only(&[1]).body[..], b"ccc\n");
        assert_eq!(second.only(&[0]).items[0].tag, 1);
        divide(first, &mut parts, &mut refusals, || "too large".into());
        assert!(parts.is_empty());
        assert_eq!(refusals[0].tag, 0);
    }

    #[test]
    fn an_abandoned_item_leaves_no_bytes() {
        let mut request = Request::default();
        request.body.extend_from_slice(b"x\n");
        request.end_item(7);
        request.body.extend_from_slice(b"half");
        assert_eq!(request.open_item_bytes(), 4);
        request.abandon_item();
        assert_eq!((&request.body[..], request.len()), (&b"x\n"[..], 1));
    }
}
