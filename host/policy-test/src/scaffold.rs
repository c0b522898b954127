//! New crates: `longshore plugin new`.
//!
//! Contract: what is written builds for `wasm32-wasip2` and passes its native and sandboxed tests as it is. The SDK is no crate of a
//! registry, so a user who has only the binary gets it out of the binary: `vendor/longshore-plugin` and the contract in
//! `wit/`, both of the version that this host speaks, and a lock file with the versions they were tested with. That needs no
//! address and no network beyond the three crates of the registry, and never drifts from the host that wrote it. With `--sdk` the crate
//! points to a copy that is there, as one does inside the repository.
//!
//! Failure: the folder is written aside and renamed, so there is a whole crate or none.

use std::path::{Path, PathBuf};

use longshore_model::PolicyKind;
use serde::Serialize;

use crate::PolicyTestError;

/// Sources of the SDK, by path in its crate. A test holds the list to the folder.
pub(crate) const SDK: [(&str, &str); 20] = [
    ("src/answer.rs", include_str!("../../../plugins/sdk/src/answer.rs")),
    ("src/bindings.rs", include_str!("../../../plugins/sdk/src/bindings.rs")),
    ("src/carry.rs", include_str!("../../../plugins/sdk/src/carry.rs")),
    ("src/contract.rs", include_str!("../../../plugins/sdk/src/contract.rs")),
    ("src/cost.rs", include_str!("../../../plugins/sdk/src/cost.rs")),
    ("src/export.rs", include_str!("../../../plugins/sdk/src/export.rs")),
    ("src/facts.rs", include_str!("../../../plugins/sdk/src/facts.rs")),
    ("src/glue.rs", include_str!("../../../plugins/sdk/src/glue.rs")),
    ("src/heap.rs", include_str!("../../../plugins/sdk/src/heap.rs")),
    ("src/heap_of_guest.rs", include_str!("../../../plugins/sdk/src/heap_of_guest.rs")),
    ("src/heap_tests.rs", include_str!("../../../plugins/sdk/src/heap_tests.rs")),
    ("src/lib.rs", include_str!("../../../plugins/sdk/src/lib.rs")),
    ("src/log.rs", include_str!("../../../plugins/sdk/src/log.rs")),
    ("src/lookup.rs", include_str!("../../../plugins/sdk/src/lookup.rs")),
    ("src/pattern.rs", include_str!("../../../plugins/sdk/src/pattern.rs")),
    ("src/policy.rs", include_str!("../../../plugins/sdk/src/policy.rs")),
    ("src/region.rs", include_str!("../../../plugins/sdk/src/region.rs")),
    ("src/settings.rs", include_str!("../../../plugins/sdk/src/settings.rs")),
    ("src/time.rs", include_str!("../../../plugins/sdk/src/time.rs")),
    ("tests/glue.rs", include_str!("../../../plugins/sdk/tests/glue.rs")),
];
/// The contract, where the SDK's bindings look for it.
const WIT: &str = include_str!("../../../wit/v0.1.0/policy.wit");
/// Versions of the registry's crates that the SDK was tested with. Cargo takes out what a new crate does not need.
const LOCK: &str = include_str!("../../../plugins/Cargo.lock");
/// Where the version of the bindings generator is pinned.
const WORKSPACE: &str = include_str!("../../../plugins/Cargo.toml");

/// What to write.
#[derive(Debug, Clone)]
pub struct NewPlugin {
    /// Name of the policy and its crate.
    pub name: String,
    /// Kinds it decides.
    pub kinds: Vec<PolicyKind>,
    /// The new folder.
    pub folder: PathBuf,
    /// Folder of the SDK's crate; the SDK in this program, written into the crate, when there is none.
    pub sdk: Option<PathBuf>,
    /// Who writes it.
    pub author: String,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewCrate {
    /// The folder.
    pub folder: PathBuf,
    /// Its files, in order.
    pub files: Vec<String>,
    /// Where the SDK is, as the crate names it.
    pub sdk: String,
    /// The component that a build makes, below the folder.
    pub component: String,
}

impl NewPlugin {
    /// Writes the crate.
    ///
    /// # Errors
    /// When the name is none for a policy, the folder is there already, the SDK is not where it should be, or a file cannot be
    /// written.
    pub fn write(&self) -> Result<NewCrate, PolicyTestError> {
        check_name(&self.name)?;
        if self.folder.exists() {
            return Err(PolicyTestError::file(&self.folder, "it is there already; choose another name or --path"));
        }
        let sdk = self.sdk_path()?;
        let files = self.files(&sdk)?;
        let parent = self.folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(|error| PolicyTestError::file(parent, error))?;
        let staging = parent.join(format!(".{}.new-{}", self.name, std::process::id()));
        let written = write_all(&staging, &files).and_then(|()| {
            std::fs::rename(&staging, &self.folder).map_err(|error| PolicyTestError::file(&self.folder, error))
        });
        if written.is_err() {
            // What could not be finished is of no use to anybody; that it cannot be removed either is no news.
            let _ = std::fs::remove_dir_all(&staging);
        }
        written?;
        let names = files.into_iter().map(|(name, _)| name).collect();
        Ok(NewCrate { folder: self.folder.clone(), files: names, sdk, component: self.component() })
    }

    fn component(&self) -> String {
        format!("target/{}/release/{}.wasm", crate::wasm_build::TARGET, self.name.replace('-', "_"))
    }

    /// The SDK as the manifest names it.
    fn sdk_path(&self) -> Result<String, PolicyTestError> {
        let Some(sdk) = &self.sdk else { return Ok("vendor/longshore-plugin".to_owned()) };
        let text = std::fs::read_to_string(sdk.join("Cargo.toml")).map_err(|error| {
            PolicyTestError::file(
                sdk,
                format!("the SDK is not there: {error}; name the folder plugins/sdk of a repository"),
            )
        })?;
        if !text.contains("name = \"longshore-plugin\"") {
            return Err(PolicyTestError::file(
                sdk,
                "the crate there is not the SDK; name the folder plugins/sdk of a repository",
            ));
        }
        let absolute = sdk.canonicalize().map_err(|error| PolicyTestError::file(sdk, error))?;
        Ok(absolute.display().to_string())
    }

    fn files(&self, sdk: &str) -> Result<Vec<(String, String)>, PolicyTestError> {
        let parts: Vec<&Part> = PARTS.iter().filter(|part| self.kinds.contains(&part.kind)).collect();
        if parts.is_empty() {
            return Err(PolicyTestError::Tool("a policy decides something: choose a --kind".to_owned()));
        }
        let of = |pick: fn(&Part) -> String| parts.iter().map(|part| pick(part)).collect::<Vec<_>>();
        let about: Vec<&str> = parts.iter().map(|part| part.description).collect();
        let kinds = of(|part| part.kind.to_string());
        let mut modules = of(|part| format!("mod {};\n", part.kind));
        modules.sort();
        let words = [
            ("name", self.name.clone()),
            ("author", self.author.replace(['"', '\\'], "'")),
            ("description", about.join(" ")),
            ("kinds", kinds.join(", ")),
            ("modules", modules.concat()),
            (
                "fields",
                of(|part| format!("    /// {}\n    pub {}: {},", part.about, part.setting, part.rust_type)).join("\n"),
            ),
            ("defaults", of(|part| format!("            {}: {},", part.setting, part.rust_default)).join("\n")),
            ("settings", of(|part| format!("| `{}` | `{}` | {} |", part.setting, part.default, part.about)).join("\n")),
            ("sdk", sdk.replace('\\', "/")),
            ("wasm", self.component()),
        ];
        let fill = |template: &str| fill(template, &words);
        let mut files = vec![
            (".gitignore".to_owned(), "/target\n".to_owned()),
            ("Cargo.toml".to_owned(), fill(include_str!("../templates/Cargo.toml.txt"))),
            ("README.md".to_owned(), fill(include_str!("../templates/README.md.txt"))),
            ("cases/fuzz.toml".to_owned(), of(|part| part.always.to_owned()).join("\n")),
            ("src/lib.rs".to_owned(), fill(include_str!("../templates/lib.rs.txt"))),
            ("src/settings.schema.json".to_owned(), schema(&self.name, &parts)),
        ];
        for part in &parts {
            files.push((format!("src/{}.rs", part.kind), fill(part.source)));
            files.push((format!("cases/{}.toml", part.kind), part.case.to_owned()));
        }
        if self.sdk.is_none() {
            files.extend(vendored());
        }
        files.sort();
        Ok(files)
    }
}

/// The SDK, the contract and the lock file out of this program.
fn vendored() -> Vec<(String, String)> {
    let manifest = include_str!("../templates/sdk.Cargo.toml.txt").replace("{{wit_bindgen}}", &wit_bindgen());
    let mut files = vec![
        ("Cargo.lock".to_owned(), LOCK.to_owned()),
        ("vendor/longshore-plugin/Cargo.toml".to_owned(), manifest),
        ("wit/v0.1.0/policy.wit".to_owned(), WIT.to_owned()),
    ];
    files.extend(SDK.map(|(path, text)| (format!("vendor/longshore-plugin/{path}"), text.to_owned())));
    files
}

/// The version of the bindings generator that the SDK pins.
fn wit_bindgen() -> String {
    let table: toml::Table = WORKSPACE.parse().unwrap_or_default();
    let pinned = table.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let pinned = pinned.and_then(|dependencies| dependencies.get("wit-bindgen")?.get("version")?.as_str());
    pinned.unwrap_or("*").to_owned()
}

/// What a kind adds to a new crate.
struct Part {
    kind: PolicyKind,
    description: &'static str,
    source: &'static str,
    case: &'static str,
    always: &'static str,
    setting: &'static str,
    about: &'static str,
    rust_type: &'static str,
    rust_default: &'static str,
    default: &'static str,
    schema: &'static str,
}

const PARTS: [Part; 3] = [
    Part {
        kind: PolicyKind::Selection,
        description: "Leaves out collections that nobody writes to any more.",
        source: include_str!("../templates/selection.rs.txt"),
        case: include_str!("../templates/selection.case.txt"),
        always: include_str!("../templates/selection.fuzz.txt"),
        setting: "idle_after_days",
        about: "Days without a write after which a collection is idle.",
        rust_type: "u64",
        rust_default: "90",
        default: "90",
        schema: r#""type": "integer", "minimum": 1, "maximum": 36500, "default": 90"#,
    },
    Part {
        kind: PolicyKind::Compression,
        description: "Takes the fastest codec that saves enough.",
        source: include_str!("../templates/compression.rs.txt"),
        case: include_str!("../templates/compression.case.txt"),
        always: include_str!("../templates/compression.fuzz.txt"),
        setting: "minimum_saving_percent",
        about: "What a codec must save to be worth its time.",
        rust_type: "u64",
        rust_default: "5",
        default: "5",
        schema: r#""type": "integer", "minimum": 1, "maximum": 99, "default": 5"#,
    },
    Part {
        kind: PolicyKind::Placement,
        description: "Gives critical collections a copy in the cheapest other region.",
        source: include_str!("../templates/placement.rs.txt"),
        case: include_str!("../templates/placement.case.txt"),
        always: include_str!("../templates/placement.fuzz.txt"),
        setting: "critical_word",
        about: "The criticality that asks for a copy.",
        rust_type: "String",
        rust_default: "\"high\".to_owned()",
        default: "high",
        schema: r#""type": "string", "minLength": 1, "maxLength": 64, "default": "high""#,
    },
];

fn schema(name: &str, parts: &[&Part]) -> String {
    let properties: Vec<String> = parts
        .iter()
        .map(|part| format!("    \"{}\": {{ {}, \"description\": \"{}\" }}", part.setting, part.schema, part.about))
        .collect();
    format!(
        "{{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n  \"title\": \"Settings of the {name} policy\",\n  \
         \"type\": \"object\",\n  \"additionalProperties\": false,\n  \"properties\": {{\n{}\n  }}\n}}\n",
        properties.join(",\n")
    )
}

/// Puts words into the places of a template that name them.
fn fill(template: &str, words: &[(&str, String)]) -> String {
    words.iter().fold(template.to_owned(), |text, (name, word)| text.replace(&format!("{{{{{name}}}}}"), word))
}

/// A name that is good for a policy and a crate.
fn check_name(name: &str) -> Result<(), PolicyTestError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = name.len() <= 64
        && name.bytes().all(plain)
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && !["alloc", "core", "longshore-plugin", "proc-macro", "serde", "std", "test"].contains(&name);
    if good {
        return Ok(());
    }
    let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    Err(PolicyTestError::Tool(format!(
        "`{shown}` is no name for a policy: use up to 64 lower case letters, digits and hyphens, a letter first, for example \
         `cost-cap` (and not one that Rust or the SDK has already)"
    )))
}

fn write_all(folder: &Path, files: &[(String, String)]) -> Result<(), PolicyTestError> {
    for (name, text) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(|error| PolicyTestError::file(parent, error))?;
        std::fs::write(&path, text).map_err(|error| PolicyTestError::file(&path, error))?;
    }
    Ok(())
}
