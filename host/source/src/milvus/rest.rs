//! What only the REST interface of a server tells: which logs a segment has.
//!
//! From 2.5.8 on (`/v2/vectordb/segments/describe`; milvus-backup `internal/client/milvus/restful.go`) a server says which
//! logs belong to a segment, so that what a failed write left beside them is not taken for one. Servers before it are
//! listed. Not run against a real server: none of that version can be had here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longshore_model::CollectionName;
use serde::{Deserialize, Serialize};

use super::address::ServerAddress;
use super::layout::LogPath;
use super::segments::SegmentFiles;
use crate::{Limits, SourceError};

const PATH: &str = "/v2/vectordb/segments/describe";
/// Segments that are asked about in one call.
const SEGMENTS_PER_CALL: usize = 64;

/// The logs of segments by number: fields and deletes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentLogIds(BTreeMap<i64, BTreeSet<(Option<i64>, i64)>>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    db_name: &'a str,
    collection_id: i64,
    segment_ids: &'a [i64],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    code: i32,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<Described>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    #[serde(default)]
    segment_infos: Vec<Segment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Segment {
    #[serde(rename = "segmentID")]
    segment_id: i64,
    #[serde(default)]
    insert_logs: Option<Vec<FieldLogs>>,
    #[serde(default)]
    delta_logs: Option<Vec<FieldLogs>>,
}

#[derive(Deserialize)]
struct FieldLogs {
    #[serde(rename = "fieldID", default)]
    field_id: i64,
    #[serde(rename = "logIDs", default)]
    log_ids: Option<Vec<i64>>,
}

/// Asks which logs these segments have. `None` where the server's REST interface is not to be had: it may be switched off,
/// or behind another address.
///
/// # Errors
/// [`SourceError::CallRefused`] for a server that answers and says no.
pub(super) async fn segment_logs(
    address: &ServerAddress,
    name: &CollectionName,
    collection_id: i64,
    segments: &[i64],
    limits: &Limits,
) -> Result<Option<SegmentLogIds>, SourceError> {
    let Some(http) = http(address, limits) else { return Ok(None) };
    let url = format!("{}{PATH}", address.url().trim_end_matches('/'));
    let mut found = SegmentLogIds::default();
    for segment_ids in segments.chunks(SEGMENTS_PER_CALL) {
        let mut request = http.post(&url).json(&Question { db_name: &name.database, collection_id, segment_ids });
        if let Some(credentials) = &address.credentials {
            request = request.bearer_auth(credentials.plain().as_str());
        }
        let answer = match request.send().await {
            Ok(answer) if answer.status().is_success() => answer.bytes().await.ok(),
            Ok(_) | Err(_) => None,
        };
        let Some(answer) = answer.and_then(|bytes| serde_json::from_slice::<Answer>(&bytes).ok()) else {
            tracing::info!(
                endpoint = address.endpoint,
                "no REST interface; the storage is listed for the logs of segments"
            );
            return Ok(None);
        };
        found.add(answer)?;
    }
    Ok(Some(found))
}

/// `None` for what this client cannot do: certificates of its own, other names in the server's.
pub(super) fn http(address: &ServerAddress, limits: &Limits) -> Option<reqwest::Client> {
    let tls = address.tls.clone().unwrap_or_default();
    if tls.identity.is_some() || tls.server_name.is_some() {
        return None;
    }
    super::bucket_location::choose_tls();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_millis(limits.connect_timeout_ms))
        .timeout(Duration::from_millis(limits.call_timeout_ms));
    if let Some(pem) = &tls.ca_certificate {
        builder = builder.add_root_certificate(reqwest::Certificate::from_pem(pem).ok()?);
    }
    builder.build().ok()
}

impl SegmentLogIds {
    fn add(&mut self, answer: Answer) -> Result<(), SourceError> {
        if answer.code != 0 {
            let (call, code, reason) = ("segments/describe", answer.code, answer.message);
            return Err(SourceError::CallRefused { call, code, refusal: super::Refusal::Other, reason });
        }
        for segment in answer.data.into_iter().flat_map(|data| data.segment_infos) {
            let logs = self.0.entry(segment.segment_id).or_default();
            for of_field in segment.insert_logs.into_iter().flatten() {
                logs.extend(of_field.log_ids.into_iter().flatten().map(|log| (Some(of_field.field_id), log)));
            }
            for of_deletes in segment.delta_logs.into_iter().flatten() {
                logs.extend(of_deletes.log_ids.into_iter().flatten().map(|log| (None, log)));
            }
        }
        Ok(())
    }

    /// Keeps of a listing what belongs to its segments. A segment that the server did not describe stays as it was listed.
    ///
    /// # Errors
    /// [`SourceError::MissingFile`] for a log that the server names and that is not there.
    pub(super) fn keep_of(&self, listed: SegmentFiles, name: &CollectionName) -> Result<SegmentFiles, SourceError> {
        let mut seen: BTreeSet<(i64, Option<i64>, i64)> = BTreeSet::new();
        let mut kept = SegmentFiles {
            segments: listed.segments,
            files: Vec::with_capacity(listed.files.len()),
            unlisted: listed.unlisted,
        };
        for file in listed.files {
            let LogPath { segment_id, field_id, log_id, .. } = file.log;
            match self.0.get(&segment_id) {
                Some(logs) if !logs.contains(&(field_id, log_id)) => {
                    tracing::info!(file = file.stored, "belongs to no segment and is left out");
                }
                _ => {
                    seen.insert((segment_id, field_id, log_id));
                    kept.files.push(file);
                }
            }
        }
        for segment in &kept.segments {
            let logs = self.0.get(&segment.segment_id).into_iter().flatten();
            for (field_id, log_id) in logs {
                if !seen.contains(&(segment.segment_id, *field_id, *log_id)) {
                    let (partition_id, segment_id) = (segment.partition_id, segment.segment_id);
                    let log = LogPath { partition_id, segment_id, field_id: *field_id, log_id: *log_id };
                    return Err(SourceError::MissingFile { collection: name.clone(), path: log.to_string() });
                }
            }
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::milvus::kept::KeptSegment;
    use crate::milvus::segments::LogFileEntry;
    use crate::milvus::storage::{FileVersion, ListedFile};

    const ANSWER: &str = r#"{"code":0,"data":{"segmentInfos":[{"collectionID":7,"partitionID":8,"segmentID":9,"level":1,
        "insertLogs":[{"fieldID":0,"logIDs":[1]},{"fieldID":100,"logIDs":[2,3]}],"deltaLogs":[{"fieldID":0,"logIDs":[4]}],
        "statsLogs":null,"numRows":5,"state":4,"vChannel":"c"}]}}"#;

    fn listed(paths: &[&str]) -> SegmentFiles {
        let files = paths.iter().map(|path| LogFileEntry {
            log: LogPath::parse(path).unwrap(),
            stored: (*path).to_owned(),
            listed: ListedFile {
                path: (*path).to_owned(),
                size_bytes: 1,
                modified_ms: 0,
                version: FileVersion::default(),
            },
        });
        let segment = KeptSegment { partition_id: 8, segment_id: 9, rows: 5, ..KeptSegment::default() };
        SegmentFiles { segments: vec![segment], files: files.collect(), unlisted: Vec::new() }
    }

    #[test]
    fn what_the_server_does_not_name_is_left_out_and_what_it_names_must_be_there() {
        let mut logs = SegmentLogIds::default();
        logs.add(serde_json::from_str(ANSWER).unwrap()).unwrap();
        let name: CollectionName = "docs".parse().unwrap();
        let all = ["insert_log/8/9/0/1", "insert_log/8/9/100/2", "insert_log/8/9/100/3", "delta_log/8/9/4"];
        let mut with_leftover = all.to_vec();
        with_leftover.push("insert_log/8/9/100/5");
        let kept = logs.keep_of(listed(&with_leftover), &name).unwrap();
        assert_eq!(kept.files.iter().map(|file| file.stored.as_str()).collect::<Vec<_>>(), all);
        let error = logs.keep_of(listed(&all[..3]), &name).unwrap_err().to_string();
        assert!(error.contains("delta_log/8/9/4"), "{error}");
        let refused = r#"{"code":1100,"message":"no such collection"}"#;
        assert!(logs.add(serde_json::from_str(refused).unwrap()).unwrap_err().to_string().contains("no such"));
    }
}
