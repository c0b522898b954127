//! What a file is made of, for tools that show it to its author. Nothing is compiled or run.

use wasmparser::{KnownCustom, Parser, Payload};

use crate::inspect::{self, Shape};
use crate::text::escaped;
use crate::{SandboxError, explain};

/// What kind of WebAssembly a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileForm {
    /// A component, as `wasm32-wasip2` makes them.
    Component,
    /// A core module that uses WASI preview 1, as `wasm32-wasip1` makes them; adapted when it is loaded.
    Wasip1Module,
    /// A core module without WASI; encoded when it is loaded.
    PlainModule,
}

impl FileForm {
    /// In a few words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Component => "component (wasm32-wasip2)",
            Self::Wasip1Module => "core module (wasm32-wasip1)",
            Self::PlainModule => "core module without WASI",
        }
    }
}

/// What a file is made of. Names come from the file; control characters in them are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// What kind of WebAssembly it is.
    pub form: FileForm,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// What it imports: interfaces of a component, modules of a core module.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Who made it, by its own word: (`language` or `processed-by` or `sdk`, name, version), each once.
    pub producers: Vec<(String, String, String)>,
    /// Bytes of machine-independent code.
    pub code_bytes: u64,
    /// Bytes of constant data.
    pub data_bytes: u64,
    /// Bytes of debug information and names of functions, which nothing at run time needs.
    pub debug_bytes: u64,
}

impl FileFacts {
    /// Reads what a file is made of.
    ///
    /// # Errors
    /// [`SandboxError::BadPlugin`] for a file that is not WebAssembly, or is damaged; the same words as when it is loaded.
    pub fn read(bytes: &[u8]) -> Result<Self, SandboxError> {
        Self::parse(bytes).map_err(|misfit| SandboxError::BadPlugin {
            plugin: "the file".to_owned(),
            what: misfit.what,
            help: misfit.help,
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self, explain::Misfit> {
        let (form, imports, exports) = match inspect::shape(bytes)? {
            Shape::Component(surface) => (FileForm::Component, surface.imports, surface.exports),
            Shape::Module(shape) => {
                let wasip1 = shape.import_modules.iter().any(|module| module == "wasi_snapshot_preview1");
                let form = if wasip1 { FileForm::Wasip1Module } else { FileForm::PlainModule };
                (form, shape.import_modules, shape.exports)
            }
        };
        let plain = |names: Vec<String>| names.iter().map(|name| escaped(name, 200)).collect();
        let mut facts = Self {
            form,
            size_bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            imports: plain(imports),
            exports: plain(exports),
            producers: Vec::new(),
            code_bytes: 0,
            data_bytes: 0,
            debug_bytes: 0,
        };
        facts.sections(bytes).map_err(|error| explain::broken(&error))?;
        facts.producers.sort();
        facts.producers.dedup();
        Ok(facts)
    }

    /// Adds up sections, those of nested modules included.
    fn sections(&mut self, bytes: &[u8]) -> Result<(), wasmparser::BinaryReaderError> {
        let length = |range: &std::ops::Range<usize>| u64::try_from(range.len()).unwrap_or(u64::MAX);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::CodeSectionStart { range, .. } => self.code_bytes += length(&range),
                Payload::DataSection(section) => self.data_bytes += length(&section.range()),
                Payload::CustomSection(section) => {
                    let name = section.name();
                    if name.starts_with(".debug") || name == "name" || name == "component-name" {
                        self.debug_bytes += length(&section.range());
                    }
                    if let KnownCustom::Producers(fields) = section.as_known() {
                        for field in fields {
                            let field = field?;
                            for value in field.values {
                                let value = value?;
                                let plain = |text: &str| escaped(text, 80);
                                self.producers.push((plain(field.name), plain(value.name), plain(value.version)));
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
