//! Which calls of Import bring a collection back, and where their files lie.
//!
//! Contract: a call takes one folder of inserted rows and one of deletes, and everything below them; so every file of a
//! collection lies in the folder of exactly one call, and a folder that a call does not name has nothing in it:
//!
//! ```text
//! <collection's place in the plan>/<task>/insert_log/<segment>/<field>/<log>
//! <collection's place in the plan>/<task>/delta_log/<segment>/<log>
//! ```
//!
//! Deletes hit the segment they stand with, so a segment and its deletes are in one task; a task has at most about
//! `import_task_bytes`, because a server gives up a task after 15 minutes (2.3). Level-zero segments come last.

use std::collections::BTreeMap;

use crate::milvus::features;
use crate::milvus::kept::KeptPoint;
use crate::milvus::layout::{ALL_PARTITIONS, DELTA_LOG, INSERT_LOG, LogPath};
use crate::milvus::rows::CountedCollection;
use crate::{Limits, SourceError, TargetCollection};

/// One call of Import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImportTask {
    /// Number of the partition in the backup.
    pub(super) partition_id: i64,
    /// Its name; empty for deletes of all partitions.
    pub(super) partition: String,
    /// Its folder, relative to the staged files, without a slash at its end.
    pub(super) folder: String,
    /// Whether there are rows; else it is deletes of whole partitions.
    pub(super) has_rows: bool,
    pub(super) has_deletes: bool,
    /// Bytes of its files.
    pub(super) bytes: u64,
    /// How its files are laid out; 0 before Milvus 2.6.
    pub(super) storage_version: i64,
    /// Numbers of its segments.
    pub(super) segments: Vec<i64>,
    /// The rows that the server says it took, if it took all: those up to the cut that no delete in its own folder hits.
    /// Level-zero deletes come later and take rows away then. `None` for deletes, of which servers say what they like.
    pub(super) rows: Option<u64>,
    /// Whether something in its files is later than the cut, so that the server has to leave it out.
    pub(super) is_cut: bool,
}

/// The calls for one collection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CollectionTasks {
    /// In the order in which they are made.
    pub(super) tasks: Vec<ImportTask>,
    /// Where each file of the plan lies, in the plan's order.
    pub(super) places: Vec<String>,
}

/// # Errors
/// [`SourceError::BadPlan`] for a file that is no log, twice there, or of a partition that the point does not name.
pub(super) fn tasks(
    number: usize,
    collection: &TargetCollection,
    point: &KeptPoint,
    limits: &Limits,
) -> Result<CollectionTasks, SourceError> {
    let name = &collection.mapping.to;
    let bad = |reason: String| SourceError::BadPlan { reason: format!("collection {name} {reason}") };
    let mut segments: BTreeMap<(i64, i64), Segment> = BTreeMap::new();
    let mut paths = Vec::with_capacity(collection.files.len());
    for file in &collection.files {
        let path = LogPath::parse(&file.path).filter(|path| path.class() == file.class);
        let shown = || file.path.chars().take(200).flat_map(char::escape_debug).collect::<String>();
        let path = path.ok_or_else(|| bad(format!("has a file `{}`, which is no log of Milvus", shown())))?;
        let segment = segments.entry((path.partition_id, path.segment_id)).or_default();
        segment.bytes = segment.bytes.saturating_add(file.size_bytes);
        segment.has_rows |= path.field_id.is_some();
        segment.has_deletes |= path.field_id.is_none();
        paths.push(path);
    }
    let mut sorted = paths.clone();
    sorted.sort_unstable();
    if let Some([path, _]) = sorted.array_windows().find(|[one, other]| one == other) {
        return Err(bad(format!("has the file `{path}` twice")));
    }
    let mut tasks: Vec<ImportTask> = Vec::new();
    let mut folders: BTreeMap<(i64, i64), String> = BTreeMap::new();
    // Segments with rows by partition, then those of deletes alone, those of all partitions last.
    let mut ordered: Vec<_> = segments.iter().collect();
    ordered
        .sort_by_key(|((partition, segment), one)| (!one.has_rows, *partition == ALL_PARTITIONS, *partition, *segment));
    for ((partition_id, segment_id), segment) in ordered {
        let partition = match point.partitions.iter().find(|one| one.partition_id == *partition_id) {
            Some(partition) => partition.name.clone(),
            None if *partition_id == ALL_PARTITIONS && !segment.has_rows => String::new(),
            None => return Err(bad(format!("has files of partition {partition_id}, which it does not have"))),
        };
        let kept = point.segments.iter().find(|one| one.segment_id == *segment_id);
        let storage_version = kept.map_or(0, |kept| kept.storage_version);
        let fits = |task: &ImportTask| {
            let same = task.partition_id == *partition_id && task.storage_version == storage_version;
            same && features::share_an_import(task.has_rows, segment.has_rows)
                && task.segments.len() < features::SEGMENTS_PER_IMPORT
                && task.bytes.saturating_add(segment.bytes) <= limits.import_task_bytes
        };
        let folder = match tasks.last_mut().filter(|task| fits(task)) {
            Some(task) => {
                task.has_deletes |= segment.has_deletes;
                task.bytes = task.bytes.saturating_add(segment.bytes);
                task.segments.push(*segment_id);
                task.folder.clone()
            }
            None => {
                let folder = format!("{number}/{}", tasks.len());
                tasks.push(ImportTask {
                    partition_id: *partition_id,
                    partition,
                    folder: folder.clone(),
                    has_rows: segment.has_rows,
                    has_deletes: segment.has_deletes,
                    bytes: segment.bytes,
                    storage_version,
                    segments: vec![*segment_id],
                    rows: None,
                    is_cut: true,
                });
                folder
            }
        };
        folders.insert((*partition_id, *segment_id), folder);
    }
    let places = paths.iter().map(|path| {
        let folder = folders.get(&(path.partition_id, path.segment_id)).map(String::as_str).unwrap_or_default();
        match path.field_id {
            Some(field) => format!("{folder}/{INSERT_LOG}/{}/{field}/{}", path.segment_id, path.log_id),
            None => format!("{folder}/{DELTA_LOG}/{}/{}", path.segment_id, path.log_id),
        }
    });
    Ok(CollectionTasks { places: places.collect(), tasks })
}

#[derive(Default)]
struct Segment {
    bytes: u64,
    has_rows: bool,
    has_deletes: bool,
}

impl ImportTask {
    /// The paths of the call below `root`, which ends without a slash. They end with one: `…/12` would take `…/123` too. A
    /// folder without files must not be named, because a server takes one that is not there for an empty one, silently.
    pub(super) fn paths(&self, root: &str) -> Vec<String> {
        let folder = |kind: &str| format!("{root}/{}/{kind}/", self.folder);
        match (self.has_rows, self.has_deletes) {
            (true, true) => vec![folder(INSERT_LOG), folder(DELTA_LOG)],
            // Exactly two are taken, and the second may be empty.
            (true, false) => vec![folder(INSERT_LOG), String::new()],
            (false, _) => vec![folder(DELTA_LOG)],
        }
    }

    /// Whether the file at this place is one of its own.
    pub(super) fn holds(&self, place: &str) -> bool {
        place.strip_prefix(&self.folder).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The same with what was found in its files, which hold all that the call brings.
    pub(super) fn counted(mut self, found: &CountedCollection) -> Self {
        let of_it = |segment: &i64| found.segments.get(&(self.partition_id, *segment));
        if self.has_rows {
            self.rows = Some(self.segments.iter().filter_map(of_it).map(|own| own.rows).sum());
            self.is_cut = self.segments.iter().filter_map(of_it).any(|own| !own.is_whole);
        } else {
            self.is_cut = found.later_deletes.contains(&self.partition_id);
        }
        self
    }

    /// The same where all rows of these segments are taken.
    pub(super) fn whole(mut self, point: &KeptPoint) -> Self {
        let of_it = point.segments.iter().filter(|one| self.segments.contains(&one.segment_id));
        self.rows = self.has_rows.then(|| of_it.map(|one| one.rows).sum());
        self.is_cut = false;
        self
    }

    /// The options of the call; with `end` what happened after that is left out. Where nothing did, the server is not told:
    /// versions want it in different units.
    pub(super) fn options(&self, end: Option<String>) -> Vec<(&'static str, String)> {
        let mut options =
            vec![if self.has_rows { ("backup", "true".to_owned()) } else { ("l0_import", "true".to_owned()) }];
        options.extend(end.filter(|_| self.is_cut).map(|end| ("end_ts", end)));
        options.extend((self.storage_version > 0).then(|| ("storage_version", self.storage_version.to_string())));
        options
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use longshore_model::CollectionMapping;
    use serde_json::json;

    use super::*;
    use crate::TargetFile;
    use crate::milvus::kept::KeptPartition;
    use crate::milvus::rows::OwnRows;

    fn collection(paths: &[(&str, u64)]) -> TargetCollection {
        let file = |(path, size_bytes): &(&str, u64)| TargetFile {
            path: (*path).to_owned(),
            class: LogPath::parse(path).map_or(longshore_model::FileClass::Segment, |path| path.class()),
            size_bytes: *size_bytes,
        };
        TargetCollection {
            mapping: CollectionMapping {
                from: "a".parse().unwrap(),
                to: "a".parse().unwrap(),
                load_state: Default::default(),
            },
            schema: json!({}),
            files: paths.iter().map(file).collect(),
            description: json!({}),
        }
    }

    fn point() -> KeptPoint {
        let partition = |partition_id: i64| KeptPartition { partition_id, name: format!("p{partition_id}") };
        KeptPoint { partitions: vec![partition(1), partition(2)], ..KeptPoint::default() }
    }

    #[test]
    fn segments_of_a_partition_share_a_task_as_long_as_they_fit_and_deletes_stay_with_their_segment() {
        let files = [
            ("insert_log/1/10/100/1", 60),
            ("delta_log/1/10/2", 1),
            ("insert_log/1/11/100/3", 30),
            ("insert_log/1/12/100/4", 30),
            ("insert_log/2/13/100/5", 1),
            ("delta_log/-1/14/6", 1),
        ];
        let limits = Limits { import_task_bytes: 100, ..Limits::DEFAULT };
        let planned = tasks(7, &collection(&files), &point(), &limits).unwrap();
        let expected = [
            "7/0/insert_log/10/100/1",
            "7/0/delta_log/10/2",
            "7/0/insert_log/11/100/3",
            "7/1/insert_log/12/100/4",
            "7/2/insert_log/13/100/5",
            "7/3/delta_log/14/6",
        ];
        assert_eq!(planned.places, expected);
        let calls: Vec<(Vec<String>, &str)> =
            planned.tasks.iter().map(|task| (task.paths("/s"), task.partition.as_str())).collect();
        let expected = [
            (vec!["/s/7/0/insert_log/".to_owned(), "/s/7/0/delta_log/".to_owned()], "p1"),
            (vec!["/s/7/1/insert_log/".to_owned(), String::new()], "p1"),
            (vec!["/s/7/2/insert_log/".to_owned(), String::new()], "p2"),
            (vec!["/s/7/3/delta_log/".to_owned()], ""),
        ];
        assert_eq!(calls, expected);
        let end = || Some("5".to_owned());
        assert_eq!(planned.tasks[0].options(end()), [("backup", "true".to_owned()), ("end_ts", "5".to_owned())]);
        assert_eq!(planned.tasks[3].options(None), [("l0_import", "true".to_owned())]);

        // Once it is known what is in them: the first has later rows in its second segment, the deletes are all earlier.
        let own = |rows, is_whole| OwnRows { rows, is_whole };
        let found = CountedCollection {
            segments: [((1, 10), own(5, true)), ((1, 11), own(2, false)), ((1, 12), own(3, true))].into(),
            ..CountedCollection::default()
        };
        let counted: Vec<_> = planned.tasks.iter().map(|task| task.clone().counted(&found)).collect();
        assert_eq!(counted.iter().map(|task| task.rows).collect::<Vec<_>>(), [Some(7), Some(3), Some(0), None]);
        let told: Vec<bool> = counted.iter().map(|task| task.options(end()).len() == 2).collect();
        assert_eq!(told, [true, false, false, false]);
        let later = CountedCollection { later_deletes: [-1].into(), ..found };
        assert!(planned.tasks[3].clone().counted(&later).is_cut);
    }

    #[test]
    fn a_call_has_no_more_segments_than_a_server_takes() {
        let paths: Vec<String> = (0..=1024).map(|segment| format!("insert_log/1/{segment}/100/1")).collect();
        let files: Vec<(&str, u64)> = paths.iter().map(|path| (path.as_str(), 1)).collect();
        let planned = tasks(0, &collection(&files), &point(), &Limits::DEFAULT).unwrap();
        assert_eq!(planned.tasks.iter().map(|task| task.segments.len()).collect::<Vec<_>>(), [1024, 1]);
    }

    #[test]
    fn files_of_nowhere_are_refused() {
        for paths in [
            &[("insert_log/1/10/../../x", 1)][..],
            &[("insert_log/3/10/100/1", 1)],
            &[("insert_log/-1/10/100/1", 1)],
            &[("insert_log/1/10/100/1", 1), ("insert_log/1/10/100/1", 1)],
        ] {
            assert!(matches!(
                tasks(0, &collection(paths), &point(), &Limits::DEFAULT),
                Err(SourceError::BadPlan { .. })
            ));
        }
    }
}
