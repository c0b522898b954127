//! The reference for plugin authors: every interface, function and type of the contract, with what the contract says
//! about it.

use std::fmt::Write;

use wit_bindgen_core::wit_parser::{
    Docs, Function, Interface, InterfaceId, PackageId, Resolve, Type, TypeDef, TypeDefKind, TypeOwner, WorldId,
    WorldItem,
};

use crate::types::{composed, paragraphs, sentence, written};

const HEADER: &str =
    "<!-- Generated from wit/v0.1.0/policy.wit by `cargo run -p longshore-generate` in plugins/. Do not edit. -->\n\n";

/// The reference as Markdown. Interfaces, functions and types stand in the order of the contract.
pub(crate) fn reference(resolve: &Resolve, package: PackageId) -> String {
    let mut text = HEADER.to_owned();
    let Some(package) = resolve.packages.get(package) else { return text };
    put(&mut text, &format!("# The policy contract, `{}`\n\n{}\n\n", package.name, paragraphs(&package.docs)));
    put(
        &mut text,
        "## Worlds\n\nA plugin is a component of one of these worlds.\n\n| world | imports | exports |\n| --- | --- | --- |\n",
    );
    for (name, world) in &package.worlds {
        put(&mut text, &world_row(resolve, name, *world));
    }
    for (name, id) in &package.interfaces {
        if let Some(interface) = resolve.interfaces.get(*id) {
            put(&mut text, &section(resolve, name, *id, interface));
        }
    }
    text
}

/// Writing to a string cannot fail.
fn put(text: &mut String, part: &str) {
    let _ = text.write_str(part);
}

fn world_row(resolve: &Resolve, name: &str, world: WorldId) -> String {
    let Some(world) = resolve.worlds.get(world) else { return String::new() };
    let names = |items: Vec<&WorldItem>| {
        let interface = |item: &WorldItem| match item {
            WorldItem::Interface { id, .. } => resolve.interfaces.get(*id)?.name.clone(),
            _ => None,
        };
        items
            .into_iter()
            .filter_map(interface)
            .map(|name| format!("[`{name}`](#interface-{name})"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (imports, exports) = (names(world.imports.values().collect()), names(world.exports.values().collect()));
    format!("| `{name}` | {imports} | {exports} |\n")
}

fn section(resolve: &Resolve, name: &str, id: InterfaceId, interface: &Interface) -> String {
    let mut text = format!("\n## Interface `{name}`\n\n{}\n", paragraphs(&interface.docs));
    for (name, function) in &interface.functions {
        put(&mut text, &function_section(resolve, name, function));
    }
    for (name, type_id) in &interface.types {
        match resolve.types.get(*type_id) {
            // Names taken over from another interface stand there.
            Some(definition) if is_own(resolve, id, definition) => {
                put(&mut text, &type_section(resolve, name, definition))
            }
            _ => {}
        }
    }
    text
}

fn is_own(resolve: &Resolve, interface: InterfaceId, definition: &TypeDef) -> bool {
    let TypeDefKind::Type(Type::Id(other)) = &definition.kind else { return true };
    resolve.types.get(*other).is_none_or(|other| other.owner == TypeOwner::Interface(interface))
}

fn function_section(resolve: &Resolve, name: &str, function: &Function) -> String {
    let parameters: Vec<String> = function
        .params
        .iter()
        .map(|parameter| format!("{}: {}", parameter.name, written(resolve, &parameter.ty)))
        .collect();
    let result = function.result.as_ref().map(|ty| format!(" -> {}", written(resolve, ty))).unwrap_or_default();
    let signature = format!("{name}: func({}){result}", parameters.join(", "));
    format!("\n### Function `{name}`\n\n```wit\n{signature}\n```\n{}", described(&function.docs))
}

fn described(docs: &Docs) -> String {
    let text = paragraphs(docs);
    if text.is_empty() { String::new() } else { format!("\n{text}\n") }
}

fn type_section(resolve: &Resolve, name: &str, definition: &TypeDef) -> String {
    let (kind, rows) = match &definition.kind {
        TypeDefKind::Record(record) => {
            let row = |name: &str, ty: &Type, docs: &Docs| {
                format!("| `{name}` | `{}` | {} |\n", written(resolve, ty), sentence(docs))
            };
            let rows: String = record.fields.iter().map(|field| row(&field.name, &field.ty, &field.docs)).collect();
            ("Record", format!("\n| field | type | meaning |\n| --- | --- | --- |\n{rows}"))
        }
        TypeDefKind::Enum(cases) => {
            let rows: String =
                cases.cases.iter().map(|case| format!("| `{}` | {} |\n", case.name, sentence(&case.docs))).collect();
            ("Enum", format!("\n| case | meaning |\n| --- | --- |\n{rows}"))
        }
        TypeDefKind::Variant(variant) => {
            let of =
                |ty: &Option<Type>| ty.as_ref().map(|ty| format!("`{}`", written(resolve, ty))).unwrap_or_default();
            let row = |name: &str, ty: &Option<Type>, docs: &Docs| {
                format!("| `{name}` | {} | {} |\n", of(ty), sentence(docs))
            };
            let rows: String = variant.cases.iter().map(|case| row(&case.name, &case.ty, &case.docs)).collect();
            ("Variant", format!("\n| case | holds | meaning |\n| --- | --- | --- |\n{rows}"))
        }
        kind => ("Type", format!("\n```wit\ntype {name} = {}\n```\n", composed(resolve, kind))),
    };
    format!("\n### {kind} `{name}`\n{}{rows}", described(&definition.docs))
}
