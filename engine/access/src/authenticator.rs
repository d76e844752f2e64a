//! The configured credentials and the one decision over them.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// One user an operator configured. `Debug` never shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// What the client sends as `user`.
    pub name: String,
    /// What the client must send as `pass`, in clear text.
    pub password: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a client sent in CONNECT. `Debug` never shows the password or token.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// `user`.
    pub user: Option<&'a str>,
    /// `pass`.
    pub pass: Option<&'a str>,
    /// `auth_token`.
    pub token: Option<&'a str>,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("pass", &self.pass.is_some())
            .field("token", &self.token.is_some())
            .finish()
    }
}

/// The answer to one attempt to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Let in.
    Allow {
        /// The user's name; none when nothing is configured or a token was used.
        user: Option<String>,
    },
    /// Close with `Authorization Violation`. Why is not said: that would help a guesser.
    Deny,
}

/// The credentials this server accepts. Cheap to clone; immutable, a reload builds a new one.
///
/// Secrets are kept as SHA-256 digests, so every compare is over 32 bytes and neither a length nor
/// the position of the first difference shows in its time. All users are compared on every
/// attempt: an unknown name costs what a wrong password costs.
#[derive(Clone)]
pub struct Authenticator {
    rule: Arc<Rule>,
}

enum Rule {
    None,
    Token(Hash),
    Users(Vec<Entry>),
}

type Hash = [u8; 32];

struct Entry {
    name: String,
    name_hash: Hash,
    password_hash: Hash,
}

impl Authenticator {
    /// Everyone may connect.
    #[must_use]
    pub fn none() -> Self {
        Self {
            rule: Arc::new(Rule::None),
        }
    }

    /// Whoever sends this token as `auth_token` may connect. Like nats-server, a client that can
    /// only send a user (a URL `nats://TOKEN@host`) may send the token there, without a password.
    #[must_use]
    pub fn token(token: &str) -> Self {
        Self {
            rule: Arc::new(Rule::Token(digest(token))),
        }
    }

    /// Any of these users with its password. No users at all means nobody may connect.
    #[must_use]
    pub fn users(users: Vec<User>) -> Self {
        let entries = users
            .into_iter()
            .map(|user| Entry {
                name_hash: digest(&user.name),
                password_hash: digest(&user.password),
                name: user.name,
            })
            .collect();
        Self {
            rule: Arc::new(Rule::Users(entries)),
        }
    }

    /// Whether a client has to send credentials (`auth_required` in INFO).
    #[must_use]
    pub fn required(&self) -> bool {
        !matches!(*self.rule, Rule::None)
    }

    /// Decides one attempt. Does not block and does not depend on time or order of attempts.
    #[must_use]
    pub fn check(&self, credentials: &Credentials<'_>) -> Decision {
        match &*self.rule {
            Rule::None => Decision::Allow { user: None },
            Rule::Token(expected) => check_token(expected, credentials),
            Rule::Users(users) => check_users(users, credentials),
        }
    }
}

impl Default for Authenticator {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.rule {
            Rule::None => f.write_str("Authenticator(none)"),
            Rule::Token(_) => f.write_str("Authenticator(token)"),
            Rule::Users(users) => {
                let names = users.iter().map(|user| &user.name);
                f.write_str("Authenticator")?;
                f.debug_list().entries(names).finish()
            }
        }
    }
}

fn check_token(expected: &Hash, credentials: &Credentials<'_>) -> Decision {
    let as_user = if credentials.pass.is_none_or(str::is_empty) {
        credentials.user
    } else {
        None
    };
    let given = credentials
        .token
        .filter(|token| !token.is_empty())
        .or(as_user);
    // An absent token is compared too, so that absence costs the same as a wrong one.
    let equal = digest(given.unwrap_or_default()).ct_eq(expected);
    if bool::from(equal) && given.is_some() {
        Decision::Allow { user: None }
    } else {
        Decision::Deny
    }
}

fn check_users(users: &[Entry], credentials: &Credentials<'_>) -> Decision {
    let name = digest(credentials.user.unwrap_or_default());
    let password = digest(credentials.pass.unwrap_or_default());
    let mut found = Choice::from(0);
    let mut which = 0_u64;
    for (index, user) in users.iter().enumerate() {
        let equal = user.name_hash.ct_eq(&name) & user.password_hash.ct_eq(&password);
        which.conditional_assign(&(index as u64), equal);
        found |= equal;
    }
    if !bool::from(found) || credentials.user.is_none() {
        return Decision::Deny;
    }
    let user = usize::try_from(which)
        .ok()
        .and_then(|index| users.get(index));
    Decision::Allow {
        user: user.map(|entry| entry.name.clone()),
    }
}

fn digest(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::{Authenticator, Credentials, Decision, User};

    fn login<'a>(user: &'a str, pass: &'a str) -> Credentials<'a> {
        Credentials {
            user: Some(user),
            pass: Some(pass),
            token: None,
        }
    }

    fn two_users() -> Authenticator {
        let user = |name: &str, password: &str| User {
            name: name.into(),
            password: password.into(),
        };
        Authenticator::users(vec![user("ann", "long secret"), user("bob", "")])
    }

    #[test]
    fn nothing_configured_lets_everyone_in() {
        let open = Authenticator::none();
        assert!(!open.required());
        let anyone = Decision::Allow { user: None };
        assert_eq!(open.check(&Credentials::default()), anyone);
        assert_eq!(open.check(&login("a", "b")), anyone);
    }

    #[test]
    fn a_token_must_be_the_same() {
        let auth = Authenticator::token("s3cret");
        let with = |token| {
            auth.check(&Credentials {
                token,
                ..Credentials::default()
            })
        };
        assert!(auth.required());
        assert_eq!(with(Some("s3cret")), Decision::Allow { user: None });
        for wrong in [
            None,
            Some(""),
            Some("s3cre"),
            Some("s3cret "),
            Some("S3CRET"),
        ] {
            assert_eq!(with(wrong), Decision::Deny, "{wrong:?}");
        }
        let in_user = Credentials {
            user: Some("s3cret"),
            ..Credentials::default()
        };
        assert_eq!(auth.check(&in_user), Decision::Allow { user: None });
        assert_eq!(auth.check(&login("s3cret", "x")), Decision::Deny);
    }

    #[test]
    fn users_need_their_own_password() {
        let auth = two_users();
        let ann = Decision::Allow {
            user: Some("ann".into()),
        };
        assert_eq!(auth.check(&login("ann", "long secret")), ann);
        assert_eq!(
            auth.check(&login("bob", "")),
            Decision::Allow {
                user: Some("bob".into())
            }
        );
        for (user, pass) in [
            ("ann", ""),
            ("ann", "x"),
            ("bob", "long secret"),
            ("eve", ""),
            ("", ""),
        ] {
            assert_eq!(
                auth.check(&login(user, pass)),
                Decision::Deny,
                "{user}/{pass}"
            );
        }
        assert_eq!(auth.check(&Credentials::default()), Decision::Deny);
        assert_eq!(
            Authenticator::users(vec![]).check(&login("", "")),
            Decision::Deny
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!(
            "{:?} {:?} {:?} {:?}",
            two_users(),
            Authenticator::token("s3cret"),
            login("ann", "s3cret"),
            User {
                name: "ann".into(),
                password: "s3cret".into()
            },
        );
        assert!(
            shown.contains("ann") && !shown.contains("s3cret") && !shown.contains("long"),
            "{shown}"
        );
    }
}
