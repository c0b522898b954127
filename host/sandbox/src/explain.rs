//! Why a file is not a plugin, said as a compiler would: what it is, what is wrong with it, how to build it right.

use std::fmt::Write as _;

use longshore_model::PolicyKind;

use crate::inspect::{ModuleShape, Surface};
use crate::nearest::nearest;
use crate::text::{escaped, quoted};
use crate::{v0_1_0, wasi};

/// How a Rust plugin is built.
const BUILD: &str = "`rustup target add wasm32-wasip2 && cargo build --release --target wasm32-wasip2`";

/// Most names that are listed in a message.
const LISTED: usize = 12;

/// What is wrong with a file, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// What is wrong, as the rest of "… is not a usable plugin: ".
    pub(crate) what: String,
    /// What to do: a sentence.
    pub(crate) help: String,
}

impl Misfit {
    pub(crate) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }
}

/// The file does not begin as WebAssembly does.
pub(crate) fn not_wasm(bytes: &[u8]) -> Misfit {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let text = std::str::from_utf8(bytes.get(..bytes.len().min(64)).unwrap_or_default());
    let is = if bytes.is_empty() {
        "is empty".to_owned()
    } else if starts(b"PK\x03\x04") {
        "is a ZIP archive (or a program packed as one); unpack it and give the .wasm file in it".to_owned()
    } else if starts(b"\x1f\x8b") || starts(b"\x28\xb5\x2f\xfd") {
        "is compressed; decompress it first".to_owned()
    } else if starts(b"\x7fELF") || starts(b"MZ") || starts(b"\xcf\xfa\xed\xfe") || starts(b"\xca\xfe\xba\xbe") {
        "is a program or library for a real machine, not for the sandbox".to_owned()
    } else if starts(b"!<arch>\n") {
        "is a static library (.a or .rlib); the crate needs `crate-type = [\"cdylib\"]`".to_owned()
    } else if text.is_ok_and(|text| text.trim_start().starts_with('(')) {
        "is WebAssembly text (.wat); turn it into a binary first, for example with `wasm-tools parse`".to_owned()
    } else if let Ok(text) = text {
        format!("is text that begins with {}", quoted(escaped(text, 40).trim()))
    } else {
        let first: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("begins with the bytes {}, and WebAssembly begins with 00 61 73 6d", first.join(" "))
    };
    Misfit::new(format!("the file is not WebAssembly: it {is}"), format!("Build a Rust plugin with {BUILD}"))
}

/// WebAssembly of a version or layer that nobody knows.
pub(crate) fn unknown_encoding(bytes: &[u8]) -> Misfit {
    let version: Vec<String> = bytes.iter().skip(4).take(4).map(|byte| format!("{byte:02x}")).collect();
    let what = match version.len() {
        4 => format!("it is WebAssembly of an unknown version ({})", version.join(" ")),
        _ => "the file ends within its first eight bytes".to_owned(),
    };
    Misfit::new(what, format!("Build it again with {BUILD}, or copy it again if it was cut"))
}

/// The file breaks off or is damaged.
pub(crate) fn broken(error: &wasmparser::BinaryReaderError) -> Misfit {
    let what = format!("it is damaged or uses a feature this host does not run: {}", escaped(&error.to_string(), 256));
    Misfit::new(what, format!("Copy the file again, or build it again with {BUILD}"))
}

/// The file is larger than its budget.
pub(crate) fn too_large(bytes: usize, limit_bytes: u64) -> Misfit {
    let what = format!("it has {bytes} bytes, and {limit_bytes} are allowed");
    Misfit::new(
        what,
        "Build it with `--release`, `strip = true` and `opt-level = \"s\"`, or raise `file_size_bytes` in its budget",
    )
}

/// Compiling it would take more than its size lets expect.
pub(crate) fn too_complex(what: &str, found: u64, limit: u64) -> Misfit {
    let what = format!("it has {found} {what}, and {limit} are allowed");
    Misfit::new(
        what,
        "No compiler writes such code for a policy: build it with `--release`, or split what is generated",
    )
}

/// Compiling took too long.
pub(crate) fn too_slow(limit_ms: u64) -> Misfit {
    let what = format!("checking and compiling it took longer than {limit_ms} ms");
    Misfit::new(what, "Make the file smaller, or raise `compile_time_ms` in its budget")
}

/// A parser or the compiler panicked.
pub(crate) fn compiler_failed() -> Misfit {
    let help = "Report the file to the authors of Longshore; another build of it may do";
    Misfit::new("the compiler stumbled over it", help)
}

/// A core module from which no component can be made.
pub(crate) fn no_bindings(shape: &ModuleShape) -> Misfit {
    let has = |prefix: &str| shape.import_modules.iter().any(|name| name.starts_with(prefix));
    let built_for = if has("__wbindgen") || has("wbg") {
        "for a web browser (wasm-bindgen)"
    } else if has("gojs") || has("go") {
        "by Go for a web browser (GOOS=js)"
    } else if has("wasi_unstable") {
        "for a preview of WASI from before 2020"
    } else if has("wasi_snapshot_preview1") && shape.exports.iter().any(|name| name == "_start") {
        "as a program for wasm32-wasip1"
    } else if has("wasi_snapshot_preview1") {
        "for wasm32-wasip1"
    } else if has("env") {
        "for an unknown host, probably by Emscripten or clang"
    } else {
        "for wasm32-unknown-unknown or by hand"
    };
    let what = format!(
        "it is a core module built {built_for} and carries no bindings of longshore:policy, so the host cannot call it"
    );
    let help = "Write the policy against the crate `longshore-plugin` with `longshore_plugin::export!`, with \
                `crate-type = [\"cdylib\"]`, and build it with";
    Misfit::new(what, format!("{help} {BUILD}"))
}

/// A core module with bindings that do not fit together.
pub(crate) fn not_encodable(error: &anyhow::Error) -> Misfit {
    let what = format!("no component can be made from the core module: {}", escaped(&format!("{error:#}"), 512));
    Misfit::new(what, format!("Build it as a component with {BUILD}"))
}

/// Looks at what a component imports and exports; gives the kinds it serves, in order.
pub(crate) fn kinds(surface: &Surface) -> Result<Vec<PolicyKind>, Misfit> {
    let exports = |name: &str| surface.exports.iter().any(|export| export == name);
    let kinds: Vec<PolicyKind> = PolicyKind::ALL.into_iter().filter(|kind| exports(v0_1_0::interface(*kind))).collect();
    let versions = other_versions(surface);
    if !versions.is_empty() {
        let what = format!(
            "it was built for longshore:policy {}, and this host speaks {}",
            versions.join(" and "),
            v0_1_0::VERSION
        );
        return Err(Misfit::new(what, "Use a newer host, or build the plugin against the version this host speaks"));
    }
    if kinds.is_empty() {
        let list = listed(&surface.exports);
        let what = format!("it is a component, but none of its exports is a kind of policy: it exports {list}");
        let meant = surface.exports.iter().find_map(|export| meant_export(export));
        let meant = meant.map_or_else(String::new, |(export, kind)| {
            format!("Did you mean {} by {}? ", quoted(v0_1_0::interface(kind)), quoted(&escaped(export, 80)))
        });
        let help = format!(
            "{meant}Export at least one of {}, {} and {} with `longshore_plugin::export!`",
            v0_1_0::interface(PolicyKind::Selection),
            v0_1_0::interface(PolicyKind::Compression),
            v0_1_0::interface(PolicyKind::Placement)
        );
        return Err(Misfit::new(what, help));
    }
    if !exports(v0_1_0::ABOUT) {
        let what = format!("it does not say who it is: it does not export {}", v0_1_0::ABOUT);
        return Err(Misfit::new(what, "Export it beside the policy; `longshore_plugin::export!` does"));
    }
    unknown_imports(surface)?;
    Ok(kinds)
}

/// The kind that an export of a slightly other name was probably meant to be.
fn meant_export(export: &str) -> Option<(&str, PolicyKind)> {
    let word = export.split_once('@').map_or(export, |(name, _)| name);
    let word = word.rsplit_once('/').map_or(word, |(_, interface)| interface);
    let known = PolicyKind::ALL.iter().map(|kind| kind.as_str());
    // The name of a kind in another package is that kind, too.
    let near =
        PolicyKind::ALL.iter().map(|kind| kind.as_str()).find(|kind| *kind == word).or_else(|| nearest(word, known))?;
    PolicyKind::ALL.into_iter().find(|kind| kind.as_str() == near).map(|kind| (export, kind))
}

/// Versions of the contract, other than the one spoken here, that the component names.
fn other_versions(surface: &Surface) -> Vec<String> {
    let names = surface.exports.iter().chain(&surface.imports);
    let mut versions: Vec<String> = names
        .filter_map(|name| name.strip_prefix("longshore:policy/"))
        .map(|rest| rest.split_once('@').map_or("without a version", |(_, version)| version))
        .filter(|version| *version != v0_1_0::VERSION)
        .map(|version| escaped(version, 40))
        .collect();
    versions.sort();
    versions.dedup();
    versions
}

fn unknown_imports(surface: &Surface) -> Result<(), Misfit> {
    let unknown: Vec<String> = surface.imports.iter().filter(|name| !is_offered(name)).cloned().collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let what = format!("it imports {}, which the host does not offer to policies", listed(&unknown));
    let offered = || wasi::OFFERED.iter().copied().chain(v0_1_0::IMPORTS);
    let meant = |name: &String| nearest(name.split_once('@').map_or(name.as_str(), |(name, _)| name), offered());
    let hint = match (unknown.iter().find_map(|name| wasi_reason(name)), unknown.iter().find_map(meant)) {
        (Some(reason), _) => format!("{reason} "),
        (None, Some(meant)) => format!("Did you mean {}? ", quoted(meant)),
        (None, None) => String::new(),
    };
    Err(Misfit::new(
        what,
        format!("{hint}Take out the dependency that needs it; a policy gets facts and gives decisions"),
    ))
}

/// Why an import of WASI is not offered.
fn wasi_reason(name: &str) -> Option<&'static str> {
    if name.starts_with("wasi:http") {
        Some("Policies have no network.")
    } else if name.starts_with("wasi:") && name.contains("@0.3") {
        Some("This host offers WASI 0.2: build for wasm32-wasip2.")
    } else {
        None
    }
}

fn is_offered(import: &str) -> bool {
    if v0_1_0::IMPORTS.contains(&import) {
        return true;
    }
    import.split_once('@').is_some_and(|(name, version)| version.starts_with("0.2.") && wasi::OFFERED.contains(&name))
}

/// The component does not link, or its functions are not those of the contract.
pub(crate) fn wrong_types(error: &wasmtime::Error) -> Misfit {
    let what = format!("its imports or exports differ from the contract: {}", escaped(&format!("{error:#}"), 512));
    let help = format!("Build it against `wit/v{0}` or the crate `longshore-plugin` {0} with {BUILD}", v0_1_0::VERSION);
    Misfit::new(what, help)
}

/// Compiling failed.
pub(crate) fn not_compilable(error: &wasmtime::Error) -> Misfit {
    let what = format!("it cannot be compiled: {}", escaped(&format!("{error:#}"), 512));
    Misfit::new(what, format!("Build it again with {BUILD}"))
}

/// Names in backquotes, not too many.
fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let mut list = String::new();
    for (place, name) in names.iter().take(LISTED).enumerate() {
        // Writing into a String cannot fail.
        let _ = write!(list, "{}{}", if place == 0 { "" } else { ", " }, quoted(name));
    }
    if let Some(more) = names.len().checked_sub(LISTED).filter(|more| *more > 0) {
        let _ = write!(list, " and {more} more");
    }
    list
}
