//! A headless Chromium, driven by WebDriver.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::ports::Port;
use super::process::{Process, RunAs};
use super::scratch::Scratch;
use super::wait;

pub(crate) struct Browser {
    session: String,
    http: reqwest::Client,
    _process: Process,
    _port: Port,
    _scratch: Scratch,
}

impl Browser {
    pub(crate) async fn start() -> Browser {
        let program = Path::new("chromedriver");
        assert!(
            Command::new(program).arg("--version").output().is_ok(),
            "no chromedriver in the PATH; run: apt-get install chromium chromium-driver"
        );
        let (scratch, port, http) = (Scratch::new("browser"), Port::reserve(), super::http());
        let mut command = RunAs::Ourselves.command(program);
        command.arg(format!("--port={}", port.number())).current_dir(scratch.path());
        let mut process = Process::start("chromedriver", command, &scratch.path().join("log"));
        let url = format!("http://127.0.0.1:{}", port.number());
        // Over a pipe, so that the browser ends with its driver, however that ends. Chromium's own
        // sandbox refuses root.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--remote-debugging-pipe",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-proxy-server",
            "--window-size=1280,860",
            &format!("--user-data-dir={}", scratch.path().join("profile").display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": arguments },
        } } });
        let started = wait::until("a browser", async || {
            if let Some(status) = process.exited() {
                panic!("chromedriver ended ({status})");
            }
            post(&http, &format!("{url}/session"), &wanted).await
        })
        .await;
        let id = started["sessionId"].as_str().expect("a session has an id");
        let session = format!("{url}/session/{id}");
        Browser { session, http, _process: process, _port: port, _scratch: scratch }
    }

    async fn command(&self, what: &str, body: &Value) -> Value {
        let answer = post(&self.http, &format!("{}/{what}", self.session), body).await;
        answer.unwrap_or_else(|error| panic!("{what} {body}: {error}"))
    }

    /// Chromium's own protocol, for what WebDriver has no word for.
    async fn devtools(&self, what: &str, parameters: Value) -> Value {
        self.command("goog/cdp/execute", &json!({ "cmd": what, "params": parameters })).await
    }

    pub(crate) async fn open(&self, url: &str) {
        self.command("url", &json!({ "url": url })).await;
    }

    /// What the script returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Text of the first element, as it is seen; empty when there is none.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({})?.innerText ?? ''", json!(selector));
        self.run(&script).await.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) async fn until_text(&self, selector: &str, wanted: &str) -> String {
        wait::until(&format!("{selector} to show {wanted:?}"), async || {
            let text = self.text(selector).await;
            if text.contains(wanted) { Ok(text) } else { Err(text) }
        })
        .await
    }

    async fn element(&self, selector: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.command("element", &wanted).await;
        let id = found.as_object().and_then(|ids| ids.values().next()).and_then(Value::as_str);
        format!("element/{}", id.expect("an element has an id"))
    }

    /// As a person does: what is hidden or covered cannot be clicked.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.command(&format!("{element}/click"), &json!({})).await;
    }

    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.command(&format!("{element}/value"), &json!({ "text": text })).await;
    }

    pub(crate) async fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Into the directory that `READSIDE_TEST_SCREENSHOTS` names, for people to look at.
    pub(crate) async fn screenshot(&self, name: &str) {
        let Some(directory) = std::env::var_os("READSIDE_TEST_SCREENSHOTS") else { return };
        let whole = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.devtools("Page.captureScreenshot", whole).await;
        let png = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            picture["data"].as_str().unwrap_or_default(),
        );
        let file = Path::new(&directory).join(format!("{name}.png"));
        fs::write(&file, png.expect("a picture is base64"))
            .unwrap_or_else(|e| panic!("cannot write {}: {e}", file.display()));
    }

    /// What the page has complained about since it was last asked.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.command("se/log", &json!({ "type": "browser" })).await;
        let lines = log.as_array().expect("a log is a list").iter();
        lines.map(|line| format!("{}: {}", line["source"], line["message"])).collect()
    }
}

async fn post(http: &reqwest::Client, url: &str, body: &Value) -> Result<Value, String> {
    let answer = http.post(url).json(body).send().await.map_err(|e| format!("{e:?}"))?;
    let (status, text) = (answer.status(), answer.text().await.map_err(|e| format!("{e:?}"))?);
    let mut found: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
    if status.is_success() { Ok(found["value"].take()) } else { Err(text) }
}
