//! A disk that may lose everything that was not synced.
//!
//! The weakest behaviour that file systems agree on: bytes of a file survive if the file was synced after they were
//! written; a name in a folder survives if the folder was synced after it was made, renamed or removed. Of the rest any
//! subset may survive: later writes without earlier ones, names without the bytes behind them, half of a write.
//! A rename happens as a whole or not at all; it counts as synced with the folder it leads into.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use longshore_vault::testing::SeededRandom;

use crate::trace::{Call, Op};

type Inode = usize;

/// A change of names: what each name in a folder stands for afterwards.
#[derive(Debug)]
struct NameChange {
    /// The folder whose sync makes it durable.
    folder: Inode,
    names: Vec<(Inode, String, Option<Inode>)>,
}

#[derive(Debug)]
enum Change {
    Names(NameChange),
    Bytes { file: Inode, offset: u64, bytes: Vec<u8> },
    Length { file: Inode, length: u64 },
}

impl Change {
    /// What must be synced for this to be durable.
    fn inode(&self) -> Inode {
        match self {
            Self::Names(change) => change.folder,
            Self::Bytes { file, .. } | Self::Length { file, .. } => *file,
        }
    }
}

#[derive(Debug)]
struct Logged {
    began: usize,
    /// When it took effect.
    ended: usize,
    /// From when on it survives.
    durable: Option<usize>,
    change: Change,
}

/// Everything that happened to a folder, and what was told meanwhile.
#[derive(Debug)]
pub(crate) struct Disk {
    log: Vec<Logged>,
    folders: BTreeSet<Inode>,
    /// What was said, and when.
    pub(crate) said: Vec<(usize, String)>,
    /// Moments worth a power cut: after each change of names, each sync, each word, and some writes.
    pub(crate) moments: Vec<usize>,
    /// Paths that were synced: for tests that leave one out.
    pub(crate) synced: Vec<PathBuf>,
}

/// What survives of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Luck {
    Nothing,
    Everything,
    /// As journals of names do without a barrier for data: files of the right name that are empty.
    NamesOnly,
    /// Any subset, half writes included.
    Drawn(u64),
}

/// Files that survived, by path below the root; folders without files are left out.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

struct Replay {
    root: PathBuf,
    live: HashMap<PathBuf, Inode>,
    lengths: HashMap<Inode, u64>,
    positions: HashMap<i64, u64>,
    next: Inode,
    disk: Disk,
}

impl Disk {
    /// Replays calls on an empty folder `root` that is durable itself. A sync of a path that `drops` says yes to is left out.
    pub(crate) fn replay(root: &Path, calls: &[Call], drops: &dyn Fn(&Path) -> bool) -> Self {
        let disk = Self {
            log: Vec::new(),
            folders: BTreeSet::from([0]),
            said: Vec::new(),
            moments: Vec::new(),
            synced: Vec::new(),
        };
        let live = HashMap::from([(root.to_owned(), 0)]);
        let (lengths, positions) = (HashMap::new(), HashMap::new());
        let mut replay = Replay { root: root.to_owned(), live, lengths, positions, next: 1, disk };
        for call in calls {
            replay.apply(call, drops);
        }
        let mut disk = replay.disk;
        disk.moments.dedup();
        disk
    }

    /// What is there after a power cut at `moment`.
    pub(crate) fn after_cut(&self, moment: usize, luck: Luck) -> Image {
        let mut random = SeededRandom::new(match luck {
            Luck::Drawn(seed) => seed ^ moment as u64,
            _ => 0,
        });
        let mut names: BTreeMap<Inode, BTreeMap<&str, Inode>> = BTreeMap::new();
        let mut files: BTreeMap<Inode, Vec<u8>> = BTreeMap::new();
        for logged in self.log.iter().filter(|logged| logged.began <= moment) {
            let durable = logged.durable.is_some_and(|since| since <= moment);
            let is_name = matches!(logged.change, Change::Names(_));
            let survives = match luck {
                // What had not returned may have happened as well as not.
                _ if durable => true,
                Luck::Nothing => false,
                Luck::Everything => logged.ended <= moment,
                Luck::NamesOnly => is_name && logged.ended <= moment,
                Luck::Drawn(_) => random.chance(50),
            };
            if !survives {
                continue;
            }
            match &logged.change {
                Change::Names(change) => {
                    for (folder, name, stands_for) in &change.names {
                        let folder = names.entry(*folder).or_default();
                        match stands_for {
                            Some(inode) => folder.insert(name, *inode),
                            None => folder.remove(name.as_str()),
                        };
                    }
                }
                Change::Bytes { file, offset, bytes } => {
                    let half = !durable && matches!(luck, Luck::Drawn(_)) && random.chance(20);
                    let bytes = if half { &bytes[..bytes.len() / 2] } else { &bytes[..] };
                    let (file, start) = (files.entry(*file).or_default(), usize::try_from(*offset).unwrap());
                    file.resize(file.len().max(start + bytes.len()), 0);
                    file[start..start + bytes.len()].copy_from_slice(bytes);
                }
                Change::Length { file, length } => {
                    files.entry(*file).or_default().resize(usize::try_from(*length).unwrap(), 0);
                }
            }
        }
        let mut image = Image::new();
        self.collect(0, "", &names, &files, &mut image, 0);
        image
    }

    fn collect(
        &self,
        folder: Inode,
        path: &str,
        names: &BTreeMap<Inode, BTreeMap<&str, Inode>>,
        files: &BTreeMap<Inode, Vec<u8>>,
        image: &mut Image,
        depth: usize,
    ) {
        assert!(depth < 50, "a folder within itself: {path}");
        for (name, inode) in names.get(&folder).into_iter().flatten() {
            let path = if path.is_empty() { (*name).to_owned() } else { format!("{path}/{name}") };
            if self.folders.contains(inode) {
                self.collect(*inode, &path, names, files, image, depth + 1);
            } else {
                image.insert(path, files.get(inode).cloned().unwrap_or_default());
            }
        }
    }
}

impl Replay {
    fn apply(&mut self, call: &Call, drops: &dyn Fn(&Path) -> bool) {
        match &call.op {
            Op::Open { path, descriptor, creates, truncates } => {
                self.positions.insert(*descriptor, 0);
                if *creates && !self.live.contains_key(path) {
                    let inode = self.new_inode();
                    self.live.insert(path.clone(), inode);
                    self.name(call, &[(path, Some(inode))]);
                } else if *truncates {
                    let file = self.inode(path);
                    self.lengths.insert(file, 0);
                    self.log(call, Change::Length { file, length: 0 });
                }
            }
            Op::Write { path, descriptor, offset, bytes } => {
                let position = self.positions.entry(*descriptor).or_default();
                let start = offset.unwrap_or(*position);
                if offset.is_none() {
                    *position += bytes.len() as u64;
                }
                let file = self.inode(path);
                self.log(call, Change::Bytes { file, offset: start, bytes: bytes.clone() });
            }
            Op::SetLength { path, length } => {
                let file = self.inode(path);
                self.log(call, Change::Length { file, length: *length });
            }
            Op::Sync(path) if drops(path) => {}
            Op::Sync(path) => {
                let inode = self.inode(path);
                self.disk.synced.push(path.clone());
                self.sync(call, Some(inode));
            }
            Op::SyncAll => self.sync(call, None),
            Op::MakeFolder(path) => {
                let inode = self.new_inode();
                self.disk.folders.insert(inode);
                self.live.insert(path.clone(), inode);
                self.name(call, &[(path, Some(inode))]);
            }
            Op::Link { from, to } => {
                let inode = self.inode(from);
                self.live.insert(to.clone(), inode);
                self.name(call, &[(to, Some(inode))]);
            }
            Op::Rename { from, to } => self.rename(call, from, to),
            Op::Remove(path) => {
                self.live.remove(path);
                self.name(call, &[(path, None)]);
            }
            Op::Said(text) => {
                self.disk.said.push((call.ended, text.clone()));
                self.disk.moments.push(call.ended);
            }
        }
    }

    fn rename(&mut self, call: &Call, from: &Path, to: &Path) {
        let inode = self.inode(from);
        let moved: Vec<(PathBuf, Inode)> = self
            .live
            .iter()
            .filter_map(|(path, inode)| Some((to.join(path.strip_prefix(from).ok()?), *inode)))
            .collect();
        self.live.retain(|path, _| !path.starts_with(from) && !path.starts_with(to));
        // `join` of nothing leaves a trailing slash, which a path comparison does not see.
        self.live.extend(moved);
        self.name(call, &[(to, Some(inode)), (from, None)]);
    }

    fn new_inode(&mut self) -> Inode {
        self.next += 1;
        self.next - 1
    }

    fn inode(&self, path: &Path) -> Inode {
        *self.live.get(path).unwrap_or_else(|| panic!("{} was never made", path.display()))
    }

    /// Logs a change of names; durable with the folder of the first.
    fn name(&mut self, call: &Call, changes: &[(&Path, Option<Inode>)]) {
        let entry = |path: &Path| {
            let folder = self.inode(path.parent().unwrap());
            (folder, path.file_name().unwrap().to_string_lossy().into_owned())
        };
        let names: Vec<_> = changes
            .iter()
            .filter(|(path, _)| path.starts_with(&self.root))
            .map(|(path, inode)| {
                let (folder, name) = entry(path);
                (folder, name, *inode)
            })
            .collect();
        let folder = names[0].0;
        self.log(call, Change::Names(NameChange { folder, names }));
        self.disk.moments.push(call.ended);
    }

    fn log(&mut self, call: &Call, change: Change) {
        // Of the writes every fourth is worth a cut in the middle.
        if self.disk.log.len().is_multiple_of(4) {
            self.disk.moments.push(call.ended);
        }
        self.disk.log.push(Logged { began: call.began, ended: call.ended, durable: None, change });
    }

    /// Makes what had ended before this sync began durable from its end on.
    fn sync(&mut self, call: &Call, inode: Option<Inode>) {
        for logged in &mut self.disk.log {
            let meant = inode.is_none_or(|inode| logged.change.inode() == inode);
            if meant && logged.durable.is_none() && logged.ended < call.began {
                logged.durable = Some(call.ended);
            }
        }
        self.disk.moments.push(call.ended);
    }
}
