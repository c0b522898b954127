//! The query string: filters and pages.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use longshore_engine::{BackupFilter, CostQuery, JobFilter, PageRequest};
use longshore_model::{CollectionName, PolicyKind, Timestamp};
use serde_json::Value;

use crate::answer::Refusal;
use crate::meaning::sentence;
use crate::{App, code};

/// The parameters of a query. An empty one is as good as left out; of a repeated one the last counts; unknown ones are
/// left alone.
#[derive(Debug, Default)]
pub(crate) struct Parameters(BTreeMap<String, String>);

impl FromRequestParts<App> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, app).await;
        let Query(pairs) = pairs.map_err(|error| {
            tracing::debug!(%error, "a query could not be decoded");
            Refusal::bad(code::INVALID_FIELD, "The query is not percent-encoded UTF-8.")
        })?;
        Ok(Self(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect()))
    }
}

impl Parameters {
    /// One parameter as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// One parameter as a value, refused under `code` when it has the wrong form.
    fn value<T: FromStr<Err: Display>>(&self, name: &str, code: u32) -> Result<Option<T>, Refusal> {
        let parsed = self.text(name).map(|text| text.parse::<T>());
        parsed.transpose().map_err(|error| Refusal::bad(code, format!("`{name}`: {}", sentence(&error))))
    }

    fn number(
        &self,
        name: &str,
        default: u32,
        range: std::ops::RangeInclusive<u32>,
        code: u32,
    ) -> Result<u32, Refusal> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            Refusal::bad(code, format!("`{name}` must be a whole number of {first} to {last}."))
        })
    }

    /// The page that is asked for; the first ten entries when nothing is said.
    pub(crate) fn page(&self, page_items: u32) -> Result<PageRequest, Refusal> {
        let size = self.number("pageSize", 10, 1..=page_items, code::PAGE_SIZE)?;
        let number = self.number("currentPage", 1, 1..=u32::MAX, code::CURRENT_PAGE)?;
        Ok(PageRequest { size, number })
    }

    /// Which backups to list.
    pub(crate) fn backup_filter(&self) -> Result<BackupFilter, Refusal> {
        let start: Option<Timestamp> = self.value("start", code::TIME)?;
        let end = self.value("end", code::TIME)?.map(end_of_second);
        if start.zip(end).is_some_and(|(start, end)| start > end) {
            return Err(Refusal::bad(code::TIME_RANGE, "`start` is after `end`."));
        }
        Ok(BackupFilter {
            project_id: self.value("projectId", code::PROJECT)?,
            cluster_id: self.value("clusterId", code::CLUSTER_ID)?,
            creation_method: self.value("creationMethod", code::CREATION_METHOD)?,
            backup_type: self.value("backupType", code::BACKUP_TYPE)?,
            start,
            end,
        })
    }

    /// Which decisions of a backup to tell.
    pub(crate) fn decisions(&self) -> Result<WantedDecisions, Refusal> {
        let kind = self.text("kind").map(|text| {
            let kind = PolicyKind::ALL.into_iter().find(|kind| kind.as_str() == text);
            let message = "`kind` must be selection, compression or placement.";
            kind.ok_or_else(|| Refusal::bad(code::INVALID_FIELD, message))
        });
        let without_records = match self.text("records") {
            None | Some("true") => false,
            Some("false") => true,
            Some(_) => return Err(Refusal::bad(code::INVALID_FIELD, "`records` must be true or false.")),
        };
        let collection = self.value("collection", code::INVALID_FIELD)?;
        Ok(WantedDecisions { kind: kind.transpose()?, collection, without_records })
    }

    /// Which costs to list.
    pub(crate) fn cost_query(&self) -> Result<CostQuery, Refusal> {
        let (start, end): (Option<Timestamp>, Option<Timestamp>) =
            (self.value("start", code::TIME)?, self.value("end", code::TIME)?);
        if start.zip(end).is_some_and(|(start, end)| start > end) {
            return Err(Refusal::bad(code::TIME_RANGE, "`start` is after `end`."));
        }
        Ok(CostQuery {
            project_id: self.value("projectId", code::PROJECT)?,
            cluster_id: self.value("clusterId", code::CLUSTER_ID)?,
            region_id: self.value("regionId", code::REGION)?,
            start,
            end,
            group_by: self.value("groupBy", code::INVALID_FIELD)?.unwrap_or_default(),
        })
    }

    /// Which jobs to list.
    pub(crate) fn job_filter(&self) -> Result<JobFilter, Refusal> {
        Ok(JobFilter {
            project_id: self.value("projectId", code::PROJECT)?,
            cluster_id: self.value("clusterId", code::CLUSTER_ID)?,
            job_type: self.value("type", code::INVALID_FIELD)?,
            status: self.value("status", code::INVALID_FIELD)?,
        })
    }
}

/// Which decisions of a backup are wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct WantedDecisions {
    kind: Option<PolicyKind>,
    collection: Option<CollectionName>,
    without_records: bool,
}

impl WantedDecisions {
    /// Takes everything else out of what the host says about decisions.
    pub(crate) fn keep(&self, decisions: &mut Value) {
        let Some(decisions) = decisions.get_mut("decisions").and_then(Value::as_object_mut) else { return };
        if self.without_records {
            decisions.remove("records");
            decisions.remove("grantedFiles");
        }
        if let Some(rows) = decisions.get_mut("rows").and_then(Value::as_array_mut) {
            rows.retain(|row| self.wants(row));
        }
    }

    fn wants(&self, row: &Value) -> bool {
        let kind = self.kind.is_none_or(|kind| row["kind"] == kind.as_str());
        let about = self.collection.as_ref().is_none_or(|name| {
            // A stream is `database.collection/class`; no name has a slash in it.
            row["item"].as_str().and_then(|item| item.split('/').next()) == Some(name.to_string().as_str())
        });
        kind && about
    }
}

/// Answers show whole seconds, so an `end` copied from one has to include that whole second.
fn end_of_second(time: Timestamp) -> Timestamp {
    if time.as_millis() % 1_000 == 0 { time.plus_millis(999) } else { time }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn pages_have_defaults_and_bounds() {
        assert_eq!(parameters(&[]).page(100).unwrap(), PageRequest { size: 10, number: 1 });
        let page = parameters(&[("pageSize", "100"), ("currentPage", "4294967295")]).page(100).unwrap();
        assert_eq!(page, PageRequest { size: 100, number: u32::MAX });
        for size in ["0", "101", "-1", "ten", "1.5", "99999999999999999999", " 5"] {
            assert_eq!(parameters(&[("pageSize", size)]).page(100).unwrap_err().code, 96008, "{size}");
        }
        for number in ["0", "-1", "4294967296", "x"] {
            assert_eq!(parameters(&[("currentPage", number)]).page(100).unwrap_err().code, 96009, "{number}");
        }
    }

    #[test]
    fn an_end_that_was_copied_from_an_answer_includes_its_whole_second() {
        let filter = parameters(&[("start", "2024-07-30T16:49:50Z"), ("end", "2024-07-30T16:49:50Z")]);
        let filter = filter.backup_filter().unwrap();
        assert_eq!(filter.end.unwrap().millis_since(filter.start.unwrap()), 999);
        let precise = parameters(&[("end", "2024-07-30T16:49:50.5Z")]).backup_filter().unwrap();
        assert_eq!(precise.end.unwrap().as_millis() % 1_000, 500);
    }

    #[test]
    fn each_wrong_filter_has_its_code() {
        let cases = [
            (&[("projectId", "x")][..], 96005),
            (&[("clusterId", "x")], 96036),
            (&[("creationMethod", "manual")], 96030),
            (&[("backupType", "ALL")], 96029),
            (&[("start", "yesterday")], 96007),
            (&[("end", "2024-07-30")], 96007),
            (&[("start", "2024-07-30T16:49:51Z"), ("end", "2024-07-30T16:49:50Z")], 96035),
        ];
        for (pairs, code) in cases {
            assert_eq!(parameters(pairs).backup_filter().unwrap_err().code, code, "{pairs:?}");
        }
        for pairs in [&[("type", "EVERYTHING")], &[("status", "DONE")]] {
            assert_eq!(parameters(pairs).job_filter().unwrap_err().code, 97002, "{pairs:?}");
        }
    }
}
