//! The surroundings by themselves, without a plugin.

#![allow(clippy::unwrap_used)]

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::cli::{environment, stderr, stdin, terminal_stdout};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, HostDescriptor, HostDirectoryEntryStream, NewTimestamp, OpenFlags,
    PathFlags,
};
use wasmtime_wasi::p2::bindings::sync::io::poll::{self, HostPollable};
use wasmtime_wasi::p2::bindings::sync::io::streams::{HostInputStream, HostOutputStream};
use wasmtime_wasi::p2::{DynPollable, FsError, StreamError};

use super::{WaitsForEver, Wasi, WasiView};
use crate::log::GuestLog;
use crate::{Budget, GrantedFiles, Limits};

/// Runs something in the surroundings of a run with this time and seed.
fn inside<T>(time_ms: u64, seed: u64, run: impl FnOnce(&mut WasiView<'_>) -> T) -> T {
    inside_with(GrantedFiles::default(), time_ms, seed, run)
}

fn inside_with<T>(files: GrantedFiles, time_ms: u64, seed: u64, run: impl FnOnce(&mut WasiView<'_>) -> T) -> T {
    let log = GuestLog::new(&Budget::default(), &Limits::DEFAULT);
    let mut wasi = Wasi::new(time_ms, seed, files, log, &Limits::DEFAULT);
    let mut table = ResourceTable::new();
    run(&mut WasiView { wasi: &mut wasi, table: &mut table })
}

fn wait(view: &mut WasiView<'_>, ns: u64) -> Resource<DynPollable> {
    monotonic_clock::Host::subscribe_duration(view, ns).unwrap()
}

fn again(pollable: &Resource<DynPollable>) -> Resource<DynPollable> {
    Resource::new_borrow(pollable.rep())
}

#[test]
fn the_wall_clock_stands_and_the_monotonic_clock_moves_by_looking() {
    inside(1_722_358_190_123, 0, |view| {
        let now = wall_clock::Host::now(view).unwrap();
        assert_eq!((now.seconds, now.nanoseconds), (1_722_358_190, 123_000_000));
        let (first, second) = (monotonic_clock::Host::now(view).unwrap(), monotonic_clock::Host::now(view).unwrap());
        assert!(second > first);
        let now = wall_clock::Host::now(view).unwrap();
        assert_eq!((now.seconds, now.nanoseconds), (1_722_358_190, 123_000_000));
    });
}

#[test]
fn of_several_waits_the_earliest_ends_and_time_jumps_to_it() {
    inside(0, 0, |view| {
        let started = monotonic_clock::Host::now(view).unwrap();
        let (hour, minute) = (wait(view, 3_600_000_000_000), wait(view, 60_000_000_000));
        assert!(!view.ready(again(&hour)).unwrap() && !view.ready(again(&minute)).unwrap());
        assert_eq!(poll::Host::poll(view, vec![again(&hour), again(&minute)]).unwrap(), [1]);
        let after = monotonic_clock::Host::now(view).unwrap() - started;
        assert!((60_000_000_000..60_100_000_000).contains(&after), "{after}");
        view.block(again(&hour)).unwrap();
        assert_eq!(poll::Host::poll(view, vec![again(&hour), again(&minute)]).unwrap(), [0, 1]);
        assert!(monotonic_clock::Host::now(view).unwrap() - started >= 3_600_000_000_000);
    });
}

#[test]
fn a_wait_that_cannot_end_is_an_error_and_not_a_hang() {
    inside(0, 0, |view| {
        let never = wait(view, u64::MAX);
        let error = view.block(again(&never)).unwrap_err();
        assert!(error.downcast_ref::<WaitsForEver>().is_some(), "{error:?}");
        let soon = wait(view, 1);
        assert_eq!(poll::Host::poll(view, vec![never, soon]).unwrap(), [1]);
        assert!(poll::Host::poll(view, Vec::new()).is_err());
    });
}

#[test]
fn random_bytes_are_those_of_the_seed_for_ever() {
    let bytes = |seed| inside(0, seed, |view| random::Host::get_random_bytes(view, 8).unwrap());
    assert_eq!(bytes(42), bytes(42));
    assert_ne!(bytes(42), bytes(43));
    // Frozen: recorded decisions are asked again years later and must come out alike.
    let frozen = inside(0, 42, |view| {
        (
            random::Host::get_random_u64(view).unwrap(),
            insecure::Host::get_insecure_random_u64(view).unwrap(),
            insecure_seed::Host::insecure_seed(view).unwrap(),
        )
    });
    assert_eq!(
        frozen,
        (5_178_825_549_958_570_897, 11_997_698_175_712_118_233, (1_817_113_830_114_074_545, 3_322_083_314_092_175_290))
    );
}

#[test]
fn one_request_for_random_bytes_is_bounded() {
    inside(0, 0, |view| {
        let most = Limits::DEFAULT.random_bytes;
        assert_eq!(random::Host::get_random_bytes(view, most).unwrap().len() as u64, most);
        assert!(random::Host::get_random_bytes(view, most + 1).is_err());
        assert!(insecure::Host::get_insecure_random_bytes(view, u64::MAX).is_err());
    });
}

#[test]
fn there_is_no_environment_no_input_and_no_terminal() {
    inside(0, 0, |view| {
        assert!(environment::Host::get_environment(view).unwrap().is_empty());
        assert!(environment::Host::get_arguments(view).unwrap().is_empty());
        assert!(terminal_stdout::Host::get_terminal_stdout(view).unwrap().is_none());
        let input = stdin::Host::get_stdin(view).unwrap();
        assert!(matches!(HostInputStream::blocking_read(view, input, 10), Err(StreamError::Closed)));
    });
}

#[test]
fn what_is_written_to_stderr_is_in_the_log() {
    inside(0, 0, |view| {
        let output = stderr::Host::get_stderr(view).unwrap();
        HostOutputStream::blocking_write_and_flush(view, output, b"one\ntwo".to_vec()).unwrap();
        let lines: Vec<String> = view.wasi.log.finish().into_iter().map(|line| line.message).collect();
        assert_eq!(lines, ["one", "two"]);
    });
}

/// Two granted directories: `/rules` with files on three levels, `/empty` without any.
fn granted() -> GrantedFiles {
    let json =
        r#"{"/empty": {}, "/rules": {"a.toml": {"text": "12345"}, "b/c.toml": {"text": "6"}, "b/d/e": {"hex": "ff"}}}"#;
    serde_json::from_str(json).unwrap()
}

/// Runs something with the handle of `/rules`.
fn in_rules<T>(run: impl FnOnce(&mut WasiView<'_>, &dyn Fn() -> Resource<Descriptor>) -> T) -> T {
    inside_with(granted(), 0, 0, |view| {
        let directories = preopens::Host::get_directories(view).unwrap();
        let paths: Vec<&str> = directories.iter().map(|(_, path)| path.as_str()).collect();
        assert_eq!(paths, ["/empty", "/rules"]);
        let rep = directories[1].0.rep();
        run(view, &|| Resource::new_borrow(rep))
    })
}

fn code<T>(result: Result<T, FsError>) -> ErrorCode {
    match result {
        Ok(_) => panic!("it was allowed"),
        Err(error) => error.downcast().unwrap(),
    }
}

fn open(view: &mut WasiView<'_>, at: Resource<Descriptor>, path: &str) -> Result<Resource<Descriptor>, FsError> {
    view.open_at(at, PathFlags::empty(), path.to_owned(), OpenFlags::empty(), DescriptorFlags::READ)
}

#[test]
fn without_a_grant_there_is_no_directory() {
    inside(0, 0, |view| assert!(preopens::Host::get_directories(view).unwrap().is_empty()));
}

#[test]
fn granted_files_are_read_whole_in_parts_and_as_streams() {
    in_rules(|view, rules| {
        let file = open(view, rules(), "b/../b/./c.toml").unwrap();
        assert_eq!(HostDescriptor::read(view, file, 100, 0).unwrap(), (b"6".to_vec(), true));
        let file = open(view, rules(), "a.toml").unwrap();
        let file = || Resource::new_borrow(file.rep());
        assert_eq!(HostDescriptor::read(view, file(), 2, 1).unwrap(), (b"23".to_vec(), false));
        assert_eq!(HostDescriptor::read(view, file(), 2, 9).unwrap(), (Vec::new(), true));
        assert_eq!(HostDescriptor::read(view, file(), u64::MAX, u64::MAX).unwrap(), (Vec::new(), true));
        let stream = view.read_via_stream(file(), 3).unwrap();
        let stream = || Resource::new_borrow(stream.rep());
        assert_eq!(HostInputStream::blocking_read(view, stream(), 10).unwrap(), b"45");
        assert!(matches!(HostInputStream::blocking_read(view, stream(), 10), Err(StreamError::Closed)));
        let stat = view.stat(file()).unwrap();
        let time = stat.data_modification_timestamp.unwrap();
        assert_eq!((stat.type_, stat.size, time.seconds), (DescriptorType::RegularFile, 5, 0));
        assert_eq!(view.get_flags(file()).unwrap(), DescriptorFlags::READ);
    });
}

#[test]
fn directories_list_their_names_in_order() {
    in_rules(|view, rules| {
        for (path, expected) in [(".", "a.toml- b/"), ("b", "c.toml- d/"), ("b/d/", "e-")] {
            let directory = open(view, rules(), path).unwrap();
            let listing = view.read_directory(directory).unwrap();
            let mut names = Vec::new();
            while let Some(entry) = view.read_directory_entry(Resource::new_borrow(listing.rep())).unwrap() {
                let mark = if entry.type_ == DescriptorType::Directory { "/" } else { "-" };
                names.push(format!("{}{mark}", entry.name));
            }
            assert_eq!(names.join(" "), expected);
            HostDirectoryEntryStream::drop(view, listing).unwrap();
        }
    });
}

#[test]
fn no_path_leads_out_of_a_granted_directory() {
    in_rules(|view, rules| {
        for (path, expected) in [
            ("", ErrorCode::NoEntry),
            ("/etc/passwd", ErrorCode::NotPermitted),
            ("..", ErrorCode::NotPermitted),
            ("b/../../empty", ErrorCode::NotPermitted),
            ("nothing", ErrorCode::NoEntry),
            ("nothing/../a.toml", ErrorCode::NoEntry),
            ("a.toml/", ErrorCode::NotDirectory),
            ("a.toml/..", ErrorCode::NotDirectory),
            (&"x/".repeat(3_000), ErrorCode::NameTooLong),
        ] {
            assert_eq!(code(open(view, rules(), path)), expected, "{path}");
            assert_eq!(code(view.stat_at(rules(), PathFlags::SYMLINK_FOLLOW, path.to_owned())), expected, "{path}");
            assert_eq!(code(view.readlink_at(rules(), path.to_owned())), expected, "{path}");
        }
        assert_eq!(code(view.readlink_at(rules(), "a.toml".to_owned())), ErrorCode::Invalid);
    });
}

#[test]
fn nothing_granted_can_be_changed() {
    in_rules(|view, rules| {
        let now = || NewTimestamp::Now;
        let mut opened =
            |path: &str, open, flags| code(view.open_at(rules(), PathFlags::empty(), path.to_owned(), open, flags));
        let (read, none) = (DescriptorFlags::READ, OpenFlags::empty());
        assert_eq!(opened("a.toml", none, read | DescriptorFlags::WRITE), ErrorCode::ReadOnly);
        assert_eq!(opened("b", none, read | DescriptorFlags::MUTATE_DIRECTORY), ErrorCode::ReadOnly);
        assert_eq!(opened("a.toml", OpenFlags::TRUNCATE, read), ErrorCode::ReadOnly);
        assert_eq!(opened("new", OpenFlags::CREATE, read), ErrorCode::ReadOnly);
        assert_eq!(opened("a.toml", OpenFlags::CREATE | OpenFlags::EXCLUSIVE, read), ErrorCode::Exist);
        assert_eq!(opened("a.toml", OpenFlags::DIRECTORY, read), ErrorCode::NotDirectory);
        let text = || "a.toml".to_owned();
        let refused = [
            code(view.create_directory_at(rules(), "new".to_owned())),
            code(view.remove_directory_at(rules(), "b".to_owned())),
            code(view.unlink_file_at(rules(), text())),
            code(view.rename_at(rules(), text(), rules(), "new".to_owned())),
            code(view.link_at(rules(), PathFlags::empty(), text(), rules(), "new".to_owned())),
            code(view.symlink_at(rules(), text(), "new".to_owned())),
            code(view.set_times_at(rules(), PathFlags::empty(), text(), now(), now())),
            code(view.set_times(rules(), now(), now())),
        ];
        assert!(refused.iter().all(|code| *code == ErrorCode::ReadOnly), "{refused:?}");
        let file = open(view, rules(), "a.toml").unwrap();
        let file = || Resource::new_borrow(file.rep());
        let refused = [
            code(HostDescriptor::write(view, file(), b"x".to_vec(), 0)),
            code(view.write_via_stream(file(), 0)),
            code(view.append_via_stream(file())),
            code(view.set_size(file(), 0)),
        ];
        assert!(refused.iter().all(|code| *code == ErrorCode::BadDescriptor), "{refused:?}");
        assert_eq!(code(HostDescriptor::read(view, rules(), 1, 0)), ErrorCode::IsDirectory);
        assert_eq!(code(view.read_directory(file())), ErrorCode::NotDirectory);
    });
}

#[test]
fn files_have_an_identity_that_is_the_same_everywhere() {
    in_rules(|view, rules| {
        let (one, two) = (open(view, rules(), "a.toml").unwrap(), open(view, rules(), "b/c.toml").unwrap());
        let hash = view.metadata_hash(Resource::new_borrow(one.rep())).unwrap();
        // Frozen: a program sees it as inode, and records are asked again years later.
        assert_eq!((hash.lower, hash.upper), (2_173_921_351_565_232_924, 6_578_956_095_571_660_137));
        let other = view.metadata_hash_at(rules(), PathFlags::empty(), "b/c.toml".to_owned()).unwrap();
        assert_ne!((hash.lower, hash.upper), (other.lower, other.upper));
        let again = open(view, rules(), "b/../a.toml").unwrap();
        let borrow = |of: &Resource<Descriptor>| Resource::new_borrow(of.rep());
        assert!(view.is_same_object(borrow(&one), borrow(&again)).unwrap());
        assert!(!view.is_same_object(borrow(&one), borrow(&two)).unwrap());
    });
}

#[test]
fn a_handle_of_one_kind_is_none_of_another() {
    in_rules(|view, rules| {
        let stream = stdin::Host::get_stdin(view).unwrap();
        let error = view.stat(Resource::new_borrow(stream.rep())).err().unwrap();
        assert!(error.downcast().is_err(), "a trap, not an error code");
        let listing = view.read_directory(rules()).unwrap();
        assert!(view.stat(Resource::new_borrow(listing.rep())).err().unwrap().downcast().is_err());
    });
}
