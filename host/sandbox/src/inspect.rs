//! What a file is, read from its outermost layer only, before anything is compiled.
//!
//! Failure: a file that is not WebAssembly, or is broken, is a [`Misfit`] in words; nothing here trusts a length it reads.

use wasmparser::{Parser, Payload};

use crate::explain::{self, Misfit};

/// A file that is WebAssembly of one of the two forms.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A component.
    Component(Surface),
    /// A core module.
    Module(ModuleShape),
}

/// Names a component imports and exports.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Surface {
    /// In order of appearance.
    pub(crate) imports: Vec<String>,
    /// In order of appearance.
    pub(crate) exports: Vec<String>,
}

/// What tells how a core module was built.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ModuleShape {
    /// It carries the bindings from which a component can be made.
    pub(crate) has_bindings: bool,
    /// Names of the modules it imports from, each once.
    pub(crate) import_modules: Vec<String>,
    /// Names it exports.
    pub(crate) exports: Vec<String>,
}

/// Names of the custom sections in which bindings are kept.
const BINDINGS_SECTION: &str = "component-type";

/// Reads what a file is.
pub(crate) fn shape(bytes: &[u8]) -> Result<Shape, Misfit> {
    if !bytes.starts_with(b"\0asm") {
        return Err(explain::not_wasm(bytes));
    }
    if Parser::is_component(bytes) {
        return surface(bytes).map(Shape::Component).map_err(|error| explain::broken(&error));
    }
    if Parser::is_core_wasm(bytes) {
        return module(bytes).map(Shape::Module).map_err(|error| explain::broken(&error));
    }
    Err(explain::unknown_encoding(bytes))
}

/// Names that the component itself imports and exports, without those of what is nested in it.
pub(crate) fn surface(bytes: &[u8]) -> Result<Surface, wasmparser::BinaryReaderError> {
    let mut surface = Surface::default();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { .. } => depth = depth.saturating_add(1),
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    surface.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    surface.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(surface)
}

fn module(bytes: &[u8]) -> Result<ModuleShape, wasmparser::BinaryReaderError> {
    let mut shape = ModuleShape::default();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let name = import?.module;
                    if shape.import_modules.last().is_none_or(|last| last != name) {
                        shape.import_modules.push(name.to_owned());
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    shape.exports.push(export?.name.to_owned());
                }
            }
            Payload::CustomSection(section) if section.name().starts_with(BINDINGS_SECTION) => {
                shape.has_bindings = true;
            }
            _ => {}
        }
    }
    shape.import_modules.sort();
    shape.import_modules.dedup();
    Ok(shape)
}
