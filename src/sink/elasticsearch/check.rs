//! What `readside check` says about a search server: reachable, the right product, permitted, and
//! the targets' names and mappings acceptable. Creates nothing.

use std::error::Error;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Answer, Client, Content, Method};
use super::error::ServerError;
use super::target::fields;
use super::{mapping, prepare};
use crate::config::{Diagnostic, ElasticsearchTarget, SinkConfig, Target};
use crate::sink::{SinkError, SinkProjection};

/// A server that takes longer to say who it is counts as away.
const PATIENCE: Duration = Duration::from_secs(10);

/// The faults of a sink and of the targets in it; `owner` names this pipeline, where it is known.
pub async fn check(
    config: &SinkConfig,
    owner: Option<&str>,
    projections: &[SinkProjection],
) -> Vec<Diagnostic> {
    let client = Client::new(config);
    let of_sink = |why: String, hint: &str| {
        let what = format!("sink {}: {why}", config.name);
        vec![Diagnostic::new(what).at(&config.place).hint(hint)]
    };
    let greeting = tokio::time::timeout(PATIENCE, greet(&client)).await;
    match greeting {
        Err(_) => {
            let why = format!("no answer within {} s", PATIENCE.as_secs());
            return of_sink(why, "check the url's host and port, and firewalls in between");
        }
        Ok(Err(error)) => {
            let (why, hint) = away(&error);
            return of_sink(why, &hint);
        }
        Ok(Ok(Some((why, hint)))) => return of_sink(why, hint),
        Ok(Ok(None)) => {}
    }
    let mut faults = Vec::new();
    for projection in projections {
        for target in &projection.targets {
            let Target::Elasticsearch(target) = target else { continue };
            let fault = match check_target(&client, owner, projection, target).await {
                Ok(None) => continue,
                Ok(Some(fault)) => fault,
                Err(error) => away(&error),
            };
            faults.push(Diagnostic::new(fault.0).at(&target.place).hint(fault.1));
        }
    }
    faults
}

/// What two urls of one cluster have in common, where that can be asked.
pub async fn store(config: &SinkConfig) -> Option<String> {
    let client = Client::new(config);
    let path = "_cluster/state/version?filter_path=cluster_uuid";
    let answer = tokio::time::timeout(PATIENCE, client.send(Method::Get, path, Content::None));
    let answer = answer.await.ok()?.ok()?;
    let state: Value = serde_json::from_slice(&answer.body).ok()?;
    state["cluster_uuid"].as_str().map(str::to_owned)
}

/// Who answers; a fault with a hint when it is none of ours.
async fn greet(client: &Client) -> Result<Option<(String, &'static str)>, SinkError> {
    #[derive(Deserialize)]
    struct Greeting {
        version: Version,
    }
    #[derive(Deserialize)]
    struct Version {
        number: String,
        #[serde(default)]
        distribution: String,
    }
    let answer = client.send(Method::Get, "", Content::None).await?;
    if let Some(fault) = denied(&answer) {
        return Ok(Some(fault));
    }
    if let Ok(Greeting { version }) = serde_json::from_slice(&answer.body) {
        return Ok(unsuitable(version.distribution == "opensearch", &version.number));
    }
    // Some builds do not greet; the nodes tell their version too.
    let path = "_nodes/_local?filter_path=nodes.*.version";
    let answer = client.send(Method::Get, path, Content::None).await?;
    if let Some(fault) = denied(&answer) {
        return Ok(Some(fault));
    }
    let Ok(nodes) = serde_json::from_slice::<Value>(&answer.body) else {
        return Ok(Some((
            format!("what answers (status {}) is not a search server", answer.status),
            "check the url's port and path",
        )));
    };
    let version = nodes["nodes"]
        .as_object()
        .and_then(|nodes| nodes.values().next())
        .and_then(|node| node["version"].as_str());
    // Who hides the version is taken at its word.
    Ok(version.and_then(|version| unsuitable(!answer.elastic_product, version)))
}

fn denied(answer: &Answer) -> Option<(String, &'static str)> {
    match answer.status {
        401 => Some((
            format!("the search server refused the credentials: {}", ServerError::of(answer)),
            "check username and password_file, or api_key",
        )),
        _ => None,
    }
}

fn unsuitable(opensearch: bool, version: &str) -> Option<(String, &'static str)> {
    let major: u32 = version.split('.').next()?.parse().ok()?;
    let (product, least) = if opensearch { ("OpenSearch", 2) } else { ("Elasticsearch", 8) };
    (major < least).then(|| {
        (
            format!("the search server is {product} {version}"),
            "use Elasticsearch 8 or later, or OpenSearch 2 or later",
        )
    })
}

/// An error as a reason and what to do, by the words of its innermost cause.
fn away(error: &SinkError) -> (String, String) {
    let mut why = match error {
        SinkError::Retryable { what, .. } => what.clone(),
        SinkError::Fatal { what, hint } | SinkError::Blocked { what, hint, .. } => {
            return (what.clone(), hint.clone());
        }
        // No check asks who leads.
        SinkError::Outranked { .. } => error.to_string(),
    };
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let cause = innermost.to_string();
    if error.source().is_some() {
        why = format!("{why}: {cause}");
    }
    let lower = cause.to_lowercase();
    let hint = if lower.contains("certificate") {
        "set ca_file to the authority that signed the server's certificate, and use a name that the \
         certificate holds"
    } else if lower.contains("refused") {
        "start the search server, or correct the url's host and port"
    } else if lower.contains("lookup") || lower.contains("name or service") {
        "correct the url's host"
    } else if ["tls", "ssl", "corrupt message", "handshake"].iter().any(|w| lower.contains(w)) {
        "use https where the server speaks TLS, and http where it does not"
    } else if lower.contains("permission") || lower.contains("unauthorized") {
        "grant the user create_index, manage, read and write on the target's index and index-*, on \
         readside-watermark, readside-refused and on readside-places-*"
    } else {
        "see that the search server runs and can be reached from here"
    };
    (why, hint.into())
}

async fn check_target(
    client: &Client,
    owner: Option<&str>,
    projection: &SinkProjection,
    target: &ElasticsearchTarget,
) -> Result<Option<(String, String)>, SinkError> {
    let found = prepare::find(client, &target.index).await?;
    // A source that cannot be asked has no name yet; then any pipeline's mark will do.
    let marked = found.iter().find_map(|index| index.mark.as_ref());
    let owner = owner.or(marked.map(|mark| mark.owner.as_str())).unwrap_or_default();
    if let Err(fault) = prepare::ownership(&owner.into(), &target.index, found) {
        return Ok(Some(fault));
    }
    refused_mapping(client, projection, target).await
}

/// Lets the server judge the mappings and settings as those of a template that is not kept.
async fn refused_mapping(
    client: &Client,
    projection: &SinkProjection,
    target: &ElasticsearchTarget,
) -> Result<Option<(String, String)>, SinkError> {
    let template = mapping::index_body(
        &fields(projection),
        target.mappings.as_ref(),
        target.settings.as_ref(),
        Value::Null,
    );
    // A priority that no other template for such names has: two of one are a fault of their own.
    let body = json!({
        "index_patterns": [format!("{}-000*", target.index)],
        "priority": 1_913_774_221,
        "template": template,
    });
    let path = "_index_template/_simulate?filter_path=error";
    let answer = client.send(Method::Post, path, (&body).into()).await?;
    // Only a refusal of the content is a fault: the question itself may not be permitted.
    Ok((answer.status == 400).then(|| {
        (
            format!(
                "the search server refuses the mappings or settings of index {}: {}",
                target.index,
                ServerError::of(&answer).reason
            ),
            "correct mappings and settings, or leave out the column they cannot hold".into(),
        )
    }))
}
