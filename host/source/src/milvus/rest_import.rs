//! Import over the REST interface, for servers that do not offer the call over gRPC: `/v2/vectordb/jobs/import/create`,
//! `…/describe` and `…/list` (milvus-backup `internal/client/milvus/restful.go`; the pages "create_import_jobs",
//! "get_import_progress" and "list_import_jobs" of Milvus' API reference).
//!
//! Contract: no call is made a second time here. Whether a job was accepted is not known when its call is not answered, and two
//! jobs double the rows. Not run against a real server: every one that can be had here offers the call over gRPC.

use std::collections::BTreeMap;

use longshore_model::CollectionName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::address::ServerAddress;
use super::rest::http;
use super::rpc::Refusal;
use crate::{Limits, SourceError};

/// How the calls are called in messages.
const CALL: &str = "Import (over gRPC and REST)";

/// The imports of a server.
pub(super) struct RestImports<'a> {
    address: &'a ServerAddress,
    http: reqwest::Client,
    /// The server's version, as it says it.
    version: &'a str,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RestImport {
    pub(super) id: String,
    pub(super) state: RestState,
    /// Percent.
    pub(super) progress: u64,
    /// Why it failed.
    pub(super) reason: String,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestState {
    /// Whatever is not one of the others: *Pending*, *Importing*, and words that newer servers may have.
    GoesOn,
    Completed,
    Failed,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Create<'a> {
    db_name: &'a str,
    collection_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    partition_name: &'a str,
    /// One entry for each group of files: the folder of rows, and that of deletes if there is one (Milvus
    /// `internal/util/importutilv2/binlog/reader.go`: "one or two paths").
    files: [Vec<&'a str>; 1],
    options: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Describe<'a> {
    db_name: &'a str,
    job_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    db_name: &'a str,
    collection_name: &'a str,
}

#[derive(Deserialize)]
struct Envelope<T> {
    code: i32,
    #[serde(default)]
    message: String,
    data: Option<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    job_id: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    progress: u64,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    collection_name: String,
}

#[derive(Deserialize)]
struct Records {
    #[serde(default)]
    records: Option<Vec<Record>>,
}

impl From<Record> for RestImport {
    fn from(record: Record) -> Self {
        let state = match record.state.as_str() {
            "Completed" => RestState::Completed,
            "Failed" => RestState::Failed,
            _ => RestState::GoesOn,
        };
        Self { id: record.job_id, state, progress: record.progress.min(100), reason: record.reason }
    }
}

impl<'a> RestImports<'a> {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// [`SourceError::CallNotOffered`] where this client cannot speak to the server's REST interface.
    pub(super) fn of(address: &'a ServerAddress, version: &'a str, limits: &Limits) -> Result<Self, SourceError> {
        let http = http(address, limits).ok_or_else(|| not_offered(version))?;
        Ok(Self { address, http, version })
    }

    /// Starts an import of one group of files. Its id.
    ///
    /// # Errors
    /// [`SourceError::ServerUnreachable`] when it is not known whether it was started; [`SourceError::CallRefused`];
    /// [`SourceError::CallNotOffered`].
    pub(super) async fn create(
        &self,
        collection: (&str, &str),
        partition: &str,
        files: &[String],
        options: &[(&'static str, String)],
    ) -> Result<String, SourceError> {
        let (db_name, collection_name) = collection;
        let options = options.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let files = [files.iter().map(String::as_str).filter(|path| !path.is_empty()).collect()];
        let body = Create { db_name, collection_name, partition_name: partition, files, options };
        Ok(self.ask::<Record>("create", db_name, &body).await?.job_id)
    }

    /// How far an import is.
    ///
    /// # Errors
    /// As [`RestImports::create`].
    pub(super) async fn describe(&self, database: &str, id: &str) -> Result<RestImport, SourceError> {
        let body = Describe { db_name: database, job_id: id };
        Ok(self.ask::<Record>("describe", database, &body).await?.into())
    }

    /// All imports into a collection that the server knows.
    ///
    /// # Errors
    /// As [`RestImports::create`].
    pub(super) async fn list(&self, name: &CollectionName) -> Result<Vec<RestImport>, SourceError> {
        let body = List { db_name: &name.database, collection_name: &name.collection };
        let listed = self.ask::<Records>("list", &name.database, &body).await?;
        let records = listed.records.into_iter().flatten();
        let of_it = records.filter(|one| one.collection_name.is_empty() || one.collection_name == name.collection);
        Ok(of_it.map(RestImport::from).collect())
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        what: &str,
        database: &str,
        body: &impl Serialize,
    ) -> Result<T, SourceError> {
        let url = format!("{}/v2/vectordb/jobs/import/{what}", self.address.url().trim_end_matches('/'));
        // Some of these calls look for the database in the header and not in the body.
        let mut request = self.http.post(url).header("DB-Name", database).json(body);
        if let Some(credentials) = &self.address.credentials {
            request = request.bearer_auth(credentials.plain().as_str());
        }
        let lost = |error: reqwest::Error| SourceError::ServerUnreachable {
            endpoint: self.address.endpoint.clone(),
            reason: error.without_url().to_string(),
        };
        let answer = request.send().await.map_err(lost)?;
        if !answer.status().is_success() {
            return Err(not_offered(self.version));
        }
        let bytes = answer.bytes().await.map_err(lost)?;
        let Ok(answer) = serde_json::from_slice::<Envelope<T>>(&bytes) else { return Err(not_offered(self.version)) };
        match answer.data {
            Some(data) if answer.code == 0 => Ok(data),
            _ => Err(SourceError::CallRefused {
                call: CALL,
                code: answer.code,
                refusal: Refusal::Other,
                reason: answer.message,
            }),
        }
    }
}

fn not_offered(version: &str) -> SourceError {
    SourceError::CallNotOffered { call: CALL, version: version.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::address::{Credentials, Secret};
    use super::*;

    /// A server that gives these answers, one for each call; what it was asked comes out at the end.
    async fn server(answers: Vec<(u16, Value)>) -> (ServerAddress, tokio::task::JoinHandle<Vec<(String, Value)>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = tokio::spawn(async move {
            let mut asked = Vec::new();
            for (status, answer) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
                let (head, body) = loop {
                    let read = stream.read(&mut buffer).await.unwrap();
                    bytes.extend_from_slice(&buffer[..read]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    if let Ok(body) = serde_json::from_str(body) {
                        break (head.to_owned(), body);
                    }
                };
                asked.push((head, body));
                let answer = answer.to_string();
                let length = answer.len();
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                stream.write_all((head + &answer).as_bytes()).await.unwrap();
            }
            asked
        });
        let credentials = Some(Credentials::Password { user: "root".to_owned(), password: Secret::new("hunter2") });
        (ServerAddress { credentials, ..ServerAddress::open(address) }, asked)
    }

    #[tokio::test]
    async fn jobs_are_made_followed_and_listed_as_the_interface_wants_it() {
        let of = |state: &str| json!({ "code": 0, "data": { "jobId": "45", "state": state, "progress": 30, "reason": "r" } });
        let listed = json!({ "code": 0, "data": { "records": [
            { "jobId": "1", "collectionName": "docs", "state": "Failed", "progress": 0 },
            { "jobId": "2", "collectionName": "other", "state": "Importing", "progress": 10 },
            { "jobId": "3", "collectionName": "docs", "state": "Pending" },
        ] } });
        let answers = vec![
            (200, json!({ "code": 0, "data": { "jobId": "45" } })),
            (200, of("Importing")),
            (200, of("Completed")),
            (200, listed),
            (200, json!({ "code": 0, "data": {} })),
        ];
        let (address, asked) = server(answers).await;
        let imports = RestImports::of(&address, "2.9", &Limits::DEFAULT).unwrap();
        let files = ["a/insert_log/".to_owned(), String::new()];
        let options = [("backup", "true".to_owned()), ("end_ts", "7".to_owned())];
        assert_eq!(imports.create(("db", "docs"), "part", &files, &options).await.unwrap(), "45");
        let now = imports.describe("db", "45").await.unwrap();
        assert_eq!((now.state, now.progress), (RestState::GoesOn, 30));
        assert_eq!(imports.describe("db", "45").await.unwrap().state, RestState::Completed);
        let name = CollectionName::new("db", "docs").unwrap();
        let listed = imports.list(&name).await.unwrap();
        let listed: Vec<_> = listed.into_iter().map(|one| (one.id, one.state)).collect();
        assert_eq!(listed, [("1".to_owned(), RestState::Failed), ("3".to_owned(), RestState::GoesOn)]);
        assert!(imports.list(&name).await.unwrap().is_empty());
        let asked = asked.await.unwrap();
        let (head, body) = &asked[0];
        assert!(
            head.starts_with("POST /v2/vectordb/jobs/import/create ") && head.contains("Bearer root:hunter2"),
            "{head}"
        );
        assert!(head.to_lowercase().contains("db-name: db"), "{head}");
        let expected = json!({
            "dbName": "db", "collectionName": "docs", "partitionName": "part", "files": [["a/insert_log/"]],
            "options": { "backup": "true", "end_ts": "7" },
        });
        assert_eq!(body, &expected);
        assert_eq!(asked[1].1, json!({ "dbName": "db", "jobId": "45" }));
        assert_eq!(asked[3].1, json!({ "dbName": "db", "collectionName": "docs" }));
    }

    #[tokio::test]
    async fn what_is_refused_not_offered_or_not_answered_is_told_apart() {
        let answers = vec![
            (200, json!({ "code": 1100, "message": "no such collection" })),
            (404, json!({})),
            (200, json!("hello")),
        ];
        let (address, asked) = server(answers).await;
        let imports = RestImports::of(&address, "2.9", &Limits::DEFAULT).unwrap();
        let mut said = Vec::new();
        for _ in 0..3 {
            said.push(imports.describe("db", "45").await.unwrap_err());
        }
        assert!(
            matches!(&said[0], SourceError::CallRefused { code: 1100, reason, .. } if reason == "no such collection")
        );
        let not_offered =
            |error: &SourceError| matches!(error, SourceError::CallNotOffered { version, .. } if version == "2.9");
        assert!(said[1..].iter().all(not_offered), "{said:?}");
        asked.await.unwrap();
        // Nobody listens any more.
        let error = imports.describe("db", "45").await.unwrap_err();
        assert!(matches!(error, SourceError::ServerUnreachable { .. }), "{error}");
        assert!(!format!("{said:?} {error:?}").contains("hunter2"));
    }
}
