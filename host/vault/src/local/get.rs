//! Reads a run of bytes of an object, on one thread.
//!
//! The library opens an object on one thread and reads it on another, into memory that is cleared first. A restore reads
//! thousands of runs, and takes as long to hand them over as to read them.
//!
//! Contract: what comes is what the library would give, or `None` where it has to be asked: for an object that is not there,
//! for a run beyond its end, and whatever else is not plain.

use std::fs::File;
use std::ops::Range;
use std::path::Path as FilePath;

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta};
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};

/// Longer runs are left to the library, which gives them piece by piece.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// The run that is asked for, if that is all that is.
pub(super) fn plain_run(options: &GetOptions) -> Option<Range<u64>> {
    let GetOptions { if_match, if_none_match, if_modified_since, if_unmodified_since, version, head, .. } = options;
    let is_plain = if_match.is_none()
        && if_none_match.is_none()
        && if_modified_since.is_none()
        && if_unmodified_since.is_none()
        && version.is_none()
        && !head;
    match &options.range {
        Some(GetRange::Bounded(range)) if is_plain => {
            let length = range.end.checked_sub(range.start)?;
            (length <= MOST_BYTES).then(|| range.clone())
        }
        _ => None,
    }
}

/// Reads a run of the object in `file`. Blocks.
///
/// # Errors
/// When the disk cannot read it.
pub(super) fn read(file: &FilePath, location: &Path, run: Range<u64>) -> std::io::Result<Option<GetResult>> {
    let Ok(opened) = File::open(file) else { return Ok(None) };
    let metadata = opened.metadata()?;
    let range = run.start..run.end.min(metadata.len());
    if !metadata.is_file() || range.is_empty() {
        return Ok(None);
    }
    let Some(bytes) = exactly(&opened, &range)? else { return Ok(None) };
    let meta = ObjectMeta {
        location: location.clone(),
        last_modified: metadata.modified()?.into(),
        size: metadata.len(),
        e_tag: None,
        version: None,
    };
    let payload = GetResultPayload::Stream(futures::stream::iter([Ok(bytes)]).boxed());
    Ok(Some(GetResult { payload, meta, range, attributes: Default::default(), extensions: Default::default() }))
}

/// So many bytes; `None` when the file ends before, because it is being cut.
fn exactly(file: &File, range: &Range<u64>) -> std::io::Result<Option<Bytes>> {
    let length = usize::try_from(range.end - range.start).map_err(std::io::Error::other)?;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = range.start + bytes.len() as u64;
        match pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => return Ok(None),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // There may be room for more than was asked for.
    bytes.truncate(length);
    Ok(Some(bytes.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use object_store::ObjectStore;
    use object_store::local::LocalFileSystem;
    use proptest::prelude::*;

    use super::*;

    /// What a store answers, as far as anybody looks at it.
    async fn answer(result: object_store::Result<GetResult>) -> Result<(Range<u64>, u64, Bytes), String> {
        let result = result.map_err(|error| error.to_string())?;
        let (range, size) = (result.range.clone(), result.meta.size);
        Ok((range, size, result.bytes().await.map_err(|error| error.to_string())?))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_run_is_what_the_library_gives(length in 0_usize..5_000, start in 0_u64..6_000, run in 0_u64..6_000) {
            let folder = tempfile::tempdir().unwrap();
            let bytes: Vec<u8> = (0..length).map(|place| (place / 3) as u8).collect();
            std::fs::write(folder.path().join("object"), &bytes).unwrap();
            let ours = crate::local_store(folder.path()).unwrap();
            let library = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                for name in ["object", "missing"] {
                    let options = || GetOptions::new().with_range(Some(start..start + run));
                    let ours = answer(ours.get_opts(&Path::from(name), options()).await).await;
                    let library = answer(library.get_opts(&Path::from(name), options()).await).await;
                    prop_assert_eq!(ours, library);
                }
                Ok(())
            })?;
        }
    }

    #[test]
    fn only_what_is_plain_is_read_here() {
        let run = || GetOptions::new().with_range(Some(3..10_u64));
        assert_eq!(plain_run(&run()), Some(3..10));
        assert_eq!(plain_run(&GetOptions::new()), None);
        assert_eq!(plain_run(&GetOptions::new().with_range(Some(GetRange::Suffix(3)))), None);
        assert_eq!(plain_run(&GetOptions::new().with_range(Some(0..MOST_BYTES + 1))), None);
        assert_eq!(plain_run(&GetOptions { if_match: Some("x".to_owned()), ..run() }), None);
        assert_eq!(plain_run(&GetOptions { if_none_match: Some("x".to_owned()), ..run() }), None);
        assert_eq!(plain_run(&GetOptions { version: Some("x".to_owned()), ..run() }), None);
        assert_eq!(plain_run(&GetOptions { head: true, ..run() }), None);
    }

    #[test]
    fn a_folder_is_no_object_and_what_ends_early_is_not_given() {
        let folder = tempfile::tempdir().unwrap();
        let name = Path::from("object");
        assert!(read(folder.path(), &name, 0..3).unwrap().is_none());
        let file = folder.path().join("object");
        std::fs::write(&file, "four").unwrap();
        let opened = File::open(&file).unwrap();
        assert_eq!(exactly(&opened, &(1..4)).unwrap().unwrap(), "our");
        assert!(exactly(&opened, &(1..5)).unwrap().is_none());
    }
}
