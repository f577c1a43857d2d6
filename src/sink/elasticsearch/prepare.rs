//! Indices and aliases: finding out what stands behind a name, whose it is, and making or removing
//! what is ours. Nothing is touched that our mark (`_meta.readside` in the mapping) does not prove
//! ours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Client, Content, Method, segment};
use super::error::{self, ServerError};
use super::mapping;
use super::target::CompiledTarget;
use crate::sink::{Owner, SinkError};

/// Suffixes tried when a generation's name is taken.
const NAMES_MAX: usize = 16;

/// The mark in an index's mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) owner: String,
    pub(super) projection: String,
    /// The alias that the index is for.
    pub(super) alias: String,
    pub(super) generation: u64,
}

/// An index as the server describes it.
#[derive(Debug, Clone)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) uuid: String,
    pub(super) aliases: Vec<String>,
    pub(super) mark: Option<Mark>,
    /// As set; absent for the server's default.
    pub(super) refresh_interval: Option<Value>,
}

/// The alias that an index has from its creation until readers see it. All writes of a fill go
/// through it with `require_alias`, so that an index that somebody drops does not come back by
/// itself with guessed mappings.
pub(super) fn filling_alias(index: &str) -> String {
    format!("{index}.filling")
}

/// The alias that a group's leader writes through, in its term. The next one takes it away, and with it all
/// that the one before may still send.
pub(super) fn term_alias(alias: &str, term: u64) -> String {
    format!("{}{term}", term_prefix(alias))
}

/// What all of them begin with.
pub(super) fn term_prefix(alias: &str) -> String {
    format!("{alias}.term-")
}

/// The index of places that goes with an index of documents (see `places`).
pub(super) fn places_index(index: &str) -> String {
    format!("readside-places-{index}")
}

/// All indices that `expression` names: an index, an alias, or a pattern.
pub(super) async fn find(client: &Client, expression: &str) -> Result<Vec<Index>, SinkError> {
    #[derive(Deserialize)]
    struct Described {
        #[serde(default)]
        aliases: BTreeMap<String, Value>,
        #[serde(default)]
        mappings: Mappings,
        #[serde(default)]
        settings: Settings,
    }
    #[derive(Default, Deserialize)]
    struct Mappings {
        #[serde(default, rename = "_meta")]
        meta: Value,
    }
    #[derive(Default, Deserialize)]
    struct Settings {
        #[serde(default)]
        index: IndexSettings,
    }
    #[derive(Default, Deserialize)]
    struct IndexSettings {
        #[serde(default)]
        uuid: String,
        #[serde(default)]
        refresh_interval: Option<Value>,
    }
    let doing = format!("reading what {expression} is");
    let path = format!(
        "{}?expand_wildcards=all&filter_path=*.aliases,*.settings.index.uuid,\
         *.settings.index.refresh_interval,*.mappings._meta",
        pattern(expression)
    );
    let answer = client.send(Method::Get, &path, Content::None).await?;
    match answer.status {
        200 => {}
        404 => return Ok(Vec::new()),
        _ => return Err(error::refusal(&doing, &answer)),
    }
    let described: BTreeMap<String, Described> = serde_json::from_slice(&answer.body)
        .map_err(|source| error::unexpected(&doing, &answer, source))?;
    Ok(described
        .into_iter()
        .map(|(name, index)| Index {
            name,
            uuid: index.settings.index.uuid,
            aliases: index.aliases.into_keys().collect(),
            // A mark that cannot be read is not ours.
            mark: index.mappings.meta.get("readside").and_then(|mark| Mark::deserialize(mark).ok()),
            refresh_interval: index.settings.index.refresh_interval,
        })
        .collect())
}

/// A path segment in which `*` and `,` keep their meaning.
fn pattern(expression: &str) -> String {
    segment(expression).to_string().replace("%2A", "*")
}

/// The index behind a target's alias, `None` when nothing has the name. What is not ours is fatal.
pub(super) async fn live(
    client: &Client,
    owner: &Owner,
    alias: &str,
) -> Result<Option<Index>, SinkError> {
    match ownership(owner, alias, find(client, alias).await?) {
        Ok(index) => Ok(index),
        Err((what, hint)) => Err(SinkError::Fatal { what, hint }),
    }
}

/// The decision of [`live`]; the fault is what is there instead and what to do.
pub(super) fn ownership(
    owner: &Owner,
    alias: &str,
    mut found: Vec<Index>,
) -> Result<Option<Index>, (String, String)> {
    let elsewhere = || "give this target another index name, or remove what stands there".into();
    if found.iter().any(|index| index.name == alias) {
        return Err((
            format!("{alias} is an index that exists already, not our alias"),
            elsewhere(),
        ));
    }
    let Some(index) = found.pop() else { return Ok(None) };
    if !found.is_empty() {
        let what = format!("the alias {alias} points to {} indices", found.len() + 1);
        return Err((what, elsewhere()));
    }
    match &index.mark {
        None => Err((
            format!("the alias {alias} points to {}, which Readside did not make", index.name),
            elsewhere(),
        )),
        Some(mark) if !owner.is(&mark.owner) => Err((
            format!("the index {} behind {alias} belongs to pipeline {}", index.name, mark.owner),
            "give this target another index name, or stop that pipeline and remove its index"
                .into(),
        )),
        Some(mark) if mark.alias != alias || !index.aliases.iter().any(|a| a == alias) => Err((
            format!("{alias} leads to {}, which was made for {}", index.name, mark.alias),
            elsewhere(),
        )),
        Some(_) => Ok(Some(index)),
    }
}

/// Creates the index of a new generation, with its filling alias.
pub(super) async fn create(
    client: &Client,
    target: &CompiledTarget,
    mark: &Mark,
) -> Result<Index, SinkError> {
    let mut body = mapping::index_body(
        &target.columns,
        target.mappings.as_ref(),
        target.settings.as_ref(),
        json!(mark),
    );
    let base = generation_name(&mark.alias, mark.generation);
    for attempt in 0..NAMES_MAX {
        let name = if attempt == 0 { base.clone() } else { format!("{base}-{attempt}") };
        let mut filling = serde_json::Map::new();
        filling.insert(filling_alias(&name), json!({}));
        body["aliases"] = Value::Object(filling);
        if put_index(client, &name, &body).await? {
            return described(client, &name).await;
        }
    }
    Err(SinkError::Fatal {
        what: format!("the names {base} to {base}-{} are all taken", NAMES_MAX - 1),
        hint: "remove the indices of these names".into(),
    })
}

/// As a rollover would name it; the user's own indices rarely look like that.
pub(super) fn generation_name(alias: &str, generation: u64) -> String {
    format!("{alias}-{generation:06}")
}

/// The index of places beside `index`.
pub(super) async fn create_places(
    client: &Client,
    index: &str,
    mark: &Mark,
) -> Result<Index, SinkError> {
    let name = places_index(index);
    let body = json!({ "mappings": { "dynamic": false, "_meta": { "readside": mark } } });
    remove_ours(client, &mark.owner.as_str().into(), &name).await?;
    if put_index(client, &name, &body).await? {
        return described(client, &name).await;
    }
    Err(SinkError::Fatal {
        what: format!("the name {name} is taken by an index that this pipeline did not make"),
        hint: "remove that index".into(),
    })
}

async fn described(client: &Client, name: &str) -> Result<Index, SinkError> {
    find(client, name)
        .await?
        .pop()
        .ok_or_else(|| error::trouble(format!("the index {name} is gone just after its creation")))
}

/// False when the name is taken.
pub(super) async fn put_index(
    client: &Client,
    name: &str,
    body: &Value,
) -> Result<bool, SinkError> {
    #[derive(Deserialize)]
    struct Created {
        #[serde(default)]
        shards_acknowledged: bool,
    }
    let doing = format!("creating index {name}");
    let path = format!("{}?timeout=20s", segment(name));
    let answer = client.send(Method::Put, &path, body.into()).await?;
    if answer.status == 400 {
        let error = ServerError::of(&answer);
        if error.kind == "resource_already_exists_exception"
            || error.reason.contains("already exists as alias")
        {
            return Ok(false);
        }
    }
    if answer.status != 200 {
        return Err(error::refusal(&doing, &answer));
    }
    let created: Created = serde_json::from_slice(&answer.body)
        .map_err(|source| error::unexpected(&doing, &answer, source))?;
    if created.shards_acknowledged {
        Ok(true)
    } else {
        Err(error::trouble(format!("the search server has not started index {name} in time")))
    }
}

/// Removes the index when its mark says that it is this pipeline's.
pub(super) async fn remove_ours(
    client: &Client,
    owner: &Owner,
    name: &str,
) -> Result<(), SinkError> {
    for index in find(client, name).await? {
        if index.name == name && index.mark.is_some_and(|mark| owner.is(&mark.owner)) {
            remove(client, name).await?;
        }
    }
    Ok(())
}

async fn remove(client: &Client, name: &str) -> Result<(), SinkError> {
    let answer = client.send(Method::Delete, &segment(name).to_string(), Content::None).await?;
    match answer.status {
        200 | 404 => Ok(()),
        _ => Err(error::refusal(&format!("removing index {name}"), &answer)),
    }
}

/// Removes this pipeline's indices for `alias`, with their places, but for those in `keep`.
pub(super) async fn remove_leftovers(
    client: &Client,
    owner: &Owner,
    alias: &str,
    keep: &[&str],
) -> Result<(), SinkError> {
    for index in find(client, &format!("{alias}-*")).await? {
        let ours = index.mark.is_some_and(|mark| owner.is(&mark.owner) && mark.alias == alias);
        // An index that has the alias is what readers see, whatever we were told to keep.
        let seen = index.aliases.iter().any(|name| name == alias);
        if ours && !seen && !keep.contains(&index.name.as_str()) {
            remove_ours(client, owner, &places_index(&index.name)).await?;
            remove(client, &index.name).await?;
        }
    }
    Ok(())
}

/// One atomic change of aliases.
pub(super) async fn change_aliases(
    client: &Client,
    doing: &str,
    actions: Vec<Value>,
) -> Result<(), SinkError> {
    if actions.is_empty() {
        return Ok(());
    }
    let body = json!({ "actions": actions });
    let answer = client.send(Method::Post, "_aliases", (&body).into()).await?;
    match answer.status {
        200 => Ok(()),
        _ => Err(error::refusal(doing, &answer)),
    }
}

pub(super) async fn put_settings(
    client: &Client,
    index: &str,
    settings: &Value,
) -> Result<(), SinkError> {
    let path = format!("{}/_settings", segment(index));
    let answer = client.send(Method::Put, &path, settings.into()).await?;
    match answer.status {
        200 => Ok(()),
        _ => Err(error::refusal(&format!("changing the settings of {index}"), &answer)),
    }
}

/// Makes what was written findable by search.
pub(super) async fn refresh(client: &Client, name: &str) -> Result<(), SinkError> {
    let path = format!("{}/_refresh?filter_path=_shards.failed", segment(name));
    let answer = client.send(Method::Post, &path, Content::None).await?;
    match answer.status {
        200 => Ok(()),
        _ => Err(error::refusal(&format!("refreshing {name}"), &answer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(name: &str, aliases: &[&str], owner: Option<&str>) -> Index {
        Index {
            name: name.into(),
            uuid: "u".into(),
            aliases: aliases.iter().map(ToString::to_string).collect(),
            mark: owner.map(|owner| Mark {
                owner: owner.into(),
                projection: "p".into(),
                alias: "products".into(),
                generation: 1,
            }),
            refresh_interval: None,
        }
    }

    #[test]
    fn only_what_carries_our_mark_is_ours() {
        let decide =
            |found| ownership(&"me".into(), "products", found).map(|index| index.map(|i| i.name));
        assert_eq!(decide(vec![]), Ok(None));
        let ours = index("products-000001", &["products"], Some("me"));
        assert_eq!(decide(vec![ours.clone()]), Ok(Some("products-000001".into())));
        for foreign in [
            vec![index("products", &[], None)],
            vec![index("products", &[], Some("me"))],
            vec![index("other", &["products"], None)],
            vec![index("other", &["products"], Some("you"))],
            vec![ours, index("more", &["products"], None)],
        ] {
            assert!(decide(foreign.clone()).is_err(), "{foreign:?}");
        }
    }
}
