//! `authorization { }` and the flags `--user --pass --auth`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::conf::Data;
use crate::flags::Flags;
use crate::problem::Problem;

use super::keys::{AUTHORIZATION, USER};
use super::table::{Notes, Table};
use super::{Authorization, Secret, UserEntry};

/// Who may connect, and the time they have to say who they are.
pub(super) fn load(
    top: &Table<'_>,
    flags: &Flags,
    notes: &Notes,
) -> (Authorization, Option<Duration>) {
    let entry = top.entry("authorization");
    let block = entry.and_then(|entry| top.block(&entry.value, AUTHORIZATION, "`authorization`"));
    let timeout = block.as_ref().and_then(|block| block.duration("timeout"));
    let from_flags = from_flags(flags, notes);
    let from_file = block.map(|block| from_file(&block)).unwrap_or_default();
    (from_flags.unwrap_or(from_file), timeout)
}

fn from_flags(flags: &Flags, notes: &Notes) -> Option<Authorization> {
    let note = |message: &str| notes.borrow_mut().push(Problem::new(None, message));
    match (&flags.user, &flags.pass, &flags.auth) {
        (None, None, None) => None,
        (None, None, Some(token)) => Some(Authorization::Token(token.clone())),
        (Some(name), Some(password), None) => Some(Authorization::Users(vec![UserEntry {
            name: name.clone(),
            password: password.clone(),
        }])),
        (_, _, Some(_)) => {
            note("flag `--auth` cannot go together with `--user` and `--pass`; give one of them");
            None
        }
        _ => {
            note("flags `--user` and `--pass` need each other");
            None
        }
    }
}

fn from_file(block: &Table<'_>) -> Authorization {
    let token = block.secret("token");
    let single = user(block);
    let users = users(block);
    let given: Vec<_> = ["token", "user", "users"]
        .iter()
        .filter_map(|key| block.entry(key))
        .collect();
    if let [first, second, ..] = given.as_slice() {
        let message = format!(
            "`{}` and `{}` cannot go together; give one of them",
            first.key, second.key
        );
        block.note(&second.at, message);
    }
    match (token, single, users) {
        (Some(token), _, _) => Authorization::Token(token),
        (None, Some(user), _) => Authorization::Users(vec![user]),
        (None, None, Some(users)) => Authorization::Users(users),
        (None, None, None) => Authorization::None,
    }
}

/// `user` and `password` of a block; both or none.
fn user(block: &Table<'_>) -> Option<UserEntry> {
    match (block.entry("user"), block.entry("password")) {
        (None, None) => None,
        (Some(entry), None) => {
            block.note(&entry.at, "a user needs a `password`");
            None
        }
        (None, Some(entry)) => {
            block.note(&entry.at, "a `password` needs a `user`");
            None
        }
        (Some(entry), Some(_)) => {
            let name = block.text("user").filter(|name| {
                if name.is_empty() {
                    block.note(&entry.value.at, "the user's name is empty");
                }
                !name.is_empty()
            });
            let password: Option<Secret> = block.secret("password");
            Some(UserEntry {
                name: name?,
                password: password?,
            })
        }
    }
}

fn users(block: &Table<'_>) -> Option<Vec<UserEntry>> {
    let entry = block.entry("users")?;
    let Data::List(items) = &entry.value.data else {
        block.note(
            &entry.value.at,
            "`users` must be a list `[ { user: …, password: … } ]`",
        );
        return None;
    };
    let mut names = BTreeSet::new();
    let mut users = Vec::new();
    for item in items {
        let Some(table) = block.block(item, USER, "a user") else {
            continue;
        };
        match user(&table) {
            Some(user) if names.insert(user.name.clone()) => users.push(user),
            Some(user) => block.note(&item.at, format!("user `{}` stands twice", user.name)),
            None if table.entry("user").is_none() && table.entry("password").is_none() => {
                block.note(&item.at, "a user needs `user` and `password`");
            }
            None => {}
        }
    }
    if items.is_empty() {
        block.note(&entry.value.at, "`users` is empty: nobody could connect");
    }
    Some(users)
}
