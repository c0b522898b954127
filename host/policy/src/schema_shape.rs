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
    if let Some(draft) = schema.get("$schema")
        && !draft.as_str().is_some_and(|draft| DRAFTS.contains(&draft))
    {
        return Err("`$schema` is neither draft 2020-12 nor draft-07".to_owned());
    }
    let mut expansion = Expansion { root: schema, limits, counted: HashMap::new() };
    let size = expansion.of(schema, "", 1)?;
    if size.values > limits.schema_expanded_values {
        return Err(format!(
            "with its references followed it stands for {} values, more than {}",
            size.values, limits.schema_expanded_values
        ));
    }
    Ok(())
}

/// How large a value is with its references followed.
#[derive(Clone, Copy)]
struct Size {
    values: u64,
    levels: usize,
}

/// Measures a schema with its references followed.
struct Expansion<'a> {
    root: &'a Value,
    limits: &'a Limits,
    /// Size of what is behind a reference; `None` while it is being measured.
    counted: HashMap<&'a str, Option<Size>>,
}

impl<'a> Expansion<'a> {
    /// Measures a value that lies on `level`. The level is checked on the way down, so that neither this nor the
    /// schema compiler, which goes the same way, can run out of stack.
    fn of(&mut self, value: &'a Value, at: &str, level: usize) -> Result<Size, String> {
        self.check_level(level)?;
        let mut size = Size { values: 1, levels: 1 };
        let mut add = |inner: Size| {
            size.values = size.values.saturating_add(inner.values);
            size.levels = size.levels.max(inner.levels.saturating_add(1));
        };
        match value {
            Value::Array(values) => {
                for (index, value) in values.iter().enumerate() {
                    add(self.of(value, &format!("{at}/{index}"), level + 1)?);
                }
            }
            Value::Object(object) => {
                for (key, value) in object {
                    refuse_keyword(key, at)?;
                    add(if key == "$ref" {
                        self.behind_reference(value, at, level + 1)?
                    } else {
                        self.of(value, &format!("{at}/{key}"), level + 1)?
                    });
                }
            }
            _ => {}
        }
        Ok(size)
    }

    fn behind_reference(&mut self, reference: &'a Value, at: &str, level: usize) -> Result<Size, String> {
        let target = reference
            .as_str()
            .and_then(|text| text.strip_prefix('#'))
            .filter(|pointer| pointer.is_empty() || pointer.starts_with('/'))
            // Percent signs would give the same place two spellings.
            .filter(|pointer| !pointer.contains('%'))
            .ok_or_else(|| format!("`$ref` at `{at}/$ref` is not a path within the schema, like `#/$defs/name`"))?;
        match self.counted.get(target) {
            Some(Some(size)) => {
                let size = *size;
                self.check_level(level.saturating_add(size.levels) - 1)?;
                return Ok(size);
            }
            Some(None) => return Err(format!("`$ref` at `{at}/$ref` leads back to itself")),
            None => {}
        }
        let value = self.root.pointer(target).ok_or_else(|| format!("`$ref` at `{at}/$ref` leads nowhere"))?;
        self.counted.insert(target, None);
        let size = self.of(value, target, level)?;
        self.counted.insert(target, Some(size));
        Ok(size)
    }

    fn check_level(&self, level: usize) -> Result<(), String> {
        if level > self.limits.schema_depth_levels {
            let limit = self.limits.schema_depth_levels;
            return Err(format!("with its references followed it is nested more than {limit} levels deep"));
        }
        Ok(())
    }
}

/// Keywords that would change what references mean.
fn refuse_keyword(key: &str, at: &str) -> Result<(), String> {
    if REFUSED.contains(&key) || (!at.is_empty() && (key == "$id" || key == "$schema")) {
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
        insta::assert_snapshot!(problem(&circle), @"`$ref` at `/$defs/a/not/$ref` leads back to itself");
    }

    #[test]
    fn a_schema_that_stands_for_billions_of_values_is_refused_at_once() {
        let mut definitions = serde_json::Map::new();
        definitions.insert("d0".to_owned(), json!({"type": "object"}));
        for level in 1..9 {
            let below = json!({"$ref": format!("#/$defs/d{}", level - 1)});
            definitions.insert(format!("d{level}"), json!({"allOf": vec![below; 100]}));
        }
        let schema = json!({"$defs": definitions, "$ref": "#/$defs/d8"});
        insta::assert_snapshot!(problem(&schema), @"with its references followed it stands for 60912151821242722 values, more than 100000");
    }

    #[test]
    fn a_chain_of_references_that_could_use_up_the_stack_is_refused() {
        let chain = |links: usize| {
            let mut definitions = serde_json::Map::new();
            definitions.insert("d0".to_owned(), json!({"type": "object"}));
            for level in 1..links {
                definitions.insert(format!("d{level}"), json!({"$ref": format!("#/$defs/d{}", level - 1)}));
            }
            json!({"$defs": definitions})
        };
        check(&chain(20), &Limits::DEFAULT).unwrap();
        insta::assert_snapshot!(problem(&chain(1_000)), @"with its references followed it is nested more than 32 levels deep");
    }

    #[test]
    fn depth_draft_and_strange_keywords_are_checked() {
        let mut deep = json!({});
        for _ in 0..40 {
            deep = json!({"not": deep});
        }
        insta::assert_snapshot!(problem(&deep), @"with its references followed it is nested more than 32 levels deep");
        insta::assert_snapshot!(problem(&json!(true)), @"it is not a JSON object");
        insta::assert_snapshot!(problem(&json!({"$schema": "http://json-schema.org/draft-04/schema#"})), @"`$schema` is neither draft 2020-12 nor draft-07");
        insta::assert_snapshot!(problem(&json!({"not": {"$id": "x"}})), @"`$id` at `/not/$id` is not supported in a settings schema");
        insta::assert_snapshot!(problem(&json!({"$dynamicRef": "#"})), @"`$dynamicRef` at `/$dynamicRef` is not supported in a settings schema");
    }
}
