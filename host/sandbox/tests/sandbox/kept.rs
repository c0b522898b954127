//! Compiled plugins that are kept between sandboxes.

use longshore_sandbox::{Budget, Origin, Plugin, Sandbox, SandboxConfig};

use crate::fixtures::{behave, call, page, run, wasm};

fn load(folder: &std::path::Path, bytes: &[u8]) -> (Plugin, Sandbox) {
    let config = SandboxConfig { code_cache: Some(folder.join("code")), ..SandboxConfig::default() };
    let sandbox = Sandbox::new(config).unwrap();
    let plugin = sandbox.load(bytes, &Budget::default()).unwrap();
    assert_eq!(sandbox.code_cache_trouble(), None);
    (plugin, sandbox)
}

#[test]
fn a_plugin_is_compiled_once_and_answers_the_same_from_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    // A component, and a core module that is adapted first.
    for (name, settings) in [("standard/standard", "{}".to_owned()), ("hostile/hostile-wasip1", behave("honest"))] {
        let bytes = wasm(name);
        let (first, _) = load(folder.path(), &bytes);
        let (second, _) = load(folder.path(), &bytes);
        assert_eq!((first.origin(), second.origin()), (Origin::Compiled, Origin::Cached), "{name}");
        assert_eq!(first.kinds(), second.kinds());
        assert_eq!(first.about(), second.about());
        assert_eq!(first.digest(), second.digest());
        let answers = [&first, &second].map(|plugin| {
            let outcome = plugin.select(&call(&run(), &settings, &Budget::default()), &page(20)).unwrap();
            (outcome.answer, outcome.fuel_used, outcome.peak_memory_bytes)
        });
        assert_eq!(answers[0], answers[1], "{name}");
    }
}

#[test]
fn a_cached_plugin_that_was_tampered_with_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = wasm("standard/standard");
    load(folder.path(), &bytes);
    let mut entries = std::fs::read_dir(folder.path().join("code")).unwrap().map(|entry| entry.unwrap().path());
    let entry = entries.find(|path| !path.ends_with("key")).unwrap();
    let mut file = std::fs::read(&entry).unwrap();
    let middle = file.len() / 2;
    file[middle] ^= 0x80;
    std::fs::write(&entry, &file).unwrap();
    let (plugin, _) = load(folder.path(), &bytes);
    assert_eq!(plugin.origin(), Origin::Compiled);
    let (plugin, _) = load(folder.path(), &bytes);
    assert_eq!(plugin.origin(), Origin::Cached);
}

#[test]
fn a_budget_holds_for_a_cached_plugin_too() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = wasm("standard/standard");
    let (_, sandbox) = load(folder.path(), &bytes);
    let small = Budget { file_size_bytes: bytes.len() as u64 - 1, ..Budget::default() };
    let error = sandbox.load(&bytes, &small).unwrap_err();
    assert!(error.to_string().contains("bytes"), "{error}");
}
