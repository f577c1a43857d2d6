//! HTTP to the search server: the one place that names the client crate, of which only the
//! low-level send is used. It does not retry, sniff, or check the product.
//!
//! Every answer, whatever its status, is an [`Answer`]; an error is only what kept one from coming.
//! A body is read whole. Its size is bounded by what is asked for: each request narrows its answer
//! by `filter_path`, and one that announces more than [`ANSWER_BYTES_MAX`] is refused unread.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use elasticsearch::auth::Credentials;
use elasticsearch::cert::{Certificate, CertificateValidation};
pub(super) use elasticsearch::http::Method;
use elasticsearch::http::headers::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use crate::config::{Secret, SinkConfig};
use crate::sink::SinkError;

const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Longer than the server's own patience (`timeout=` of each bulk request), so that it is the
/// server that says what went wrong whenever there is one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What may stand in a path segment as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// A connection pool to one server, made on first use. Clones share it.
#[derive(Clone)]
pub(super) struct Client(Arc<Inner>);

struct Inner {
    access: Access,
    transport: OnceLock<Transport>,
}

/// What the configuration says about reaching the server.
struct Access {
    sink: String,
    url: Secret,
    ca_file: Option<std::path::PathBuf>,
    username: Option<String>,
    password: Option<Secret>,
    api_key: Option<Secret>,
}

pub(super) enum Content {
    None,
    Json(Bytes),
    Ndjson(Bytes),
}

impl From<&serde_json::Value> for Content {
    fn from(value: &serde_json::Value) -> Self {
        Self::Json(Bytes::from(value.to_string()))
    }
}

/// What the server answered, good or bad.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Elasticsearch says so in a header; OpenSearch and others do not.
    pub(super) elastic_product: bool,
    pub(super) body: Bytes,
}

impl Client {
    pub(super) fn new(config: &SinkConfig) -> Self {
        let access = Access {
            sink: config.name.clone(),
            url: config.url.clone(),
            ca_file: config.ca_file.clone(),
            username: config.username.clone(),
            password: config.password.clone(),
            api_key: config.api_key.clone(),
        };
        Self(Arc::new(Inner { access, transport: OnceLock::new() }))
    }

    /// Sends one request. `path` is relative to the configured url, with its query string.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        content: Content,
    ) -> Result<Answer, SinkError> {
        let transport = self.transport()?;
        let (kind, body) = match content {
            Content::None => ("application/json", None),
            Content::Json(bytes) => ("application/json", Some(bytes)),
            Content::Ndjson(bytes) => ("application/x-ndjson", Some(bytes)),
        };
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let response = transport
            .send(method, path, headers, None::<&()>, body, Some(REQUEST_TIMEOUT))
            .await
            .map_err(|error| self.unreachable(error))?;
        let status = response.status_code().as_u16();
        let elastic_product = response.headers().contains_key("x-elastic-product");
        if let Some(length) = response.content_length().filter(|&length| length > ANSWER_BYTES_MAX)
        {
            let what = format!(
                "the search server of sink {} announced an answer of {length} bytes (status \
                 {status}), more than the {ANSWER_BYTES_MAX} that are read",
                self.0.access.sink
            );
            return Err(SinkError::Retryable { what, source: None });
        }
        let body = response.bytes().await.map_err(|error| self.unreachable(error))?;
        Ok(Answer { status, elastic_product, body })
    }

    fn unreachable(&self, error: elasticsearch::Error) -> SinkError {
        let sink = &self.0.access.sink;
        let what = if error.is_timeout() {
            format!("the search server of sink {sink} did not answer in time")
        } else {
            format!("the search server of sink {sink} cannot be reached")
        };
        SinkError::Retryable { what, source: Some(Box::new(error)) }
    }

    fn transport(&self) -> Result<&Transport, SinkError> {
        if let Some(transport) = self.0.transport.get() {
            return Ok(transport);
        }
        let made = self.0.access.transport()?;
        Ok(self.0.transport.get_or_init(|| made))
    }
}

impl Access {
    fn transport(&self) -> Result<Transport, SinkError> {
        let mut url = Url::parse(self.url.expose())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| SinkError::Fatal {
                what: format!("the url of sink {} is not an http or https url", self.sink),
                hint: "write it as https://host:9200".into(),
            })?;
        let credentials = self.credentials(&url)?;
        // Left in place they would be sent a second time, and shown in errors.
        if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
            return Err(SinkError::Fatal {
                what: format!("the url of sink {} cannot hold credentials", self.sink),
                hint: "use username and password, or api_key".into(),
            });
        }
        let https = url.scheme() == "https";
        // The server is where the url says, whatever proxy the environment names.
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url))
            .disable_proxy()
            .enable_meta_header(false);
        if let Some(credentials) = credentials {
            builder = builder.auth(credentials);
        }
        if https && let Some(roots) = self.roots()? {
            builder = builder.cert_validation(CertificateValidation::Full(roots));
        }
        builder.build().map_err(|error| SinkError::Retryable {
            what: format!("no client could be made for sink {}", self.sink),
            source: Some(Box::new(error)),
        })
    }

    fn credentials(&self, url: &Url) -> Result<Option<Credentials>, SinkError> {
        if let Some(key) = &self.api_key {
            let key = key.expose().trim();
            // The client crate panics on what no header can hold.
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(SinkError::Fatal {
                    what: format!("the api_key of sink {} is not one", self.sink),
                    hint: "write the encoded key that the server returned, or id:api_key".into(),
                });
            }
            return Ok(Some(match key.split_once(':') {
                Some((id, key)) => Credentials::ApiKey(id.into(), key.into()),
                None => Credentials::EncodedApiKey(key.into()),
            }));
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let username = match &self.username {
            Some(name) => name.clone(),
            None if !url.username().is_empty() => decoded(url.username()),
            None => return Ok(None),
        };
        let password = match &self.password {
            Some(password) => password.expose().to_string(),
            None => decoded(url.password().unwrap_or_default()),
        };
        Ok(Some(Credentials::Basic(username, password)))
    }

    /// The authorities to trust beside the client's built-in ones: those of `ca_file`, else the
    /// system's. A system certificate that cannot be read only makes fewer servers trusted.
    fn roots(&self) -> Result<Option<Certificate>, SinkError> {
        if let Some(path) = &self.ca_file {
            let unreadable =
                |source: Box<dyn std::error::Error + Send + Sync>| SinkError::Retryable {
                    what: format!("cannot read ca_file {} of sink {}", path.display(), self.sink),
                    source: Some(source),
                };
            let pem = std::fs::read(path).map_err(|error| unreadable(Box::new(error)))?;
            return match Certificate::from_pem(&pem) {
                Ok(roots) => Ok(Some(roots)),
                Err(error) => Err(unreadable(Box::new(error))),
            };
        }
        let system = rustls_native_certs::load_native_certs().certs;
        Ok(system.iter().filter_map(|der| Certificate::from_der(der).ok()).reduce(
            |mut all, one| {
                all.append(one);
                all
            },
        ))
    }
}

/// An index, alias or document name as a path segment.
pub(super) fn segment(name: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(name, SEGMENT)
}
