//! A search server: one for the whole run, since a start takes five to ten seconds, or one of a
//! test's own for those that kill it. `READSIDE_TEST_SEARCH` chooses among what
//! `tests/servers/search.sh` knows: `os2` (OpenSearch 2.19, the default) or `es8` (Elasticsearch).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::ports::Port;
use super::process::{Process, RunAs, kill9_pid, run};
use super::scratch::{Scratch, replace};
use super::{unique, wait};

/// Two cores that also build and test may take a Java server well beyond the usual bound.
const START_BOUND: Duration = Duration::from_secs(180);

/// A way to a server. Use indexes with names of your own: [`Search::index`].
pub(crate) struct Search {
    url: String,
    http: reqwest::Client,
}

/// A server that one test owns, kills and restarts.
pub(crate) struct PrivateSearch {
    server: Server,
    /// To be used as the shared one is.
    pub(crate) search: Search,
}

struct Server {
    process: Process,
    scratch: Scratch,
    port: Port,
}

impl Search {
    /// The one server of this run.
    pub(crate) async fn shared() -> Search {
        // Never dropped; the kernel kills it with the test binary.
        static SHARED: OnceCell<Server> = OnceCell::const_new();
        let server = SHARED.get_or_init(Server::start).await;
        Search::at(server.url())
    }

    pub(crate) async fn private() -> PrivateSearch {
        let server = Server::start().await;
        let search = Search::at(server.url());
        PrivateSearch { server, search }
    }

    fn at(url: String) -> Search {
        Search { url, http: super::http() }
    }

    /// Another way to the same server.
    pub(crate) fn again(&self) -> Search {
        Search::at(self.url.clone())
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A name that no other test uses.
    pub(crate) fn index(&self, prefix: &str) -> String {
        unique(prefix)
    }

    /// Any request; the answer's status and JSON (null when there is no body).
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}/{path}", self.url));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap_or_else(|e| panic!("{path}: {e:?}"));
        let status = answer.status();
        let text = answer.text().await.unwrap_or_else(|e| panic!("{path}: {e:?}"));
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.request(Method::GET, path, None).await
    }

    /// A document by its id, without a refresh; the whole answer, with `_version` and `_source`.
    pub(crate) async fn document(&self, index: &str, id: &str) -> Option<Value> {
        let id: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (status, answer) = self.get(&format!("{index}/_doc/{id}")).await;
        match status {
            StatusCode::OK => Some(answer),
            StatusCode::NOT_FOUND => None,
            _ => panic!("GET of {index}/{id}: {status} {answer}"),
        }
    }

    /// Makes all that was written visible to searches.
    pub(crate) async fn refresh(&self, index: &str) {
        let (status, answer) = self.request(Method::POST, &format!("{index}/_refresh"), None).await;
        assert!(status.is_success(), "refresh of {index}: {status} {answer}");
    }

    /// How many documents searches see at the moment, without a refresh.
    pub(crate) async fn count(&self, index: &str) -> Option<u64> {
        let (_, answer) = self.get(&format!("{index}/_count")).await;
        answer["count"].as_u64()
    }

    /// All documents as (id, source), in the order of their ids.
    pub(crate) async fn documents(&self, index: &str) -> Vec<(String, Value)> {
        self.refresh(index).await;
        let first = json!({"size": 5_000, "sort": ["_doc"]});
        let path = format!("{index}/_search?scroll=1m");
        let mut answer = self.request(Method::POST, &path, Some(first)).await;
        let mut documents = Vec::new();
        loop {
            let (status, mut page) = answer;
            assert!(status.is_success(), "search in {index}: {status} {page}");
            let Value::Array(hits) = page["hits"]["hits"].take() else {
                panic!("search in {index}: {page}")
            };
            let scroll = page["_scroll_id"].take();
            if hits.is_empty() {
                let done = json!({"scroll_id": scroll});
                self.request(Method::DELETE, "_search/scroll", Some(done)).await;
                break;
            }
            documents.extend(
                hits.into_iter().map(|mut hit| {
                    (hit["_id"].as_str().unwrap().to_owned(), hit["_source"].take())
                }),
            );
            let next = json!({"scroll": "1m", "scroll_id": scroll});
            answer = self.request(Method::POST, "_search/scroll", Some(next)).await;
        }
        documents.sort_by(|(a, _), (b, _)| a.cmp(b));
        documents
    }
}

impl PrivateSearch {
    pub(crate) fn port(&self) -> u16 {
        self.server.port.number()
    }

    pub(crate) fn kill9(&mut self) {
        self.server.kill9();
    }

    /// Starts again on the same port with the same data; kills first when still running.
    pub(crate) async fn restart(&mut self) {
        self.server.kill9();
        self.server.process = Server::launch(&self.server.scratch, &self.server.port);
        self.server.ready().await;
    }
}

impl PrivateSearch {
    /// Its files, for [`PrivateSearch::restore`]; they are whole only while it does not run.
    pub(crate) async fn copy(&mut self) {
        self.server.kill9();
        replace(&self.server.files(), &self.server.copied());
        self.restart().await;
    }

    /// Starts on the copy; kills first.
    pub(crate) async fn restore(&mut self) {
        self.server.kill9();
        replace(&self.server.copied(), &self.server.files());
        self.restart().await;
    }
}

impl Server {
    fn files(&self) -> PathBuf {
        self.scratch.path().join("node")
    }

    fn copied(&self) -> PathBuf {
        self.scratch.path().join("copy")
    }

    async fn start() -> Server {
        // A download at the first use ever, so not in a runtime's thread.
        tokio::task::spawn_blocking(|| {
            let mut command = Command::new(script());
            command.arg("install").env("SEARCH", kind());
            run("tests/servers/search.sh install", command)
        })
        .await
        .unwrap_or_else(|e| panic!("the search server could not be installed: {e}"));
        let scratch = Scratch::new("search");
        let port = Port::reserve();
        let process = Server::launch(&scratch, &port);
        let mut server = Server { process, scratch, port };
        server.ready().await;
        server
    }

    /// The script gives root's rights away itself, since it also writes the configuration.
    fn launch(scratch: &Scratch, port: &Port) -> Process {
        let mut command = RunAs::Ourselves.command(&script());
        command.env("SEARCH", kind()).arg("run").arg(scratch.path().join("node"));
        command.arg(port.number().to_string());
        Process::start("the search server", command, &scratch.path().join("log"))
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// Elasticsearch's start script stays as the server's parent; both have to go.
    fn kill9(&mut self) {
        if self.process.exited().is_none()
            && let Ok(pid) = std::fs::read_to_string(self.scratch.path().join("node/pid"))
            && let Ok(pid) = pid.trim().parse()
        {
            kill9_pid(pid);
        }
        self.process.kill9();
    }

    async fn ready(&mut self) {
        let http = super::http();
        let url = format!("{}/_cluster/health", self.url());
        wait::until_within("the search server to answer", START_BOUND, async || {
            if let Some(status) = self.process.exited() {
                panic!("the search server ended ({status}):\n{}", self.process.log_tail());
            }
            match http.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => {
                    let health = answer.text().await.map_err(|e| e.to_string())?;
                    if health.contains("\"red\"") { Err(health) } else { Ok(()) }
                }
                Ok(answer) => Err(answer.status().to_string()),
                Err(error) => Err(format!("{error:?}")),
            }
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn kind() -> String {
    std::env::var("READSIDE_TEST_SEARCH").unwrap_or_else(|_| "os2".into())
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/search.sh")
}
