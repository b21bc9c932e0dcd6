//! Headless Chromium, driven through chromedriver by the WebDriver protocol: plain JSON over HTTP.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Result;

const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// The key under which WebDriver gives elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A window of a browser, which ends with the value.
pub(crate) struct Browser {
    client: reqwest::Client,
    driver: Driver,
    session: String,
    _profile: TempDir,
}

/// chromedriver and all that it has started.
struct Driver {
    child: Child,
    url: String,
}

impl Driver {
    fn start() -> Result<Self> {
        let program = std::env::var("CHROMEDRIVER").unwrap_or_else(|_| "chromedriver".to_owned());
        let mut command = Command::new(&program);
        command
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        // A group of its own, so that it goes with all its children.
        let mut child = command.process_group(0).spawn().map_err(|error| {
            format!("{program} cannot be started ({error}): install the packages chromium and chromium-driver")
        })?;
        let output = child.stdout.take().ok_or("no output")?;
        let mut driver = Self {
            child,
            url: String::new(),
        };
        let mut lines = BufReader::new(output).lines();
        for line in lines.by_ref() {
            let line = line?;
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                driver.url = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
                // What it says later is read, so that it never waits for us.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(driver);
            }
        }
        Err("chromedriver has not started".into())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        drop(Command::new("kill").args(["-KILL", "--", &group]).status());
        drop(self.child.wait());
    }
}

impl Browser {
    pub(crate) async fn start(dark: bool) -> Result<Self> {
        let driver = Driver::start()?;
        let profile = tempfile::tempdir()?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()?;
        let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        flags.push("--window-size=1280,900".to_owned());
        if dark {
            flags.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let mut options = json!({ "args": flags });
        if let Ok(binary) = std::env::var("CHROMIUM") {
            options["binary"] = binary.into();
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}
        }}});
        let mut browser = Self {
            client,
            driver,
            session: String::new(),
            _profile: profile,
        };
        let started = browser.ask(Method::POST, "/session", wanted).await?;
        let id = started["sessionId"].as_str().ok_or("no session")?;
        browser.session = format!("/session/{id}");
        Ok(browser)
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let url = format!("{}{}{path}", self.driver.url, self.session);
        let mut request = self.client.request(method.clone(), url);
        if method == Method::POST {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let succeeded = answer.status().is_success();
        let mut answer: Value = answer.json().await?;
        let value = answer["value"].take();
        if !succeeded {
            return Err(format!("{path}: {}", value["message"]).into());
        }
        Ok(value)
    }

    pub(crate) async fn open(&self, url: &str) -> Result {
        self.ask(Method::POST, "/url", json!({ "url": url }))
            .await?;
        Ok(())
    }

    /// What a script returns.
    pub(crate) async fn run(&self, script: &str) -> Result<Value> {
        let body = json!({"script": script, "args": []});
        self.ask(Method::POST, "/execute/sync", body).await
    }

    async fn element(&self, css: &str) -> Result<String> {
        let body = json!({"using": "css selector", "value": css});
        let found = self.ask(Method::POST, "/element", body).await?;
        let id = found[ELEMENT].as_str().ok_or("no element")?;
        Ok(format!("/element/{id}"))
    }

    /// Clicks where a user would: the element must be visible, and nothing over it.
    pub(crate) async fn click(&self, css: &str) -> Result {
        let element = self.element(css).await?;
        self.ask(Method::POST, &format!("{element}/click"), json!({}))
            .await?;
        Ok(())
    }

    /// Types into the element that has the focus afterwards.
    pub(crate) async fn write(&self, css: &str, text: &str) -> Result {
        let element = self.element(css).await?;
        let body = json!({ "text": text });
        self.ask(Method::POST, &format!("{element}/value"), body)
            .await?;
        Ok(())
    }

    /// Answers the question that the page asks.
    pub(crate) async fn accept_question(&self) -> Result {
        self.ask(Method::POST, "/alert/accept", json!({})).await?;
        Ok(())
    }

    /// What the console has said since the last time.
    pub(crate) async fn console(&self) -> Result<Vec<String>> {
        let said = self
            .ask(Method::POST, "/se/log", json!({"type": "browser"}))
            .await?;
        let said = said.as_array().into_iter().flatten();
        Ok(said.map(|line| line["message"].to_string()).collect())
    }

    /// Keeps a picture, if somebody wants some.
    pub(crate) async fn picture(&self, name: &str) -> Result {
        if let Some(folder) = std::env::var_os("DURABLY_SCREENSHOTS") {
            let picture = self.ask(Method::GET, "/screenshot", Value::Null).await?;
            let picture = BASE64_STANDARD.decode(picture.as_str().unwrap_or_default())?;
            std::fs::write(std::path::Path::new(&folder).join(name), picture)?;
        }
        Ok(())
    }
}
