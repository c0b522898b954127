//! The schema of a collection as it is sent back to a server: the bytes that a server sent, with another name and without the
//! time to live. What is in them that this version does not know stays as it is.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, encode_key, encode_varint, skip_field};

use crate::milvus::proto::common::KeyValuePair;

/// Numbers of fields in `schema.CollectionSchema`.
const NAME: u32 = 1;
const PROPERTIES: u32 = 6;
/// The property that no restored collection has (DESIGN §7): rows would vanish again.
const TIME_TO_LIVE: &str = "collection.ttl.seconds";

/// Whether a property goes into a restored collection.
pub(super) fn is_restored(key: &str) -> bool {
    key != TIME_TO_LIVE
}

/// `None` when the bytes are no message.
pub(super) fn renamed(schema: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(schema.len() + name.len());
    encode_key(NAME, WireType::LengthDelimited, &mut bytes);
    encode_varint(name.len() as u64, &mut bytes);
    bytes.extend(name.as_bytes());
    let mut rest = schema;
    while !rest.is_empty() {
        let start = rest;
        let (field, kind) = decode_key(&mut rest).ok()?;
        let after_key = rest;
        skip_field(kind, field, &mut rest, DecodeContext::default()).ok()?;
        let whole = start.get(..start.len() - rest.len())?;
        let is_left_out = field == NAME || (field == PROPERTIES && is_time_to_live(after_key));
        if !is_left_out {
            bytes.extend(whole);
        }
    }
    Some(bytes)
}

/// Whether a property, its length first, is the time to live.
fn is_time_to_live(mut bytes: &[u8]) -> bool {
    KeyValuePair::decode_length_delimited(&mut bytes).is_ok_and(|pair| !is_restored(&pair.key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::milvus::proto::schema::{CollectionSchema, FieldSchema};

    #[test]
    fn everything_but_name_and_time_to_live_stays_and_so_do_unknown_fields() {
        let pair = |key: &str| KeyValuePair { key: key.to_owned(), value: "7".to_owned() };
        let field =
            FieldSchema { name: "id".to_owned(), field_id: 100, is_primary_key: true, ..FieldSchema::default() };
        let schema = CollectionSchema {
            name: "docs".to_owned(),
            description: "d".to_owned(),
            fields: vec![field],
            properties: vec![pair("collection.ttl.seconds"), pair("mmap.enabled")],
            ..CollectionSchema::default()
        };
        // Field 999, which no schema has today, with three bytes.
        let unknown = [0xba, 0x3e, 3, 1, 2, 3];
        let bytes = [schema.encode_to_vec(), unknown.to_vec()].concat();
        let renamed = renamed(&bytes, "docs_copy").unwrap();
        let expected =
            CollectionSchema { name: "docs_copy".to_owned(), properties: vec![pair("mmap.enabled")], ..schema };
        assert_eq!(CollectionSchema::decode(renamed.as_slice()).unwrap(), expected);
        assert!(renamed.ends_with(&unknown));
        assert_eq!(super::renamed(&[0xff], "x"), None);
        assert_eq!(super::renamed(&[0x0a, 200, 1], "x"), None);
    }
}
