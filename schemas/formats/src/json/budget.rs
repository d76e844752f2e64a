//! Whether explaining what is wrong with a document is affordable.
//!
//! The library remembers results when it only says yes or no, so that walk takes time in proportion to the document. The
//! walk that collects reasons does not remember: a schema that refers to itself from two alternatives makes it visit a
//! document of depth n two to the n times. So the visits are counted first, without evaluating anything, and above a
//! bound there is no explanation beyond "does not fit".

use serde_json::Value;

use super::documents::{Documents, Place};

/// Pairs of schema and value that an explanation may visit.
const MAX_VISITS: u32 = 20_000;
/// Nesting of schemas in one another while counting; documents are at most 128 levels deep.
const MAX_NESTING: u32 = 400;

/// Whether collecting reasons for `document` visits a bounded number of places.
pub(super) fn affordable(documents: &Documents, document: &Value) -> bool {
    let mut count = Count {
        documents,
        left: MAX_VISITS,
    };
    count.visit(documents.top(), document, 0).is_some()
}

struct Count<'a> {
    documents: &'a Documents,
    left: u32,
}

impl<'a> Count<'a> {
    /// `None` when the bound is reached, or a reference is of a kind that is not followed here.
    fn visit(&mut self, place: Place<'a>, value: &Value, nesting: u32) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        if nesting > MAX_NESTING {
            return None;
        }
        let Value::Object(keywords) = place.schema else {
            return Some(());
        };
        keywords.iter().try_for_each(|(keyword, inner)| {
            self.keyword(keyword, place.at(inner), value, nesting + 1)
        })
    }

    fn keyword(
        &mut self,
        keyword: &str,
        place: Place<'a>,
        value: &Value,
        nesting: u32,
    ) -> Option<()> {
        let inner = place.schema;
        match keyword {
            "$ref" => {
                let target = self.documents.follow(place.part, inner.as_str()?)?;
                self.visit(target, value, nesting)
            }
            "$dynamicRef" | "$recursiveRef" => None,
            "allOf" | "anyOf" | "oneOf" => inner
                .as_array()?
                .iter()
                .try_for_each(|branch| self.visit(place.at(branch), value, nesting)),
            "not" | "if" | "then" | "else" => self.visit(place, value, nesting),
            "dependentSchemas" | "dependencies" => inner
                .as_object()?
                .values()
                .try_for_each(|branch| self.visit(place.at(branch), value, nesting)),
            "properties" => inner.as_object()?.iter().try_for_each(|(name, property)| {
                value.get(name).map_or(Some(()), |member| {
                    self.visit(place.at(property), member, nesting)
                })
            }),
            "patternProperties" => inner
                .as_object()?
                .values()
                .try_for_each(|branch| self.members(place.at(branch), value, nesting)),
            "additionalProperties" | "unevaluatedProperties" => self.members(place, value, nesting),
            "items" | "prefixItems" if inner.is_array() => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let mut pairs = inner.as_array()?.iter().zip(items);
                pairs.try_for_each(|(branch, item)| self.visit(place.at(branch), item, nesting))
            }
            "items" | "additionalItems" | "unevaluatedItems" | "contains" => {
                let mut items = value.as_array().into_iter().flatten();
                items.try_for_each(|item| self.visit(place, item, nesting))
            }
            "propertyNames" => {
                let mut members = value.as_object().into_iter().flatten();
                members.try_for_each(|_| self.visit(place, &Value::Null, nesting))
            }
            _ => Some(()),
        }
    }

    fn members(&mut self, place: Place<'a>, value: &Value, nesting: u32) -> Option<()> {
        let mut members = value.as_object().into_iter().flatten();
        members.try_for_each(|(_, member)| self.visit(place, member, nesting))
    }
}
