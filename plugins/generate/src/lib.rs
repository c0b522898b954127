//! What is generated from `wit/v0.1.0` and committed: the reference for plugin authors, and the bindings that the example
//! policy in C is compiled with. A test says when a committed file is not what would be generated.
//!
//! The bindings are what the command `wit-bindgen c --world selection-policy wit/v0.1.0` of the crate `wit-bindgen-cli`
//! writes; its library is used instead, because this workspace has built most of it for the SDK already.

mod reference;
mod types;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::{PackageId, Resolve};

/// Where the contract is, in the repository.
const CONTRACT: &str = "wit/v0.1.0";
/// Where the bindings for C go, in the repository.
const C_BINDINGS: &str = "examples/policies/c/generated";
/// Where the reference goes, in the repository.
const REFERENCE: &str = "plugins/REFERENCE.md";

/// A generated file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Path in the repository, with `/` between folders.
    pub path: String,
    /// What stands in it.
    pub content: Vec<u8>,
}

/// The repository that this crate was built from.
///
/// # Errors
/// When this crate does not lie two folders below one.
pub fn repository() -> Result<PathBuf> {
    let up = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    Ok(up.context("this crate lies in the folder `plugins` of the repository")?.to_owned())
}

/// Everything that is generated, in order of path.
///
/// # Errors
/// When the contract cannot be read or is not WIT.
pub fn generated(repository: &Path) -> Result<Vec<Generated>> {
    let mut files = c_bindings(repository)?;
    let (resolve, package) = contract(repository)?;
    files.push(Generated { path: REFERENCE.to_owned(), content: reference::reference(&resolve, package).into_bytes() });
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn contract(repository: &Path) -> Result<(Resolve, PackageId)> {
    let mut resolve = Resolve::default();
    let folder = repository.join(CONTRACT);
    let (package, _) = resolve.push_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok((resolve, package))
}

fn c_bindings(repository: &Path) -> Result<Vec<Generated>> {
    let (mut resolve, package) = contract(repository)?;
    let world = resolve.select_world(&[package], Some("selection-policy"))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
    let named =
        |(name, content): (&str, &[u8])| Generated { path: format!("{C_BINDINGS}/{name}"), content: content.to_vec() };
    Ok(files.iter().map(named).collect())
}
