//! The records of one run as they are kept: granted files stand once, however many pages saw them.
//!
//! Contract: `{"records": […], "grantedFiles": [{"digest": …, "directories": …}]}`, the second only where files were granted.
//! A record that saw some has `files_digest`, the BLAKE3 of their JSON, in place of `files`; every other one is what
//! [`DecisionRecord::to_json`] writes. What is read is what was written. A record whose files are gone is left out: an erasure
//! removes what names a collection, and such a record cannot be asked again.

use longshore_model::{Digest, GuestLogLine, RunFacts};
use serde::{Deserialize, Serialize};

use crate::{Budget, DecidedBy, DecisionRecord, GrantedFiles, PolicyError, Question, RecordedOutcome};

/// Granted files under their digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFiles {
    digest: String,
    directories: GrantedFiles,
}

/// The records of a run, to be written.
#[derive(Serialize)]
pub struct KeptRecords<'a> {
    records: Vec<KeptRecord<'a>>,
    #[serde(rename = "grantedFiles", skip_serializing_if = "Vec::is_empty")]
    granted_files: Vec<KeptFiles>,
}

/// A [`DecisionRecord`], field by field, with a digest in place of files.
#[derive(Serialize)]
struct KeptRecord<'a> {
    format_version: u32,
    world: &'a str,
    asked: &'a DecidedBy,
    settings: &'a str,
    settings_digest: &'a Digest,
    budget: &'a Budget,
    run: &'a RunFacts,
    #[serde(skip_serializing_if = "Option::is_none")]
    files_digest: Option<String>,
    #[serde(with = "crate::json::hex")]
    carry: &'a Vec<u8>,
    page_number: u32,
    last_page: bool,
    question: &'a Question,
    outcome: &'a RecordedOutcome,
    log: &'a [GuestLogLine],
}

impl<'a> KeptRecords<'a> {
    /// Takes the records of a run.
    ///
    /// # Errors
    /// [`PolicyError::BadRecord`] only if the JSON library fails, which plain data gives no cause for.
    pub fn of(records: &'a [DecisionRecord]) -> Result<Self, PolicyError> {
        let mut kept = Self { records: Vec::with_capacity(records.len()), granted_files: Vec::new() };
        for record in records {
            let files_digest = kept.files_digest(&record.files)?;
            // Named one by one, so that a new field cannot be forgotten.
            let DecisionRecord { format_version, world, asked, settings, settings_digest, budget, run, .. } = record;
            let DecisionRecord { files: _, carry, page_number, last_page, question, outcome, log, .. } = record;
            kept.records.push(KeptRecord {
                format_version: *format_version,
                world,
                asked,
                settings,
                settings_digest,
                budget,
                run,
                files_digest,
                carry,
                page_number: *page_number,
                last_page: *last_page,
                question,
                outcome,
                log,
            });
        }
        Ok(kept)
    }

    fn files_digest(&mut self, files: &GrantedFiles) -> Result<Option<String>, PolicyError> {
        if files.is_empty() {
            return Ok(None);
        }
        if let Some(known) = self.granted_files.iter().find(|known| known.directories == *files) {
            return Ok(Some(known.digest.clone()));
        }
        let text =
            serde_json::to_string(files).map_err(|error| PolicyError::BadRecord { problem: error.to_string() })?;
        let digest = crate::json::digest(&text).to_string();
        self.granted_files.push(KeptFiles { digest: digest.clone(), directories: files.clone() });
        Ok(Some(digest))
    }
}

/// The one field that a kept record has and another one has not.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    files_digest: Option<String>,
}

/// Reads records that were kept, each from its JSON, with the files beside them.
///
/// # Errors
/// [`PolicyError::BadRecord`] if one is not such a record, or one of another form.
pub fn read_kept<'a>(
    records: impl IntoIterator<Item = &'a str>,
    granted_files: &[KeptFiles],
) -> Result<Vec<DecisionRecord>, PolicyError> {
    let mut read = Vec::new();
    for text in records {
        let record = DecisionRecord::from_json(text)?;
        let named: Named =
            serde_json::from_str(text).map_err(|error| PolicyError::BadRecord { problem: error.to_string() })?;
        let Some(digest) = named.files_digest else {
            read.push(record);
            continue;
        };
        match granted_files.iter().find(|kept| kept.digest == digest) {
            Some(kept) => read.push(DecisionRecord { files: kept.directories.clone(), ..record }),
            None => tracing::warn!(digest, "a decision record is left out: the files it was decided with were erased"),
        }
    }
    Ok(read)
}
