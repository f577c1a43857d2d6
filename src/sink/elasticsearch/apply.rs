//! Rows into indices: entries become bulk requests of bounded size, several of them on their way at
//! once, and what the server refuses for good is removed in its older version too.

use std::sync::{Mutex, PoisonError};

use super::bulk::{self, Refusal, Request};
use super::client::{Client, segment};
use super::encode::{self, Action, Id};
use super::places;
use super::target::CompiledTarget;
use crate::engine::Entry;
use crate::sink::SinkError;
use crate::value::ValueError;

/// Requests of one call that are on their way at the same time: while the server works on some,
/// the next is made.
const LANES: usize = 3;
/// Beyond this a larger request is not faster.
const REQUEST_ITEMS_MAX: usize = 2_000;
/// Below this a smaller one is not: until then a call's last requests become smaller, so that the lanes end together.
const REQUEST_ITEMS_MIN: usize = 500;
const REQUEST_BYTES_MAX: usize = 8 << 20;

/// The server's own bounds, as far as it tells them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// A request's body, which a single document with its action may fill.
    pub(super) body_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // http.max_content_length, where nobody changed it.
        Self { body_bytes_max: 100 << 20 }
    }
}

/// Entries for one target; each key at most once.
pub(super) struct Job<'a> {
    pub(super) projection: usize,
    pub(super) target: &'a CompiledTarget,
    /// An alias: all requests ask for one.
    pub(super) destination: String,
    /// The index of places, for a target whose rows move between documents.
    pub(super) places: Option<String>,
    pub(super) entries: &'a [Entry],
}

/// A row that a target refuses for good.
pub(super) struct Refused {
    pub(super) projection: usize,
    /// Position in the job's entries.
    pub(super) row: usize,
    pub(super) error: String,
}

pub(super) struct Writer<'a> {
    pub(super) client: &'a Client,
    pub(super) limits: Limits,
}

/// Where a call's lanes stand: the entries of all its jobs are counted through.
struct Cursor {
    which: Which,
    next: usize,
    refusals: Vec<Refusal>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Rows,
    Tombstones,
}

/// The jobs of a call that need no places, with the number of each one's first entry.
struct Queue<'a, 'b> {
    jobs: Vec<(usize, &'b Job<'a>)>,
    len: usize,
}

impl Writer<'_> {
    /// Writes all entries of all jobs and says which were refused. Nothing is removed before `announced` is.
    pub(super) async fn write<T>(
        &self,
        jobs: &[Job<'_>],
        announced: impl Future<Output = Result<T, SinkError>>,
    ) -> Result<(T, Vec<Refused>), SinkError> {
        let mut queue = Queue { jobs: Vec::new(), len: 0 };
        for job in jobs.iter().filter(|job| job.places.is_none()) {
            queue.jobs.push((queue.len, job));
            queue.len += job.entries.len();
        }
        let (announced, mut refusals) =
            tokio::try_join!(announced, self.write_all(&queue, Which::Rows))?;
        let mut refused = Vec::new();
        for job in jobs {
            if let Some(index) = &job.places {
                places::write(self, job, index, &mut refused).await?;
            }
        }
        refusals.extend(self.write_all(&queue, Which::Tombstones).await?);
        self.remove_refused(&queue, &refusals).await?;
        refused.extend(refusals.into_iter().map(|refusal| {
            let (job, row) = queue.entry(refusal.tag);
            Refused { projection: job.projection, row, error: refusal.error }
        }));
        Ok((announced, refused))
    }

    async fn write_all(
        &self,
        queue: &Queue<'_, '_>,
        which: Which,
    ) -> Result<Vec<Refusal>, SinkError> {
        let cursor = Mutex::new(Cursor { which, next: 0, refusals: Vec::new() });
        const { assert!(LANES == 3) };
        tokio::try_join!(
            self.lane(queue, &cursor),
            self.lane(queue, &cursor),
            self.lane(queue, &cursor)
        )?;
        Ok(cursor.into_inner().unwrap_or_else(PoisonError::into_inner).refusals)
    }

    /// Takes the next request's worth of entries and sends it, until there are no more.
    async fn lane(&self, queue: &Queue<'_, '_>, cursor: &Mutex<Cursor>) -> Result<(), SinkError> {
        loop {
            let request = {
                let mut cursor = cursor.lock().unwrap_or_else(PoisonError::into_inner);
                self.next_request(queue, &mut cursor)?
            };
            let Some((path, request)) = request else { return Ok(()) };
            let refusals = bulk::send(self.client, &path, "writing documents", request).await?;
            if !refusals.is_empty() {
                let mut cursor = cursor.lock().unwrap_or_else(PoisonError::into_inner);
                cursor.refusals.extend(refusals);
            }
        }
    }

    fn next_request(
        &self,
        queue: &Queue<'_, '_>,
        cursor: &mut Cursor,
    ) -> Result<Option<(String, Request)>, SinkError> {
        let mut request = Request::default();
        let mut first: Option<&str> = None;
        let mut id = Vec::new();
        let items = ((queue.len - cursor.next) / LANES).clamp(REQUEST_ITEMS_MIN, REQUEST_ITEMS_MAX);
        while cursor.next < queue.len && request.len() < items {
            let tag = cursor.next;
            let (job, row) = queue.entry(tag);
            if job.entries[row].is_tombstone() != (cursor.which == Which::Tombstones) {
                cursor.next += 1;
                continue;
            }
            let destination = job.destination.as_str();
            // Most requests are for one index, which the path then names for all items.
            let index = (*first.get_or_insert(destination) != destination).then_some(destination);
            id.clear();
            match self.write_item(job, &job.entries[row], index, &mut id, &mut request.body) {
                Ok(Id::Some) => {
                    if request.open_item_bytes() > self.limits.body_bytes_max {
                        cursor.refusals.push(too_large(tag, request.open_item_bytes()));
                        request.abandon_item();
                    } else if request.body.len() > self.request_bytes_max() && !request.is_empty() {
                        request.abandon_item();
                        break;
                    } else {
                        request.end_item(tag);
                    }
                }
                Ok(Id::None) => {}
                // A tombstone of a row that never could have a document.
                Ok(Id::Invalid(_)) if job.entries[row].is_tombstone() => {}
                Ok(Id::Invalid(error)) => cursor.refusals.push(Refusal { tag, error }),
                Err(error) => return Err(unreadable(&error)),
            }
            cursor.next += 1;
        }
        if request.is_empty() {
            return Ok(None);
        }
        Ok(Some((bulk_path(first.unwrap_or_default()), request)))
    }

    fn write_item(
        &self,
        job: &Job<'_>,
        entry: &Entry,
        index: Option<&str>,
        id: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Id, ValueError> {
        let found = job.target.ids.write(entry, id)?;
        if found == Id::Some {
            let action = Action { index, id, version: encode::version(entry) };
            match entry.value() {
                Some(row) => {
                    let start = out.len();
                    if let Err(error) = encode::write_index(job.target, action, row, out) {
                        out.truncate(start);
                        return Ok(Id::Invalid(no_document(&error)));
                    }
                }
                None => action.write("delete", out),
            }
        }
        Ok(found)
    }

    /// Removes the older versions of refused rows: missing is honest, stale is not.
    async fn remove_refused(
        &self,
        queue: &Queue<'_, '_>,
        refusals: &[Refusal],
    ) -> Result<(), SinkError> {
        let mut request = Request::default();
        let mut id = Vec::new();
        for refusal in refusals {
            let (job, row) = queue.entry(refusal.tag);
            let entry = &job.entries[row];
            id.clear();
            if job.target.ids.write(entry, &mut id).map_err(|error| unreadable(&error))? == Id::Some
            {
                let version = encode::version(entry);
                let index = Some(job.destination.as_str());
                Action { index, id: &id, version }.write("delete", &mut request.body);
                request.end_item(refusal.tag);
            }
        }
        if request.is_empty() {
            return Ok(());
        }
        let doing = "removing the older versions of refused rows";
        let refusals = bulk::send(self.client, "_bulk?require_alias=true", doing, request).await?;
        none_refused(doing, &refusals)
    }

    /// A request's size, unless it is one document.
    pub(super) fn request_bytes_max(&self) -> usize {
        REQUEST_BYTES_MAX.min(self.limits.body_bytes_max)
    }
}

impl<'a, 'b> Queue<'a, 'b> {
    /// The entry with this number: its job and its position there.
    fn entry(&self, number: usize) -> (&'b Job<'a>, usize) {
        let at = self.jobs.partition_point(|(start, _)| *start <= number) - 1;
        let (start, job) = self.jobs[at];
        (job, number - start)
    }
}

/// A bulk endpoint that writes to nothing but aliases.
pub(super) fn bulk_path(alias: &str) -> String {
    format!("{}/_bulk?require_alias=true", segment(alias))
}

pub(super) fn too_large(tag: usize, bytes: usize) -> Refusal {
    let error =
        format!("the document takes {bytes} bytes, more than the server's http.max_content_length");
    Refusal { tag, error }
}

/// For items of our own making, which no server has a reason to refuse.
pub(super) fn none_refused(doing: &str, refusals: &[Refusal]) -> Result<(), SinkError> {
    match refusals.first() {
        None => Ok(()),
        Some(first) => Err(super::error::trouble(format!(
            "the search server refused an item while {doing}: {}",
            first.error
        ))),
    }
}

/// The engine's bytes are not what their columns say: no row of this state can be trusted.
/// A json value that jsonb does not take, as `"\u0000"`: the source could not make a document of the
/// row, either.
pub(super) fn no_document(error: &ValueError) -> String {
    format!("the row has no form as a document: {error}")
}

pub(super) fn unreadable(error: &ValueError) -> SinkError {
    SinkError::Fatal {
        what: format!("a row of the state cannot be read: {error}"),
        hint: "stop Readside, remove state.dir and start it again: everything is loaded anew"
            .into(),
    }
}
