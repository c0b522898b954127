//! What the tests of this crate share: copies of the sample cluster, a copier from a source into a target, and the
//! real Milvus Lite.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::missing_panics_doc)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use longshore_model::{CollectionMapping, CollectionName, Digest};
use longshore_source::{
    CollectionPoint, MilvusLiteSource, MilvusLiteTarget, PointOptions, RestoreTarget, RestoredCollection, Source,
    SourceError, TargetCollection, TargetFile, TargetPlan,
};

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A copy of the sample cluster in `folder`, named so that pymilvus opens it.
pub(crate) fn sample(folder: &Path) -> PathBuf {
    let target = folder.join("sample.db");
    copy_tree(&repository().join("examples/sample-cluster"), &target);
    target
}

/// Copies a folder and everything in it.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Every file below a folder with its bytes, by relative path.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

/// All bytes of a file of a point, read in pieces.
pub(crate) async fn read_all(point: &dyn CollectionPoint, file: usize) -> Result<Vec<u8>, SourceError> {
    let size = point.files()[file].size_bytes;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < size {
        let length = usize::try_from(size - bytes.len() as u64).unwrap().min(100_000);
        bytes.extend_from_slice(&point.read(file, bytes.len() as u64, length).await?);
    }
    Ok(bytes)
}

/// A collection opened by a test, and the name it gets.
pub(crate) type Mapped = (Arc<dyn CollectionPoint>, CollectionName);

/// Opens all collections, or those that `rename` gives a name.
pub(crate) async fn open_all(
    source: &MilvusLiteSource,
    options: PointOptions,
    rename: impl Fn(&CollectionName) -> Option<CollectionName>,
) -> Result<Vec<Mapped>, SourceError> {
    let mut points = Vec::new();
    for entry in source.inventory().await?.collections {
        if let Some(to) = rename(&entry.name) {
            points.push((source.open_point(&entry.name, options).await?, to));
        }
    }
    Ok(points)
}

/// The plan that restores points under their names.
pub(crate) async fn plan_of(source: &MilvusLiteSource, points: &[Mapped], whole_cluster: bool) -> TargetPlan {
    let collections = points.iter().map(|(point, to)| TargetCollection {
        mapping: CollectionMapping { from: point.name().clone(), to: to.clone(), load_state: Default::default() },
        schema: point.schema().clone(),
        files: point
            .files()
            .iter()
            .map(|file| TargetFile { path: file.path.clone(), class: file.class, size_bytes: file.size_bytes })
            .collect(),
        description: point.description().clone(),
    });
    let databases = source.inventory().await.unwrap().databases;
    TargetPlan { databases, whole_cluster, collections: collections.collect(), access: None }
}

/// Copies points into a target, checks every digest, and commits.
pub(crate) async fn restore(
    target: &MilvusLiteTarget,
    plan: &TargetPlan,
    points: &[Mapped],
) -> Result<Vec<RestoredCollection>, SourceError> {
    let run = target.begin(plan, &()).await?;
    let mut restored = Vec::new();
    for (collection, (point, _)) in points.iter().enumerate() {
        let mut digests = Vec::new();
        for file in 0..point.files().len() {
            let bytes = read_all(point.as_ref(), file).await?;
            digests.push(Digest::new(*blake3::hash(&bytes).as_bytes()));
            // The second half first: pieces may come in any order.
            let half = bytes.len() / 2;
            run.write(collection, file, half as u64, bytes[half..].to_vec().into()).await?;
            run.write(collection, file, 0, bytes[..half].to_vec().into()).await?;
        }
        let finished = run.finish_collection(collection).await?;
        assert_eq!(finished.file_digests, digests);
        restored.push(finished);
    }
    run.commit(&()).await?;
    Ok(restored)
}

/// Copies a whole data directory.
pub(crate) async fn copy_cluster(
    from: &Path,
    to: &Path,
    options: PointOptions,
) -> Result<Vec<RestoredCollection>, SourceError> {
    let source = MilvusLiteSource::open(from)?;
    let points = open_all(&source, options, |name| Some(name.clone())).await?;
    let plan = plan_of(&source, &points, true).await;
    restore(&MilvusLiteTarget::new(to), &plan, &points).await
}

/// The python with real Milvus Lite, or `None` after saying why the test `name` is skipped.
pub(crate) fn python(name: &str) -> Option<PathBuf> {
    let script = repository().join("tests/python/venv.sh");
    let output = Command::new("sh").arg(script).output();
    let reason = match output {
        Ok(output) if output.status.success() => {
            return Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()));
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("sh cannot be run: {error}"),
    };
    skip(name, &reason);
    None
}

/// Says that a test is not run, and notes it for the summary, which counts it as skipped, where `LONGSHORE_SKIP_FILE` names a
/// file.
pub(crate) fn skip(name: &str, reason: &str) {
    let reason = reason.lines().next().unwrap_or("no reason was given");
    eprintln!("skipped: {name}: {reason}");
    if let Some(path) = std::env::var_os("LONGSHORE_SKIP_FILE") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(format!("whole test: {name}: {reason}\n").as_bytes()).unwrap();
    }
}

/// Runs `tests/python/judge.py` and returns what it printed; panics with its words when it is not content.
pub(crate) fn judge(python: &Path, arguments: &[&str]) -> String {
    let script = repository().join("tests/python/judge.py");
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}
