//! What a process asked of the file system, read from `strace -f -y -xx`.
//!
//! With `-xx` every string is written in hexadecimal, so a line can be taken apart without guessing; with `-y` every
//! descriptor comes with the path it stands for.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// The calls that change a file system or make it durable.
pub(crate) const CALLS: &str = "openat,openat2,creat,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,syncfs,sync,rename,\
    renameat,renameat2,link,linkat,mkdir,mkdirat,unlink,unlinkat,rmdir,truncate,ftruncate,fallocate,copy_file_range,sendfile";

/// One thing that happened, with absolute paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// A file was opened so that it may be made, or cut to nothing.
    Open { path: PathBuf, descriptor: i64, creates: bool, truncates: bool },
    /// Bytes were written at a place, or where the descriptor stands.
    Write { path: PathBuf, descriptor: i64, offset: Option<u64>, bytes: Vec<u8> },
    /// A file got another length.
    SetLength { path: PathBuf, length: u64 },
    /// A file or a folder was made durable.
    Sync(PathBuf),
    /// A whole file system was made durable.
    SyncAll,
    /// A folder was made.
    MakeFolder(PathBuf),
    /// A name was given to what another name stands for.
    Link { from: PathBuf, to: PathBuf },
    /// A file or folder was renamed.
    Rename { from: PathBuf, to: PathBuf },
    /// A name was taken away.
    Remove(PathBuf),
    /// The process told its user something.
    Said(String),
}

/// A call and the lines at which it began and ended: another thread's call may lie in between.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) began: usize,
    pub(crate) ended: usize,
    pub(crate) op: Op,
}

/// Reads a trace; calls that failed, and files outside of `root`, are left out.
pub(crate) fn read(text: &str, root: &Path) -> Vec<Call> {
    let mut unfinished: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(process, (number, begin));
        } else if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let Some((began, begin)) = unfinished.remove(process) else { continue };
            push(&mut calls, began, number, &format!("{begin}{end}"), root);
        } else {
            push(&mut calls, number, number, rest, root);
        }
    }
    calls
}

fn push(calls: &mut Vec<Call>, began: usize, ended: usize, line: &str, root: &Path) {
    if let Some(op) = operation(line, root).filter(|op| concerns(op, root)) {
        calls.push(Call { began, ended, op });
    }
}

fn concerns(op: &Op, root: &Path) -> bool {
    match op {
        Op::Said(_) | Op::SyncAll => true,
        Op::Open { path, .. } | Op::Write { path, .. } | Op::SetLength { path, .. } => path.starts_with(root),
        Op::Sync(path) | Op::MakeFolder(path) | Op::Remove(path) => path.starts_with(root),
        Op::Link { to, .. } | Op::Rename { to, .. } => to.starts_with(root),
    }
}

/// One argument of a call.
#[derive(Debug)]
enum Argument {
    Text(Vec<u8>),
    Descriptor(i64, PathBuf),
    Word(String),
}

impl Argument {
    fn number(&self) -> u64 {
        match self {
            Self::Word(word) => word.parse().unwrap_or_else(|_| panic!("a number, not {word}")),
            other => panic!("a number, not {other:?}"),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Descriptor(_, path) => path.clone(),
            other => panic!("a descriptor, not {other:?}"),
        }
    }
}

/// A path below a folder that is open, without `.` and `..`.
fn below(folder: &Argument, path: &Argument) -> PathBuf {
    let Argument::Text(text) = path else { panic!("a path, not {path:?}") };
    let joined = folder.path().join(text_path(text));
    let mut plain = PathBuf::new();
    for component in joined.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

fn text_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(bytes).into()
}

/// The call in a line. Paths without a folder are below `root`, where the process was started.
fn operation(line: &str, root: &Path) -> Option<Op> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let result: i64 = result.split(['<', ' ']).next()?.parse().ok()?;
    if result < 0 {
        return None;
    }
    let arguments = split(arguments);
    let absolute = |place: usize| below(&Argument::Descriptor(0, root.to_owned()), &arguments[place]);
    let written = |offset: Option<u64>| {
        let (Argument::Descriptor(descriptor, path), Argument::Text(bytes)) = (&arguments[0], &arguments[1]) else {
            panic!("{line:.200}")
        };
        let bytes = bytes[..usize::try_from(result).unwrap().min(bytes.len())].to_vec();
        Op::Write { path: path.clone(), descriptor: *descriptor, offset, bytes }
    };
    Some(match name {
        "openat" | "openat2" => {
            let Argument::Word(flags) = &arguments[2] else { panic!("{line:.200}") };
            let (creates, truncates) = (flags.contains("O_CREAT"), flags.contains("O_TRUNC"));
            // Read-only opens matter too: a later write to the same number is then not taken for another file.
            Op::Open { path: below(&arguments[0], &arguments[1]), descriptor: result, creates, truncates }
        }
        "write" if matches!(arguments[0], Argument::Descriptor(1, _)) => {
            let Argument::Text(bytes) = &arguments[1] else { panic!("{line:.200}") };
            Op::Said(String::from_utf8_lossy(bytes).into_owned())
        }
        "write" => written(None),
        "pwrite64" => written(Some(arguments[3].number())),
        "fsync" | "fdatasync" => Op::Sync(arguments[0].path()),
        "syncfs" | "sync" => Op::SyncAll,
        "mkdir" => Op::MakeFolder(absolute(0)),
        "mkdirat" => Op::MakeFolder(below(&arguments[0], &arguments[1])),
        "link" => Op::Link { from: absolute(0), to: absolute(1) },
        "linkat" => Op::Link { from: below(&arguments[0], &arguments[1]), to: below(&arguments[2], &arguments[3]) },
        "rename" => Op::Rename { from: absolute(0), to: absolute(1) },
        "renameat" | "renameat2" => {
            Op::Rename { from: below(&arguments[0], &arguments[1]), to: below(&arguments[2], &arguments[3]) }
        }
        "unlink" | "rmdir" => Op::Remove(absolute(0)),
        "unlinkat" => Op::Remove(below(&arguments[0], &arguments[1])),
        "ftruncate" => Op::SetLength { path: arguments[0].path(), length: arguments[1].number() },
        // Nothing of ours writes so; a trace that has it below `root` would be replayed wrongly, so it must not pass.
        other => {
            let place = arguments.iter().find_map(|argument| match argument {
                Argument::Descriptor(_, path) => Some(path.clone()),
                _ => None,
            });
            panic!("`{other}` on {place:?} cannot be replayed")
        }
    })
}

/// Splits arguments at the commas between them.
fn split(text: &str) -> Vec<Argument> {
    let (mut arguments, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let argument;
        (argument, rest) = one(rest);
        arguments.push(argument);
        rest = rest.trim_start_matches("(deleted)");
        rest = rest.strip_prefix(", ").unwrap_or(rest);
    }
    arguments
}

fn one(text: &str) -> (Argument, &str) {
    if let Some(quoted) = text.strip_prefix('"') {
        let (inside, rest) = quoted.split_once('"').expect("a closing quote");
        assert!(!rest.starts_with("..."), "a string was cut short: give strace a larger -s");
        return (Argument::Text(unescape(inside)), rest);
    }
    let end = text.find([',', '<']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    match rest.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((path, rest)) => (Argument::Descriptor(word.parse().unwrap_or(-1), text_path(&unescape(path))), rest),
        None => (Argument::Word(word.to_owned()), rest),
    }
}

/// Turns `\x2f\x74` into bytes; anything else stands for itself.
fn unescape(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len() / 4), 0);
    while at < bytes.len() {
        match bytes[at..] {
            [b'\\', b'x', high, low, ..] => {
                out.push(digit(high).unwrap() << 4 | digit(low).unwrap());
                at += 4;
            }
            [byte, ..] => {
                out.push(byte);
                at += 1;
            }
            [] => break,
        }
    }
    out
}

#[test]
fn a_trace_is_taken_apart_as_it_was_meant() {
    let text = r#"7 openat(AT_FDCWD<\x2f\x76>, "\x61\x2e\x74", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 9<\x2f\x76\x2f\x61\x2e\x74>
8 fsync(4<\x2f\x76> <unfinished ...>
7 write(9<\x2f\x76\x2f\x61\x2e\x74>, "\x68\x69", 2) = 2
8 <... fsync resumed>) = 0
7 rename("\x2f\x76\x2f\x61\x2e\x74", "\x2f\x76\x2f\x2e\x2f\x61") = 0
7 unlink("\x2f\x76\x2f\x62") = -1 ENOENT (No such file or directory)
7 write(1<pipe:[123]>, "\x64\x6f\x6e\x65", 4) = 4
7 +++ exited with 0 +++
"#;
    let calls = read(text, Path::new("/v"));
    let ops: Vec<Op> = calls.iter().map(|call| call.op.clone()).collect();
    let temporary = PathBuf::from("/v/a.t");
    assert_eq!(
        ops,
        [
            Op::Open { path: temporary.clone(), descriptor: 9, creates: true, truncates: false },
            Op::Write { path: temporary.clone(), descriptor: 9, offset: None, bytes: b"hi".to_vec() },
            Op::Sync("/v".into()),
            Op::Rename { from: temporary, to: "/v/a".into() },
            Op::Said("done".to_owned()),
        ]
    );
    assert_eq!((calls[2].began, calls[2].ended), (1, 3));
}
