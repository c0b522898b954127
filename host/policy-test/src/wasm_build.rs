//! Building a plugin's crate for `wasm32-wasip2`: finds a toolchain, runs cargo, finds the file it made.
//!
//! Ways, in this order: the target is installed beside the compiler on the PATH; `rustup target add` gets it; a repository of
//! Longshore is at hand, whose `plugins/toolchain.sh` builds with Debian's compiler. Cargo writes what it has to say to standard
//! error as always. Failure: [`PolicyTestError::Tool`] says what was tried and what to do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::PolicyTestError;

/// The target that plugins are built for.
pub const TARGET: &str = "wasm32-wasip2";

/// How to build.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// The unoptimised build: quick to make, large and slow.
    pub debug: bool,
    /// Package of the workspace to build, if the folder has several.
    pub package: Option<String>,
    /// Refuse to change Cargo.lock.
    pub locked: bool,
    /// Never download: neither crates nor a target.
    pub offline: bool,
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Built {
    /// The component.
    pub file: PathBuf,
    /// Bytes of it.
    pub size_bytes: u64,
    /// How the target was had.
    pub toolchain: String,
}

/// A way to run cargo for the target.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Toolchain {
    /// The compiler on the PATH has the target.
    Installed,
    /// `plugins/toolchain.sh` of a repository.
    Script(PathBuf),
}

/// Builds the crate in a folder.
///
/// # Errors
/// When the folder is no crate that makes a plugin, no toolchain can be had, or the build fails.
pub fn build(folder: &Path, options: &BuildOptions) -> Result<Built, PolicyTestError> {
    let manifest = folder.join("Cargo.toml");
    check_manifest(&manifest)?;
    let toolchain = toolchain(folder, options)?;
    let mut command = match &toolchain {
        Toolchain::Installed => Command::new(cargo()),
        Toolchain::Script(script) => {
            let mut command = Command::new("bash");
            command.arg(script).arg("cargo");
            command
        }
    };
    command.args(["build", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    if !options.debug {
        command.arg("--release");
    }
    if let Some(package) = &options.package {
        command.args(["--package", package]);
    }
    if options.locked {
        command.arg("--locked");
    }
    if options.offline {
        command.arg("--offline");
    }
    // What cargo says goes where this process's errors go; the messages for programs come through a pipe.
    let ran = command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let ran = ran.map_err(|error| PolicyTestError::Tool(format!("cargo could not be started: {error}")))?;
    if !ran.status.success() {
        let what = format!("the build failed ({}); what cargo said stands above", ran.status);
        return Err(PolicyTestError::Tool(what));
    }
    let file = artifact(&String::from_utf8_lossy(&ran.stdout), folder)?;
    let size_bytes = std::fs::metadata(&file).map_err(|error| PolicyTestError::file(&file, error))?.len();
    let toolchain = match toolchain {
        Toolchain::Installed => format!("the {TARGET} target of the compiler on the PATH"),
        Toolchain::Script(script) => script.display().to_string(),
    };
    Ok(Built { file, size_bytes, toolchain })
}

/// A crate that makes no `cdylib` builds well and makes no component: said before a minute of compiling.
fn check_manifest(path: &Path) -> Result<(), PolicyTestError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let help = "name the folder of a plugin's crate, or make one with `longshore plugin new`";
        PolicyTestError::file(path, format!("{error}; {help}"))
    })?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| PolicyTestError::file(path, error.message()))?;
    let is_package = table.contains_key("package");
    let types = table.get("lib").and_then(|lib| lib.get("crate-type")).and_then(toml::Value::as_array);
    let is_cdylib = types.into_iter().flatten().any(|one| one.as_str() == Some("cdylib"));
    if is_package && !is_cdylib {
        let why = "the crate makes no component; write `crate-type = [\"cdylib\", \"rlib\"]` under [lib]";
        return Err(PolicyTestError::file(path, why));
    }
    Ok(())
}

/// Cargo itself says through CARGO which one it is, for commands that it runs.
fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn toolchain(folder: &Path, options: &BuildOptions) -> Result<Toolchain, PolicyTestError> {
    let Some(sysroot) = output(folder, "rustc", &["--print", "sysroot"]) else {
        let what = "rustc is not on the PATH; install Rust first: https://rustup.rs";
        return Err(PolicyTestError::Tool(what.to_owned()));
    };
    if has_target(Path::new(&sysroot)) {
        return Ok(Toolchain::Installed);
    }
    let script = script(folder);
    // What the script unpacked before is taken before anything is downloaded.
    if let Some(script) = &script
        && succeeds(Command::new("bash").arg(script).arg("status"))
    {
        return Ok(Toolchain::Script(script.clone()));
    }
    if !options.offline {
        let added = succeeds(Command::new("rustup").args(["target", "add", TARGET]).current_dir(folder));
        if added && has_target(Path::new(&sysroot)) {
            return Ok(Toolchain::Installed);
        }
        if let Some(script) = script {
            return Ok(Toolchain::Script(script));
        }
    }
    Err(PolicyTestError::Tool(format!(
        "the compiler on the PATH has no {TARGET}, and {}. Do one of these:\n  \
         rustup target add {TARGET}                      where rustup can reach its server\n  \
         plugins/toolchain.sh cargo build --release --target {TARGET}   with a copy of Longshore's repository on Debian; \
         `longshore plugin build` finds the script when it is run below that copy",
        if options.offline { "--offline forbids getting it" } else { "`rustup target add` did not get it" }
    )))
}

fn has_target(sysroot: &Path) -> bool {
    let library = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let entries = std::fs::read_dir(library).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

/// `plugins/toolchain.sh` of a repository that the crate, its SDK or the working folder is in.
fn script(folder: &Path) -> Option<PathBuf> {
    let sdk = std::fs::read_to_string(folder.join("Cargo.toml")).ok().and_then(|text| sdk_path(&text));
    let sdk = sdk.map(|path| folder.join(path));
    let starts = [Some(folder.to_owned()), sdk, std::env::current_dir().ok()];
    starts.into_iter().flatten().filter_map(|start| start.canonicalize().ok()).find_map(|start| {
        let scripts = start.ancestors().map(|above| above.join("plugins/toolchain.sh"));
        scripts.into_iter().find(|script| script.is_file())
    })
}

/// Where a manifest says that the SDK is.
fn sdk_path(manifest: &str) -> Option<PathBuf> {
    let table: toml::Table = toml::from_str(manifest).ok()?;
    let path = table.get("dependencies")?.get("longshore-plugin")?.get("path")?.as_str()?;
    Some(PathBuf::from(path))
}

fn output(folder: &Path, program: &str, arguments: &[&str]) -> Option<String> {
    let ran = Command::new(program).args(arguments).current_dir(folder).stdin(Stdio::null()).output().ok()?;
    ran.status.success().then(|| String::from_utf8_lossy(&ran.stdout).trim().to_owned())
}

fn succeeds(command: &mut Command) -> bool {
    let ran = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ran.is_ok_and(|status| status.success())
}

/// The component among the files that cargo says it made.
fn artifact(messages: &str, folder: &Path) -> Result<PathBuf, PolicyTestError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let kinds = message["target"]["kind"].as_array();
        let is_cdylib = kinds.into_iter().flatten().any(|kind| kind == "cdylib");
        if message["reason"] == "compiler-artifact" && is_cdylib {
            let names = message["filenames"].as_array().into_iter().flatten().filter_map(|name| name.as_str());
            files.extend(names.map(PathBuf::from).filter(|name| name.extension().is_some_and(|end| end == "wasm")));
        }
    }
    match files.as_slice() {
        [file] => Ok(file.clone()),
        [] => Err(PolicyTestError::file(folder, "cargo built it, but made no .wasm file; is its crate-type cdylib?")),
        several => {
            let names: Vec<String> = several.iter().map(|file| file.display().to_string()).collect();
            let what = format!("cargo made several plugins; choose one with --package:\n  {}", names.join("\n  "));
            Err(PolicyTestError::Tool(what))
        }
    }
}
