//! Between rows and values: JSON, times, identifiers, pages, WHERE clauses, and the limits on what is stored.

use std::fmt::Write as _;
use std::str::FromStr;

use longshore_model::{KeyScope, Timestamp};
use rusqlite::types::Value as SqlValue;
use rusqlite::{Row, types::FromSql};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fail::Fail;
use crate::{CatalogError, Limits, Page};

/// A column of any SQLite type.
pub(super) fn plain<T: FromSql>(row: &Row<'_>, column: &str) -> Result<T, Fail> {
    Ok(row.get(column)?)
}

/// A column that is spelled as text: an identifier, a state.
pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(row: &Row<'_>, column: &str) -> Result<T, Fail> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| Fail::Row(format!("column {column}: {error}")))
}

/// A column that is spelled as text or missing.
pub(super) fn parsed_option<T: FromStr<Err: std::fmt::Display>>(
    row: &Row<'_>,
    column: &str,
) -> Result<Option<T>, Fail> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(|error: T::Err| Fail::Row(format!("column {column}: {error}")))).transpose()
}

/// A time.
pub(super) fn time(row: &Row<'_>, column: &str) -> Result<Timestamp, Fail> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

/// A time or nothing.
pub(super) fn time_option(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>, Fail> {
    let millis: Option<i64> = row.get(column)?;
    Ok(millis.map(Timestamp::from_millis))
}

/// A number that is never negative.
pub(super) fn unsigned<T: TryFrom<i64>>(row: &Row<'_>, column: &str) -> Result<T, Fail> {
    let number: i64 = row.get(column)?;
    T::try_from(number).map_err(|_| Fail::Row(format!("column {column}: {number} is out of range")))
}

/// A JSON column.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, Fail> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| Fail::Row(format!("column {column}: {error}")))
}

/// A number for SQLite.
pub(super) fn integer(what: &'static str, number: u64) -> Result<i64, Fail> {
    i64::try_from(number).map_err(|_| CatalogError::invalid(format!("{what} {number} is too large")).into())
}

/// JSON text within the limits.
pub(super) fn json_text<T: Serialize>(what: &'static str, value: &T, limits: &Limits) -> Result<String, Fail> {
    let text = serde_json::to_string(value)
        .map_err(|error| CatalogError::invalid(format!("{what} cannot be written as JSON: {error}")))?;
    bounded(what, &text, limits.json_bytes)?;
    Ok(text)
}

/// Refuses a text that is longer than its limit.
pub(super) fn bounded(what: &'static str, text: &str, limit: usize) -> Result<(), Fail> {
    if text.len() > limit {
        return Err(CatalogError::TooLarge { what, actual: text.len(), limit }.into());
    }
    Ok(())
}

/// Cuts a text that is kept for people to at most `limit` bytes, at a character.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// LIMIT and OFFSET of a page.
pub(super) fn limit_offset(page: Page, limits: &Limits) -> Result<(i64, i64), Fail> {
    if page.size == 0 || page.size > limits.page_items || page.current == 0 {
        let reason = format!(
            "page {} with {} rows; pages count from 1 and have 1 to {} rows",
            page.current, page.size, limits.page_items
        );
        return Err(CatalogError::invalid(reason).into());
    }
    Ok((i64::from(page.size), i64::from(page.size) * i64::from(page.current - 1)))
}

/// For [`Where::within`], where a row names its project and its cluster.
pub(super) fn of_project_or_cluster(projects: &str, clusters: &str) -> String {
    format!("project_id IN ({projects}) OR cluster_id IN ({clusters})")
}

/// A WHERE clause made of fixed fragments; what the caller gave only ever becomes a parameter.
#[derive(Debug, Default)]
pub(super) struct Where {
    clause: String,
    parameters: Vec<SqlValue>,
}

impl Where {
    /// Adds a condition without parameters.
    pub(super) fn always(&mut self, condition: &'static str) {
        self.clause.push_str(if self.clause.is_empty() { " WHERE " } else { " AND " });
        self.clause.push_str(condition);
    }

    /// Adds `<column and operator> ?` if there is a value.
    pub(super) fn compare(&mut self, column_and_operator: &'static str, value: Option<impl Into<SqlValue>>) {
        if let Some(value) = value {
            self.always(column_and_operator);
            self.parameters.push(value.into());
            self.number();
        }
    }

    /// Adds that the cluster was dropped at a time or earlier.
    pub(super) fn dropped_at(&mut self, time_ms: i64) {
        self.always("cluster_id IN (SELECT id FROM clusters WHERE dropped_ms <=");
        self.parameters.push(time_ms.into());
        self.number();
        self.clause.push(')');
    }

    /// Adds `<column> IN (…)`; no value at all matches no row.
    pub(super) fn one_of(&mut self, column: &'static str, values: impl IntoIterator<Item = &'static str>) {
        self.always(column);
        self.clause.push_str(" IN (NULL");
        for value in values {
            self.clause.push(',');
            self.parameters.push(value.to_owned().into());
            self.number();
        }
        self.clause.push(')');
    }

    /// Adds that the project or the cluster of a row is within a scope; `condition` writes that, given the lists of
    /// parameters that stand for the scope's projects and clusters.
    pub(super) fn within(&mut self, scope: &KeyScope, condition: impl FnOnce(&str, &str) -> String) {
        let KeyScope::Only { projects, clusters } = scope else { return };
        let projects = self.list(projects.iter().map(|id| id.as_str()));
        let clusters = self.list(clusters.iter().map(|id| id.as_str()));
        let condition = condition(&projects, &clusters);
        self.clause.push_str(if self.clause.is_empty() { " WHERE " } else { " AND " });
        let _ = write!(self.clause, "({condition})");
    }

    /// Keeps values as parameters; what stands for them, also when there are none.
    fn list<'a>(&mut self, values: impl Iterator<Item = &'a str>) -> String {
        let mut list = "NULL".to_owned();
        for value in values {
            self.parameters.push(value.to_owned().into());
            let _ = write!(list, ", ?{}", self.parameters.len());
        }
        list
    }

    fn number(&mut self) {
        // Writing into a String cannot fail.
        let _ = write!(self.clause, " ?{}", self.parameters.len());
    }

    /// The text, empty or starting with ` WHERE`.
    pub(super) fn clause(&self) -> &str {
        &self.clause
    }

    /// The parameters `?1`, `?2`, ….
    pub(super) fn parameters(&self) -> &[SqlValue] {
        &self.parameters
    }
}
