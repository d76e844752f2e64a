//! Arrays: the first items, each with a schema of its own, and the rest.

use serde_json::Value;

use super::Diff;
use super::view::View;

/// Items by their place, and what the rest has to be; nothing for anything.
fn parts(view: View<'_>) -> (&[Value], Option<&'static str>) {
    match view.get("items") {
        Some(Value::Array(first)) => (first, Some("additionalItems")),
        items => (view.list("prefixItems"), items.map(|_| "items")),
    }
}

impl<'a> Diff<'a> {
    pub(super) fn arrays(&mut self, old: View<'a>, new: View<'a>) {
        self.required_type(old, new);
        self.items(old, new);
        self.rest(old, new, "unevaluatedItems", "UNEVALUATED_ITEMS");
        self.optional("contains", old, new);
        let bounds = [
            ("maxItems", "MAX_ITEMS"),
            ("minItems", "MIN_ITEMS"),
            ("maxContains", "MAX_CONTAINS"),
            ("minContains", "MIN_CONTAINS"),
        ];
        self.bounds(old, new, &bounds);
        let unique = |view: View<'_>| view.get("uniqueItems") == Some(&Value::Bool(true));
        if unique(new) && !unique(old) {
            let message = "items could be equal and have to differ";
            self.add_at("uniqueItems", "UNIQUE_ITEMS_ADDED", message);
        }
    }

    fn items(&mut self, old: View<'a>, new: View<'a>) {
        let ((first_old, rest_old), (first_new, rest_new)) = (parts(old), parts(new));
        let rest = |view: View<'a>, keyword: Option<&str>| {
            let schema = keyword.and_then(|keyword| view.sub(keyword));
            schema.filter(|schema| !Self::free(*schema))
        };
        let (others_old, others_new) = (rest(old, rest_old), rest(new, rest_new));
        let none = |view: Option<View<'a>>| view.is_some_and(|view| view.words() == "nothing");
        for at in 0..first_old.len().max(first_new.len()) {
            let (was, is) = (first_old.get(at), first_new.get(at));
            self.at("items", |diff| {
                diff.at(&at.to_string(), |diff| match (was, is) {
                    (Some(was), Some(is)) => diff.pair(old.within(was), new.within(is)),
                    (Some(was), None) => diff.item_removed(old.within(was), others_new),
                    (None, Some(is)) => diff.item_added(others_old, new.within(is)),
                    (None, None) => {}
                });
            });
        }
        // One schema for all items is compared as that registry does; behind first items it is `additionalItems`.
        let lists = first_old.is_empty() && first_new.is_empty();
        match (others_old, others_new) {
            (_, None) => {}
            (Some(was), Some(is)) => {
                let keyword = if lists { "items" } else { "additionalItems" };
                if !none(Some(was)) {
                    self.at(keyword, |diff| diff.pair(was, is));
                }
            }
            (None, Some(is)) if lists => {
                let message = format!("items could be anything and are {}", is.words());
                self.add_at("items", "SCHEMA_ADDED", message);
            }
            (None, Some(is)) => {
                let (kind, words) = if none(Some(is)) {
                    ("ADDITIONAL_ITEMS_REMOVED", "not allowed".to_owned())
                } else {
                    ("ADDITIONAL_ITEMS_NARROWED", is.words())
                };
                let message = format!("further items could be anything and are {words}");
                self.add_at("additionalItems", kind, message);
            }
        }
    }

    fn item_removed(&mut self, was: View<'a>, others: Option<View<'a>>) {
        let Some(others) = others else {
            return;
        };
        if others.words() == "nothing" {
            if was.words() != "nothing" {
                let message = format!("the item was {} and is not allowed any more", was.words());
                self.add("ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL", message);
            }
        } else if !self.gets_along(was, others) {
            self.pair(was, others);
            let message = format!(
                "the item was {} and further items have to be {}",
                was.words(),
                others.words()
            );
            self.add(
                "ITEM_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
                message,
            );
        }
    }

    fn item_added(&mut self, others: Option<View<'a>>, is: View<'a>) {
        let words = is.words();
        match others {
            None if Self::free(is) => {}
            None => {
                let message = format!("the item could be anything and is {words}");
                self.add("ITEM_ADDED_TO_OPEN_CONTENT_MODEL", message);
            }
            Some(others) => {
                if !self.gets_along(others, is) {
                    self.pair(others, is);
                    let message = format!("the item was {} and is {words}", others.words());
                    self.add(
                        "ITEM_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
                        message,
                    );
                }
            }
        }
    }
}
