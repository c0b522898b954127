//! Types of the contract as an author reads them.

use wit_bindgen_core::wit_parser::{Docs, Resolve, Type, TypeDefKind, TypeId};

/// A type in WIT, with the names of the contract.
pub(crate) fn written(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::U8 => "u8".to_owned(),
        Type::U16 => "u16".to_owned(),
        Type::U32 => "u32".to_owned(),
        Type::U64 => "u64".to_owned(),
        Type::S8 => "s8".to_owned(),
        Type::S16 => "s16".to_owned(),
        Type::S32 => "s32".to_owned(),
        Type::S64 => "s64".to_owned(),
        Type::F32 => "f32".to_owned(),
        Type::F64 => "f64".to_owned(),
        Type::Char => "char".to_owned(),
        Type::String => "string".to_owned(),
        Type::ErrorContext => "error-context".to_owned(),
        Type::Id(id) => named(resolve, *id),
    }
}

fn named(resolve: &Resolve, id: TypeId) -> String {
    let Some(definition) = resolve.types.get(id) else { return String::new() };
    match &definition.name {
        Some(name) => name.clone(),
        None => composed(resolve, &definition.kind),
    }
}

/// A type that is put together from others, or a name for another.
pub(crate) fn composed(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let written = |ty: &Type| written(resolve, ty);
    let maybe = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), written);
    match kind {
        TypeDefKind::Option(ty) => format!("option<{}>", written(ty)),
        TypeDefKind::List(ty) => format!("list<{}>", written(ty)),
        TypeDefKind::Result(result) => format!("result<{}, {}>", maybe(&result.ok), maybe(&result.err)),
        TypeDefKind::Tuple(tuple) => {
            format!("tuple<{}>", tuple.types.iter().map(written).collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Type(ty) => written(ty),
        other => other.as_str().to_owned(),
    }
}

/// Documentation as one paragraph.
pub(crate) fn sentence(docs: &Docs) -> String {
    let text = docs.contents.as_deref().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Documentation as it was written.
pub(crate) fn paragraphs(docs: &Docs) -> &str {
    docs.contents.as_deref().unwrap_or_default().trim()
}
