//! `longshore plugin new` and `build`: from nothing to a component.

use std::path::{Path, PathBuf};

use longshore_model::PolicyKind;
use longshore_policy_test::NewPlugin;
use longshore_policy_test::wasm_build::{BuildOptions, build};
use serde_json::json;

use super::load;
use crate::Exit;
use crate::args::{KindArgument, PluginBuild, PluginNew};
use crate::output::{Output, number};

pub(crate) fn new(arguments: PluginNew, output: Output) -> anyhow::Result<Exit> {
    let kinds = arguments.kind.iter().map(|kind| match kind {
        KindArgument::Selection => PolicyKind::Selection,
        KindArgument::Compression => PolicyKind::Compression,
        KindArgument::Placement => PolicyKind::Placement,
    });
    let plugin = NewPlugin {
        kinds: kinds.collect(),
        folder: arguments.path.unwrap_or_else(|| PathBuf::from(&arguments.name)),
        name: arguments.name,
        sdk: arguments.sdk,
        author: arguments.author.or_else(git_author).unwrap_or_else(|| "Unknown".to_owned()),
    };
    let made = plugin.write()?;
    output.result(&serde_json::to_value(&made)?, || {
        let own: Vec<&String> = made.files.iter().filter(|name| !name.starts_with("vendor/")).collect();
        let own: Vec<String> = own.into_iter().map(|name| format!("  {name}")).collect();
        let folder = made.folder.display();
        format!(
            "{folder}\n{}\n  {}/ (the SDK)\n\nNext:\n  cd {folder}\n  cargo test\n  longshore plugin build\n  longshore plugin test {}",
            own.join("\n"),
            made.sdk,
            made.component
        )
    });
    Ok(Exit::Done)
}

/// Who commits here, if git knows.
fn git_author() -> Option<String> {
    let ran = std::process::Command::new("git").args(["config", "user.name"]).output().ok()?;
    let name = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    (ran.status.success() && !name.is_empty() && name.len() <= 100 && !name.chars().any(char::is_control))
        .then_some(name)
}

pub(crate) fn compile(arguments: &PluginBuild, code_cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    let options = BuildOptions {
        debug: arguments.debug,
        package: arguments.package.clone(),
        locked: arguments.locked,
        offline: arguments.offline,
    };
    let built = build(&arguments.folder, &options)?;
    let file = shown(&built.file);
    // A file that no host would load is no good build.
    let plugin = load(&file.display().to_string(), &arguments.budget.budget, code_cache)?;
    let about = plugin.about();
    let kinds: Vec<&str> = plugin.kinds().iter().map(|kind| kind.as_str()).collect();
    let value = json!({
        "file": file, "sizeBytes": built.size_bytes, "digest": plugin.digest(), "name": about.name,
        "version": about.version, "kinds": kinds, "toolchain": built.toolchain,
    });
    output.result(&value, || {
        format!(
            "{} {} decides {}\nfile    {}\nsize    {} bytes\ndigest  {}\nbuilt with {}",
            about.name,
            about.version,
            kinds.join(", "),
            file.display(),
            number(built.size_bytes),
            plugin.digest(),
            built.toolchain
        )
    });
    Ok(Exit::Done)
}

/// Relative to the working folder, where it lies below it: to be typed again.
fn shown(file: &Path) -> PathBuf {
    let here = std::env::current_dir().ok().and_then(|here| here.canonicalize().ok());
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    here.and_then(|here| file.strip_prefix(here).ok().map(Path::to_owned)).unwrap_or(file)
}
