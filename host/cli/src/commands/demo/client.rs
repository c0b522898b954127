//! A small client of the REST API.

use anyhow::Context;
use serde_json::Value;

use crate::output::say;

/// Sends requests with a key.
pub(super) struct Client {
    url: String,
    key: String,
    http: reqwest::Client,
}

impl Client {
    pub(super) fn new(url: &str, key: &str) -> Self {
        Self { url: url.to_owned(), key: key.to_owned(), http: reqwest::Client::new() }
    }

    /// Prints the `curl` line of a request.
    pub(super) fn show(&self, method: &str, path: &str, body: Option<&str>) {
        say!("   curl --request {method} \\\n     --url \"{}{path}\" \\", self.url);
        say!(
            "     --header \"Authorization: Bearer ${{TOKEN}}\" \\\n     --header \"Content-Type: application/json\" \\"
        );
        if let Some(body) = body {
            let body: Vec<String> = body.lines().map(|line| format!("     {line}")).collect();
            say!("     --data-raw '{}'", body.join("\n").trim_start());
        }
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(self.http.get(format!("{}{path}", self.url))).await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}{path}", self.url));
        self.send(request.header("Content-Type", "application/json").body(body.to_owned())).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let response = request.header("Authorization", format!("Bearer {}", self.key)).send().await;
        let answer: Value = response.context("the host does not answer")?.json().await.context("no JSON came back")?;
        anyhow::ensure!(answer["code"] == 0, "the host answers {answer}");
        Ok(answer["data"].clone())
    }
}
