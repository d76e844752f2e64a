//! Whether explaining what is wrong with a document is affordable.
//!
//! The library remembers results when it only says yes or no, so that walk takes time in proportion to the document. The
//! walk that collects reasons does not remember: a schema that refers to itself from two alternatives makes it visit a
//! document of depth n two to the n times. So the visits are counted first, without evaluating anything, and above a
//! bound there is no explanation beyond "does not fit".

use serde_json::Value;

/// Pairs of schema and value that an explanation may visit.
const MAX_VISITS: u32 = 20_000;
/// Nesting of schemas in one another while counting; documents are at most 128 levels deep.
const MAX_NESTING: u32 = 400;

/// Whether collecting reasons for `document` visits a bounded number of places.
pub(crate) fn affordable(schema: &Value, document: &Value) -> bool {
    let mut count = Count {
        root: schema,
        left: MAX_VISITS,
    };
    count.visit(schema, document, 0).is_some()
}

struct Count<'a> {
    root: &'a Value,
    left: u32,
}

impl<'a> Count<'a> {
    /// `None` when the bound is reached, or a reference is of a kind that is not followed here.
    fn visit(&mut self, schema: &'a Value, value: &Value, nesting: u32) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        if nesting > MAX_NESTING {
            return None;
        }
        let Value::Object(keywords) = schema else {
            return Some(());
        };
        keywords
            .iter()
            .try_for_each(|(keyword, inner)| self.keyword(keyword, inner, value, nesting + 1))
    }

    fn keyword(
        &mut self,
        keyword: &str,
        inner: &'a Value,
        value: &Value,
        nesting: u32,
    ) -> Option<()> {
        match keyword {
            "$ref" => {
                let pointer = inner.as_str()?.strip_prefix('#')?;
                let target = self.root.pointer(pointer)?;
                self.visit(target, value, nesting)
            }
            "$dynamicRef" | "$recursiveRef" => None,
            "allOf" | "anyOf" | "oneOf" => inner
                .as_array()?
                .iter()
                .try_for_each(|branch| self.visit(branch, value, nesting)),
            "not" | "if" | "then" | "else" => self.visit(inner, value, nesting),
            "dependentSchemas" | "dependencies" => inner
                .as_object()?
                .values()
                .try_for_each(|branch| self.visit(branch, value, nesting)),
            "properties" => inner.as_object()?.iter().try_for_each(|(name, property)| {
                value
                    .get(name)
                    .map_or(Some(()), |member| self.visit(property, member, nesting))
            }),
            "patternProperties" => inner
                .as_object()?
                .values()
                .try_for_each(|branch| self.members(branch, value, nesting)),
            "additionalProperties" | "unevaluatedProperties" => self.members(inner, value, nesting),
            "items" | "prefixItems" if inner.is_array() => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let mut pairs = inner.as_array()?.iter().zip(items);
                pairs.try_for_each(|(branch, item)| self.visit(branch, item, nesting))
            }
            "items" | "additionalItems" | "unevaluatedItems" | "contains" => {
                let mut items = value.as_array().into_iter().flatten();
                items.try_for_each(|item| self.visit(inner, item, nesting))
            }
            "propertyNames" => {
                let mut members = value.as_object().into_iter().flatten();
                members.try_for_each(|_| self.visit(inner, &Value::Null, nesting))
            }
            _ => Some(()),
        }
    }

    fn members(&mut self, schema: &'a Value, value: &Value, nesting: u32) -> Option<()> {
        let mut members = value.as_object().into_iter().flatten();
        members.try_for_each(|(_, member)| self.visit(schema, member, nesting))
    }
}
