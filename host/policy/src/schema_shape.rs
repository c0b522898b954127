//! The shape a settings schema must have before anything is compiled from it.
//!
//! A schema comes from a plugin, so from a stranger. What is refused here would let a few bytes of schema cost
//! unbounded time: references that leave the document, references in a circle, and references to references that
//! stand for billions of values. Keywords that make `#/…` mean something else than a path from the root are refused too,
//! because the count below would then be wrong.

use std::collections::HashMap;

use serde_json::Value;

use crate::Limits;

/// Drafts of JSON Schema that are accepted in `$schema`.
const DRAFTS: [&str; 4] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2020-12/schema#",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-07/schema#",
];

/// Keywords that are not accepted anywhere in a settings schema.
const REFUSED: [&str; 5] = ["$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary"];

/// Checks the shape; an error is the sentence that says what is wrong and where.
pub(crate) fn check(schema: &Value, limits: &Limits) -> Result<(), String> {
    if !schema.is_object() {
        return Err("it is not a JSON object".to_owned());
    }
    let depth = crate::json::depth(schema);
    if depth > limits.schema_depth_levels {
        return Err(format!("it is nested {depth} levels deep, more than {}", limits.schema_depth_levels));
    }
    if let Some(draft) = schema.get("$schema")
        && !draft.as_str().is_some_and(|draft| DRAFTS.contains(&draft))
    {
        return Err("`$schema` is neither draft 2020-12 nor draft-07".to_owned());
    }
    let mut count = Expansion { root: schema, limits, counted: HashMap::new() };
    let values = count.of(schema, "", true)?;
    if values > limits.schema_expanded_values {
        return Err(format!(
            "with its references followed it stands for {values} values, more than {}",
            limits.schema_expanded_values
        ));
    }
    Ok(())
}

/// Counts the values a schema stands for.
struct Expansion<'a> {
    root: &'a Value,
    limits: &'a Limits,
    /// Values behind a reference; `None` while it is being counted.
    counted: HashMap<&'a str, Option<u64>>,
}

impl<'a> Expansion<'a> {
    fn of(&mut self, value: &'a Value, at: &str, is_root: bool) -> Result<u64, String> {
        let mut sum = 1_u64;
        match value {
            Value::Array(values) => {
                for (index, value) in values.iter().enumerate() {
                    sum = sum.saturating_add(self.of(value, &format!("{at}/{index}"), false)?);
                }
            }
            Value::Object(object) => {
                for (key, value) in object {
                    refuse_keyword(key, at, is_root)?;
                    let counted = if key == "$ref" {
                        self.behind_reference(value, at)?
                    } else {
                        self.of(value, &format!("{at}/{key}"), false)?
                    };
                    sum = sum.saturating_add(counted);
                }
            }
            _ => {}
        }
        Ok(sum)
    }

    fn behind_reference(&mut self, reference: &'a Value, at: &str) -> Result<u64, String> {
        let target = reference
            .as_str()
            .and_then(|text| text.strip_prefix('#'))
            .filter(|pointer| pointer.is_empty() || pointer.starts_with('/'))
            // Percent signs would make the same place have two spellings.
            .filter(|pointer| !pointer.contains('%'))
            .ok_or_else(|| format!("`$ref` at `{at}/$ref` is not a path within the schema, like `#/$defs/name`"))?;
        match self.counted.get(target) {
            Some(Some(values)) => return Ok(*values),
            Some(None) => return Err(format!("`$ref` at `{at}/$ref` leads back to itself")),
            None => {}
        }
        if self.counted.len() > self.limits.schema_bytes {
            return Err("it has too many references".to_owned());
        }
        let value = self.root.pointer(target).ok_or_else(|| format!("`$ref` at `{at}/$ref` leads nowhere"))?;
        self.counted.insert(target, None);
        let values = self.of(value, target, target.is_empty())?;
        self.counted.insert(target, Some(values));
        Ok(values)
    }
}

/// Keywords that would change what references mean.
fn refuse_keyword(key: &str, at: &str, is_root: bool) -> Result<(), String> {
    if REFUSED.contains(&key) || (!is_root && (key == "$id" || key == "$schema")) {
        return Err(format!("`{key}` at `{at}/{key}` is not supported in a settings schema"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn problem(schema: &Value) -> String {
        check(schema, &Limits::DEFAULT).unwrap_err()
    }

    #[test]
    fn an_ordinary_schema_with_definitions_is_accepted() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": {"a": {"$ref": "#/$defs/days"}, "b": {"$ref": "#/$defs/days"}},
            "$defs": {"days": {"type": "integer", "minimum": 1}}
        });
        check(&schema, &Limits::DEFAULT).unwrap();
    }

    #[test]
    fn references_out_of_the_document_in_circles_or_to_nothing_are_refused() {
        insta::assert_snapshot!(problem(&json!({"$ref": "https://example.com/s.json"})), @"`$ref` at `/$ref` is not a path within the schema, like `#/$defs/name`");
        insta::assert_snapshot!(problem(&json!({"$ref": "#name"})), @"`$ref` at `/$ref` is not a path within the schema, like `#/$defs/name`");
        insta::assert_snapshot!(problem(&json!({"$ref": "#"})), @"`$ref` at `/$ref` leads back to itself");
        insta::assert_snapshot!(problem(&json!({"$ref": "#/$defs/a"})), @"`$ref` at `/$ref` leads nowhere");
        let circle = json!({"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}}});
        insta::assert_snapshot!(problem(&circle), @"`$ref` at `/$defs/b/not/$ref` leads back to itself");
    }

    #[test]
    fn a_schema_that_stands_for_billions_of_values_is_refused_at_once() {
        let mut definitions = serde_json::Map::new();
        definitions.insert("d0".to_owned(), json!({"type": "object"}));
        for level in 1..200 {
            let below = format!("#/$defs/d{}", level - 1);
            definitions.insert(format!("d{level}"), json!({"allOf": [{"$ref": below}, {"$ref": below}]}));
        }
        let schema = json!({"$defs": definitions, "$ref": "#/$defs/d199"});
        insta::assert_snapshot!(problem(&schema), @"with its references followed it stands for 18446744073709551615 values, more than 100000");
    }

    #[test]
    fn depth_draft_and_strange_keywords_are_checked() {
        let mut deep = json!({});
        for _ in 0..40 {
            deep = json!({"not": deep});
        }
        insta::assert_snapshot!(problem(&deep), @"it is nested 41 levels deep, more than 32");
        insta::assert_snapshot!(problem(&json!(true)), @"it is not a JSON object");
        insta::assert_snapshot!(problem(&json!({"$schema": "http://json-schema.org/draft-04/schema#"})), @"`$schema` is neither draft 2020-12 nor draft-07");
        insta::assert_snapshot!(problem(&json!({"not": {"$id": "x"}})), @"`$id` at `/not/$id` is not supported in a settings schema");
        insta::assert_snapshot!(problem(&json!({"$dynamicRef": "#"})), @"`$dynamicRef` at `/$dynamicRef` is not supported in a settings schema");
    }
}
