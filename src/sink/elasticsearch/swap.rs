//! Generations: a new index is filled beside the one that readers see, and takes its place behind
//! the alias in one atomic request.
//!
//! The new index bears a filling alias from its creation until all is done: the swap adds the real
//! alias, then the watermark names the new index, then one more request takes the filling alias away
//! together with the old index. So an index that has both aliases tells the next `open` that the
//! last part is still to do.

use serde_json::{Value, json};

use super::client::Client;
use super::prepare::{self, Index, Mark};
use super::target::CompiledTarget;
use super::watermark::Place;
use crate::sink::{Owner, SinkError};

/// A generation on its way, one index for each target.
pub(super) struct Filling {
    pub(super) indices: Vec<FillingIndex>,
}

pub(super) struct FillingIndex {
    pub(super) place: Place,
    /// What to put back when the fill is over.
    refresh_interval: Option<Value>,
}

impl Filling {
    pub(super) fn holds(&self, index: &str) -> bool {
        self.indices.iter().any(|one| one.place.index == index)
    }
}

/// Whose generation it is.
pub(super) struct Names<'a> {
    pub(super) owner: &'a Owner,
    pub(super) projection: &'a str,
}

/// Creates the indices, after what earlier fills have left was removed.
pub(super) async fn begin(
    client: &Client,
    names: &Names<'_>,
    targets: &[CompiledTarget],
    generation: u64,
) -> Result<Filling, SinkError> {
    let mut indices = Vec::with_capacity(targets.len());
    for target in targets {
        let alias = &target.alias;
        prepare::live(client, names.owner, alias).await?;
        prepare::remove_leftovers(client, names.owner, alias, &[]).await?;
        let mark = Mark {
            owner: names.owner.name().into(),
            projection: names.projection.into(),
            alias: alias.clone(),
            generation,
        };
        let index = prepare::create(client, target, &mark).await?;
        let places_uuid = if target.moves() {
            Some(prepare::create_places(client, &index.name, &mark).await?.uuid)
        } else {
            None
        };
        // Nobody searches it yet, so nothing is to be made searchable.
        let unrefreshed = json!({ "index": { "refresh_interval": "-1" } });
        prepare::put_settings(client, &index.name, &unrefreshed).await?;
        let place =
            Place { alias: alias.clone(), index: index.name, uuid: index.uuid, places_uuid };
        indices.push(FillingIndex { place, refresh_interval: index.refresh_interval });
    }
    Ok(Filling { indices })
}

/// Makes the indices ready for readers.
pub(super) async fn end(client: &Client, filling: &Filling) -> Result<(), SinkError> {
    for index in &filling.indices {
        let settings = json!({ "index": { "refresh_interval": index.refresh_interval } });
        prepare::put_settings(client, &index.place.index, &settings).await?;
        prepare::refresh(client, &index.place.index).await?;
    }
    Ok(())
}

/// Puts the filled indices behind their aliases, all at once. Done again it changes nothing.
pub(super) async fn swap(
    client: &Client,
    owner: &Owner,
    filling: &Filling,
    term: u64,
) -> Result<(), SinkError> {
    let mut actions = Vec::new();
    for FillingIndex { place, .. } in &filling.indices {
        let own = prepare::term_alias(&place.alias, term);
        match prepare::live(client, owner, &place.alias).await? {
            Some(live) if live.name == place.index => continue,
            Some(live) => {
                actions.push(json!({ "remove": { "index": live.name, "alias": place.alias } }));
                // A leader that has been replaced must not change what readers see.
                if term > 0 {
                    actions.push(json!({ "remove": {
                        "index": live.name, "alias": own, "must_exist": true,
                    }}));
                }
            }
            None => {}
        }
        if term > 0 {
            actions.push(json!({ "add": { "index": place.index, "alias": own } }));
        }
        actions.push(json!({ "add": {
            "index": place.index, "alias": place.alias, "is_write_index": true,
        }}));
    }
    prepare::change_aliases(client, "swapping the alias to the new generation", actions).await
}

/// What remains after the watermark names the new index: the old ones go, but for a next one on its
/// way, and the filling alias.
pub(super) async fn clean(
    client: &Client,
    owner: &Owner,
    alias: &str,
    index: &str,
    next: Option<&Filling>,
) -> Result<(), SinkError> {
    let on_its_way = next.iter().flat_map(|filling| &filling.indices);
    let keep: Vec<&str> = on_its_way.map(|index| index.place.index.as_str()).collect();
    prepare::remove_leftovers(client, owner, alias, &keep).await?;
    let filling = prepare::filling_alias(index);
    let action = json!({ "remove": { "index": index, "alias": filling } });
    prepare::change_aliases(client, "ending the fill", vec![action]).await
}

/// Whether [`clean`] was not reached for this live index.
pub(super) fn is_unclean(live: &Index) -> bool {
    live.aliases.contains(&prepare::filling_alias(&live.name))
}
