//! The granted files as a plugin sees them: a copy in memory, read-only, with fixed times and in a fixed order.
//!
//! Contract: nothing here touches the machine. A path is followed name by name within its granted directory and cannot
//! leave it. What would change something is `read-only`, as on a read-only file system; a descriptor that may be written
//! through cannot be had, so writing through one is `bad-descriptor`.

use std::vec::IntoIter;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    self, Advice, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream,
    Filesize, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::WasiView;
use crate::granted::{Entry, GrantedFiles};

/// Times of every file and directory: 1970, as no other is the same on every machine.
const TIME: Datetime = Datetime { seconds: 0, nanoseconds: 0 };

/// Longest path that is looked at, in bytes.
const PATH_BYTES: usize = 4096;

/// Most bytes given to a plugin in one read.
const READ_BYTES: usize = 64 * 1024;

/// What a descriptor of a plugin stands for. In the table of handles in place of the type that WASI's own
/// implementation has there, which can only be a file of the machine: a handle is a number, and both ends are here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    /// The granted directory it lies in.
    directory: String,
    /// Its path below it, empty for the directory itself.
    path: String,
}

/// The rest of a directory that is being listed.
struct Listing(IntoIter<DirectoryEntry>);

/// What stands at a node.
fn entry<'a>(files: &'a GrantedFiles, node: &Node) -> FsResult<Entry<'a>> {
    files.entry(&node.directory, &node.path).ok_or_else(|| ErrorCode::NoEntry.into())
}

fn descriptor_type(entry: Entry<'_>) -> DescriptorType {
    match entry {
        Entry::Directory => DescriptorType::Directory,
        Entry::File(_) => DescriptorType::RegularFile,
    }
}

/// Follows a path from a node, name by name, so that `a/../b` needs an `a`.
fn follow(files: &GrantedFiles, from: &Node, path: &str) -> FsResult<Node> {
    if path.is_empty() {
        return Err(ErrorCode::NoEntry.into());
    }
    if path.len() > PATH_BYTES {
        return Err(ErrorCode::NameTooLong.into());
    }
    if path.starts_with('/') {
        return Err(ErrorCode::NotPermitted.into());
    }
    let mut at = from.clone();
    // A slash at the end asks for a directory, which the empty name after it does.
    for name in path.split('/') {
        if entry(files, &at)? != Entry::Directory {
            return Err(ErrorCode::NotDirectory.into());
        }
        match name {
            "" | "." => {}
            ".." => at.path = above(&at.path).ok_or(ErrorCode::NotPermitted)?,
            name if at.path.is_empty() => at.path = name.to_owned(),
            name => at.path = format!("{}/{name}", at.path),
        }
    }
    entry(files, &at)?;
    Ok(at)
}

/// The directory above, if it is not outside.
fn above(path: &str) -> Option<String> {
    match path.rsplit_once('/') {
        Some((above, _)) => Some(above.to_owned()),
        None => (!path.is_empty()).then(String::new),
    }
}

impl WasiView<'_> {
    fn node(&self, descriptor: &Resource<Descriptor>) -> FsResult<Node> {
        Ok(self.table.get(&Resource::<Node>::new_borrow(descriptor.rep()))?.clone())
    }

    fn give(&mut self, node: Node) -> FsResult<Resource<Descriptor>> {
        Ok(Resource::new_own(self.table.push(node)?.rep()))
    }

    /// The node and its bytes, if it is a file.
    fn bytes(&self, descriptor: &Resource<Descriptor>) -> FsResult<bytes::Bytes> {
        match entry(&self.wasi.files, &self.node(descriptor)?)? {
            Entry::File(bytes) => Ok(bytes.clone()),
            Entry::Directory => Err(ErrorCode::IsDirectory.into()),
        }
    }

    fn at(&self, descriptor: &Resource<Descriptor>, path: &str) -> FsResult<Node> {
        follow(&self.wasi.files, &self.node(descriptor)?, path)
    }

    fn stat_node(&self, node: &Node) -> FsResult<DescriptorStat> {
        let entry = entry(&self.wasi.files, node)?;
        let bytes = match entry {
            Entry::File(bytes) => bytes.len(),
            Entry::Directory => 0,
        };
        Ok(DescriptorStat {
            type_: descriptor_type(entry),
            link_count: 1,
            size: Filesize::try_from(bytes).unwrap_or(Filesize::MAX),
            data_access_timestamp: Some(TIME),
            data_modification_timestamp: Some(TIME),
            status_change_timestamp: Some(TIME),
        })
    }

    /// Stands for the identity of a file; programs see it as inode.
    fn hash_node(&self, node: &Node) -> FsResult<MetadataHashValue> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(node.directory.as_bytes()).update(b"\0").update(node.path.as_bytes());
        let mut halves = [[0; 8]; 2];
        hasher.finalize_xof().fill(halves.as_flattened_mut());
        let [lower, upper] = halves.map(u64::from_le_bytes);
        Ok(MetadataHashValue { lower, upper })
    }

    /// Refuses what would change something at a path, for the reason that comes first on any read-only file system.
    fn refuse<T>(&self, descriptor: &Resource<Descriptor>) -> FsResult<T> {
        self.node(descriptor)?;
        Err(ErrorCode::ReadOnly.into())
    }

    /// Refuses what needs a descriptor that may be written through.
    fn refuse_write<T>(&self, descriptor: &Resource<Descriptor>) -> FsResult<T> {
        self.node(descriptor)?;
        Err(ErrorCode::BadDescriptor.into())
    }
}

impl preopens::Host for WasiView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let directories: Vec<String> = self.wasi.files.directories().map(str::to_owned).collect();
        let give = |directory: String| {
            let node = Node { directory: directory.clone(), path: String::new() };
            Ok((Resource::new_own(self.table.push(node)?.rep()), directory))
        };
        directories.into_iter().map(give).collect()
    }
}

impl types::Host for WasiView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<types::ErrorCode> {
        Ok(error.downcast()?.into())
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<types::ErrorCode>> {
        // No error of a stream comes from a file here.
        self.table.get(&error)?;
        Ok(None)
    }
}

impl HostDescriptor for WasiView<'_> {
    fn read_via_stream(&mut self, of: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let mut bytes = self.bytes(&of)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let stream: DynInputStream = Box::new(MemoryInputPipe::new(bytes.split_off(from)));
        Ok(self.table.push(stream)?)
    }

    fn write_via_stream(&mut self, to: Resource<Descriptor>, _: Filesize) -> FsResult<Resource<DynOutputStream>> {
        self.refuse_write(&to)
    }

    fn append_via_stream(&mut self, to: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        self.refuse_write(&to)
    }

    fn advise(&mut self, of: Resource<Descriptor>, _: Filesize, _: Filesize, _: Advice) -> FsResult<()> {
        self.bytes(&of).map(drop)
    }

    fn sync_data(&mut self, of: Resource<Descriptor>) -> FsResult<()> {
        self.node(&of).map(drop)
    }

    fn get_flags(&mut self, of: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.node(&of)?;
        Ok(DescriptorFlags::READ)
    }

    fn get_type(&mut self, of: Resource<Descriptor>) -> FsResult<DescriptorType> {
        entry(&self.wasi.files, &self.node(&of)?).map(descriptor_type)
    }

    fn set_size(&mut self, of: Resource<Descriptor>, _: Filesize) -> FsResult<()> {
        self.refuse_write(&of)
    }

    fn set_times(&mut self, of: Resource<Descriptor>, _: NewTimestamp, _: NewTimestamp) -> FsResult<()> {
        self.refuse(&of)
    }

    fn read(&mut self, from: Resource<Descriptor>, len: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)> {
        let bytes = self.bytes(&from)?;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(READ_BYTES).min(bytes.len() - offset);
        let read = bytes.slice(offset..offset + len).to_vec();
        // A reader that asked for nothing has not seen the end, unless it is there.
        let end = offset + len == bytes.len();
        Ok((read, end))
    }

    fn write(&mut self, to: Resource<Descriptor>, _: Vec<u8>, _: Filesize) -> FsResult<Filesize> {
        self.refuse_write(&to)
    }

    fn read_directory(&mut self, of: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        let node = self.node(&of)?;
        if entry(&self.wasi.files, &node)? != Entry::Directory {
            return Err(ErrorCode::NotDirectory.into());
        }
        let names = self.wasi.files.names(&node.directory, &node.path);
        let entries = names.into_iter().map(|(name, directory)| DirectoryEntry {
            type_: if directory { DescriptorType::Directory } else { DescriptorType::RegularFile },
            name,
        });
        let listing = Listing(entries.collect::<Vec<_>>().into_iter());
        Ok(Resource::new_own(self.table.push(listing)?.rep()))
    }

    fn sync(&mut self, of: Resource<Descriptor>) -> FsResult<()> {
        self.node(&of).map(drop)
    }

    fn create_directory_at(&mut self, at: Resource<Descriptor>, _: String) -> FsResult<()> {
        self.refuse(&at)
    }

    fn stat(&mut self, of: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.stat_node(&self.node(&of)?)
    }

    fn stat_at(&mut self, at: Resource<Descriptor>, _: PathFlags, path: String) -> FsResult<DescriptorStat> {
        self.stat_node(&self.at(&at, &path)?)
    }

    fn set_times_at(
        &mut self,
        at: Resource<Descriptor>,
        _: PathFlags,
        _: String,
        _: NewTimestamp,
        _: NewTimestamp,
    ) -> FsResult<()> {
        self.refuse(&at)
    }

    fn link_at(
        &mut self,
        at: Resource<Descriptor>,
        _: PathFlags,
        _: String,
        _: Resource<Descriptor>,
        _: String,
    ) -> FsResult<()> {
        self.refuse(&at)
    }

    fn open_at(
        &mut self,
        at: Resource<Descriptor>,
        _: PathFlags,
        path: String,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let create = open.contains(OpenFlags::CREATE);
        let node = self.at(&at, &path).map_err(|error| match error.downcast() {
            Ok(ErrorCode::NoEntry) if create => ErrorCode::ReadOnly.into(),
            Ok(code) => code.into(),
            Err(trap) => FsError::trap(trap),
        })?;
        let entry = entry(&self.wasi.files, &node)?;
        if create && open.contains(OpenFlags::EXCLUSIVE) {
            return Err(ErrorCode::Exist.into());
        }
        if open.contains(OpenFlags::DIRECTORY) && entry != Entry::Directory {
            return Err(ErrorCode::NotDirectory.into());
        }
        let changing = DescriptorFlags::WRITE | DescriptorFlags::MUTATE_DIRECTORY;
        if flags.intersects(changing) || open.contains(OpenFlags::TRUNCATE) {
            return Err(ErrorCode::ReadOnly.into());
        }
        self.give(node)
    }

    fn readlink_at(&mut self, at: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.at(&at, &path)?;
        // There are no links: what was one is a file by now.
        Err(ErrorCode::Invalid.into())
    }

    fn remove_directory_at(&mut self, at: Resource<Descriptor>, _: String) -> FsResult<()> {
        self.refuse(&at)
    }

    fn rename_at(&mut self, at: Resource<Descriptor>, _: String, _: Resource<Descriptor>, _: String) -> FsResult<()> {
        self.refuse(&at)
    }

    fn symlink_at(&mut self, at: Resource<Descriptor>, _: String, _: String) -> FsResult<()> {
        self.refuse(&at)
    }

    fn unlink_file_at(&mut self, at: Resource<Descriptor>, _: String) -> FsResult<()> {
        self.refuse(&at)
    }

    fn is_same_object(&mut self, one: Resource<Descriptor>, other: Resource<Descriptor>) -> wasmtime::Result<bool> {
        let node = |descriptor: &Resource<Descriptor>| Resource::<Node>::new_borrow(descriptor.rep());
        Ok(self.table.get(&node(&one))? == self.table.get(&node(&other))?)
    }

    fn metadata_hash(&mut self, of: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        self.hash_node(&self.node(&of)?)
    }

    fn metadata_hash_at(
        &mut self,
        at: Resource<Descriptor>,
        _: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.hash_node(&self.at(&at, &path)?)
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> wasmtime::Result<()> {
        Ok(self.table.delete(Resource::<Node>::new_own(descriptor.rep())).map(drop)?)
    }
}

impl HostDirectoryEntryStream for WasiView<'_> {
    fn read_directory_entry(&mut self, of: Resource<DirectoryEntryStream>) -> FsResult<Option<DirectoryEntry>> {
        Ok(self.table.get_mut(&Resource::<Listing>::new_borrow(of.rep()))?.0.next())
    }

    fn drop(&mut self, of: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        Ok(self.table.delete(Resource::<Listing>::new_own(of.rep())).map(drop)?)
    }
}
