//! `POST /v1/verify/P`: a JSON object on each line while it goes on. Hanging up ends it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

use super::answer;
use super::operate::{of_another_origin, refused};
use super::operator::{Verification, VerifyAsked};
use super::query::Parameters;
use super::routes::Endpoints;

pub(super) async fn verify(
    State(end): State<Endpoints>,
    Path(projection): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = of_another_origin(&headers) {
        return refusal;
    }
    let asked =
        Parameters::parse(query.as_deref(), &["sink", "sample", "repair"]).and_then(|mut given| {
            let sample = match given.take("sample") {
                None => None,
                Some(text) => match text.parse() {
                    Ok(rows @ 1..) => Some(rows),
                    _ => return Err("sample: not a number of rows".to_owned()),
                },
            };
            let (sink, repair) = (given.take("sink"), given.take_flag("repair")?);
            Ok(VerifyAsked { projection, sink, sample, repair })
        });
    let asked = match asked {
        Ok(asked) => asked,
        Err(fault) => return answer::error(StatusCode::BAD_REQUEST, fault),
    };
    let Some(operator) = end.shared.operator.clone() else {
        return answer::error(StatusCode::SERVICE_UNAVAILABLE, "there is no pipeline to ask");
    };
    let Ok(place) = Arc::clone(&end.verifications).try_acquire_owned() else {
        let error = "others verify at this moment: try again when they are done";
        return answer::error(StatusCode::CONFLICT, error);
    };
    match operator.verify(asked).await {
        Ok(verification) => lines(verification, place),
        Err(refusal) => refused(refusal),
    }
}

/// The work is done by whoever reads its lines: it ends with them.
fn lines(verification: Verification, place: OwnedSemaphorePermit) -> Response {
    let Verification { mut lines, work } = verification;
    let mut work: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = Some(work);
    let lines = stream::poll_fn(move |context| {
        let _place = &place;
        loop {
            if let Poll::Ready(line) = lines.poll_recv(context) {
                let bytes = |line: String| Ok::<Bytes, Infallible>(Bytes::from(line + "\n"));
                return Poll::Ready(line.map(bytes));
            }
            let Some(doing) = &mut work else { return Poll::Pending };
            match doing.as_mut().poll(context) {
                // Its last lines, and that there are no more.
                Poll::Ready(()) => work = None,
                Poll::Pending => {
                    return match lines.poll_recv(context) {
                        Poll::Ready(Some(line)) => Poll::Ready(Some(Ok(Bytes::from(line + "\n")))),
                        Poll::Ready(None) => Poll::Ready(None),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    });
    let headers =
        [(CONTENT_TYPE.as_str(), "application/x-ndjson"), (CACHE_CONTROL.as_str(), "no-store")];
    (headers, Body::from_stream(lines)).into_response()
}
