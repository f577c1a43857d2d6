//! One leader of a group at a time, and what the others see.
//!
//! Every script and transaction runs over the token that its sender saw last. So a leader that writes
//! its term and a token of its own has fenced all before it, whatever they still have on its way.

use std::collections::HashMap;

use super::RedisSink;
use super::error;
use super::watermark;
use crate::sink::origin::admit;
use crate::sink::{SinkError, Watermark};

/// Writes ARGV[1] as the term, with the token ARGV[2], over any smaller one of this owner's, ARGV[3].
/// Answers the term that it found.
const CLAIM: &str = "
    local m = redis.call('HMGET', KEYS[1], 'term', 'owner')
    local found = m[1] or '0'
    if tonumber(found) < tonumber(ARGV[1]) then
        if not m[2] then redis.call('HSET', KEYS[1], 'owner', ARGV[3]) end
        redis.call('HSET', KEYS[1], 'term', ARGV[1], 'step', ARGV[2])
    end
    return found";

impl RedisSink {
    /// Takes the projection's watermark over in `term`, or says that somebody has a greater one.
    pub(super) async fn claim(&mut self, projection: usize, term: u64) -> Result<(), SinkError> {
        let key = self.plans[projection].watermark_key.clone();
        let command = redis::cmd("HGETALL").arg(&key).take();
        let fields: HashMap<String, String> = self.ask(&key, command).await?;
        let is_ours = fields.get("owner").is_none_or(|owner| self.origin.owner.is(owner));
        // What is another pipeline's is told when it is read.
        if !is_ours {
            return Ok(());
        }
        let found = watermark::term(&fields);
        admit(term, self.term, found)?;
        if found == term {
            return Ok(());
        }
        let (token, owner) = (self.next_token(), self.origin.owner.name().to_owned());
        let mut claim = redis::cmd("EVAL");
        claim.arg(CLAIM).arg(1).arg(&key).arg(term).arg(token).arg(owner);
        let found: String = self.ask(&key, claim).await?;
        let address = &self.server.address;
        let found = found
            .parse()
            .map_err(|_| error::interrupted(format!("{address}: the term {found} is no number")))?;
        // Two may have come at the same time.
        admit(term, self.term, found)
    }

    /// The projection's watermark as it is.
    pub(super) async fn look_at(
        &mut self,
        projection: usize,
    ) -> Result<Option<Watermark>, SinkError> {
        let key = self.plans[projection].watermark_key.clone();
        let command = redis::cmd("HGETALL").arg(&key).take();
        let fields: HashMap<String, String> = self.ask(&key, command).await?;
        let is_ours = fields.get("owner").is_some_and(|owner| self.origin.owner.is(owner));
        Ok(watermark::read(&fields).filter(|_| is_ours))
    }
}
