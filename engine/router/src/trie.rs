//! Filters as a tree of tokens.

use std::collections::HashMap;

use millstream_types::tokens;

/// Everybody a subject goes to: each of `plain`, and one member of each of `queues`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes<T> {
    /// Subscriptions without a group.
    pub plain: Box<[T]>,
    /// Groups, whichever filters their members have.
    pub queues: Box<[Box<[T]>]>,
}

impl<T> Routes<T> {
    /// Nobody.
    pub(crate) fn none() -> Self {
        Self {
            plain: Box::default(),
            queues: Box::default(),
        }
    }

    /// Whether nobody wants it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.queues.is_empty()
    }
}

/// For which subjects an answer is true. Lengths are in bytes and include a closing dot; 0 is the whole tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// For this one.
    Subject,
    /// For every subject that shares so many first bytes and has one more token.
    LastToken(usize),
    /// For every subject that shares so many first bytes, whatever follows.
    Branch {
        /// The bytes.
        prefix: usize,
        /// How many tokens they are.
        tokens: usize,
    },
}

/// A subscription as the tree keeps it.
#[derive(Debug)]
struct Member<T> {
    id: u64,
    target: T,
}

/// A queue group's name and members.
type Group<T> = (Box<[u8]>, Vec<Member<T>>);

#[derive(Debug)]
struct Leaf<T> {
    plain: Vec<Member<T>>,
    queues: Vec<Group<T>>,
}

impl<T> Default for Leaf<T> {
    fn default() -> Self {
        Self {
            plain: Vec::new(),
            queues: Vec::new(),
        }
    }
}

impl<T> Leaf<T> {
    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.queues.is_empty()
    }

    fn insert(&mut self, queue: Option<&[u8]>, member: Member<T>) {
        let Some(queue) = queue else {
            // Most filters are one subscription's.
            if self.plain.is_empty() {
                self.plain.reserve_exact(1);
            }
            self.plain.push(member);
            return;
        };
        match self.queues.iter_mut().find(|(name, _)| **name == *queue) {
            Some((_, members)) => members.push(member),
            None => self.queues.push((queue.into(), vec![member])),
        }
    }

    fn remove(&mut self, queue: Option<&[u8]>, id: u64) -> bool {
        let take = |members: &mut Vec<Member<T>>| {
            let at = members.iter().position(|member| member.id == id);
            at.map(|at| members.remove(at)).is_some()
        };
        let Some(queue) = queue else {
            return take(&mut self.plain);
        };
        let Some(at) = self.queues.iter().position(|(name, _)| **name == *queue) else {
            return false;
        };
        let taken = take(&mut self.queues[at].1);
        if self.queues[at].1.is_empty() {
            self.queues.remove(at);
        }
        taken
    }
}

/// What a walk gathers.
pub(crate) struct Gathered<'a, T> {
    plain: Vec<T>,
    queues: Vec<(&'a [u8], Vec<T>)>,
    /// How many tokens were needed to know all of it.
    decided: usize,
    /// Whether the last token was needed for no literal.
    any_last: bool,
}

impl<'a, T: Clone> Gathered<'a, T> {
    fn add(&mut self, leaf: &'a Leaf<T>) {
        self.plain
            .extend(leaf.plain.iter().map(|member| member.target.clone()));
        for (name, members) in &leaf.queues {
            let targets = members.iter().map(|member| member.target.clone());
            match self.queues.iter_mut().find(|(known, _)| *known == &**name) {
                Some((_, known)) => known.extend(targets),
                None => self.queues.push((name, targets.collect())),
            }
        }
    }
}

/// A node: what follows one token.
#[derive(Debug)]
pub(crate) struct Node<T> {
    literals: HashMap<Box<[u8]>, Node<T>, foldhash::fast::RandomState>,
    star: Option<Box<Node<T>>>,
    /// Subscriptions that end in `>` here.
    rest: Leaf<T>,
    /// Subscriptions that end here.
    here: Leaf<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            literals: HashMap::default(),
            star: None,
            rest: Leaf::default(),
            here: Leaf::default(),
        }
    }
}

impl<T: Clone> Node<T> {
    pub(crate) fn insert(&mut self, filter: &[u8], queue: Option<&[u8]>, id: u64, target: T) {
        let mut node = self;
        for token in tokens(filter) {
            match token {
                b">" => {
                    node.rest.insert(queue, Member { id, target });
                    return;
                }
                b"*" => node = node.star.get_or_insert_default(),
                literal => node = node.literals.entry(literal.into()).or_default(),
            }
        }
        node.here.insert(queue, Member { id, target });
    }

    /// Removes a subscription and the branches that hold nothing without it.
    pub(crate) fn remove(&mut self, filter: &[u8], queue: Option<&[u8]>, id: u64) -> bool {
        let path: Vec<&[u8]> = tokens(filter).collect();
        self.remove_path(&path, queue, id)
    }

    fn remove_path(&mut self, path: &[&[u8]], queue: Option<&[u8]>, id: u64) -> bool {
        match path {
            [] => self.here.remove(queue, id),
            [b">"] => self.rest.remove(queue, id),
            [b"*", rest @ ..] => {
                let Some(star) = &mut self.star else {
                    return false;
                };
                let removed = star.remove_path(rest, queue, id);
                if star.is_empty() {
                    self.star = None;
                }
                removed
            }
            [literal, rest @ ..] => {
                let Some(node) = self.literals.get_mut(*literal) else {
                    return false;
                };
                let removed = node.remove_path(rest, queue, id);
                if node.is_empty() {
                    self.literals.remove(*literal);
                }
                removed
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.literals.is_empty()
            && self.star.is_none()
            && self.rest.is_empty()
            && self.here.is_empty()
    }

    /// The routes of a subject, and for which others they are the same.
    pub(crate) fn lookup(&self, subject: &[u8]) -> (Routes<T>, Holds) {
        let path: Vec<&[u8]> = tokens(subject).collect();
        // A subject with an empty token goes nowhere, as in nats-server.
        if path.iter().any(|token| token.is_empty()) {
            return (Routes::none(), Holds::Subject);
        }
        let mut gathered = Gathered {
            plain: Vec::new(),
            queues: Vec::new(),
            decided: 0,
            any_last: true,
        };
        self.walk(&path, 0, &mut gathered);
        let bytes = |tokens: &[&[u8]]| tokens.iter().map(|token| token.len() + 1).sum();
        let holds = match gathered {
            Gathered { decided, .. } if decided < path.len() => Holds::Branch {
                prefix: bytes(&path[..decided]),
                tokens: decided,
            },
            Gathered { any_last: true, .. } => Holds::LastToken(bytes(&path[..path.len() - 1])),
            _ => Holds::Subject,
        };
        let queues = gathered
            .queues
            .into_iter()
            .map(|(_, members)| members.into())
            .collect();
        (
            Routes {
                plain: gathered.plain.into(),
                queues,
            },
            holds,
        )
    }

    /// Whether anybody wants a subject; stops at the first who does.
    pub(crate) fn has_interest(&self, subject: &[u8]) -> bool {
        let path: Vec<&[u8]> = tokens(subject).collect();
        path.iter().all(|token| !token.is_empty()) && self.wanted(&path)
    }

    fn wanted(&self, path: &[&[u8]]) -> bool {
        let [token, rest @ ..] = path else {
            return !self.here.is_empty();
        };
        !self.rest.is_empty()
            || self.star.as_ref().is_some_and(|star| star.wanted(rest))
            || self
                .literals
                .get(*token)
                .is_some_and(|node| node.wanted(rest))
    }

    /// `path` is what is left of the subject behind its first `depth` tokens.
    fn walk<'a>(&'a self, path: &[&[u8]], depth: usize, gathered: &mut Gathered<'a, T>) {
        let [token, rest @ ..] = path else {
            gathered.add(&self.here);
            return;
        };
        gathered.add(&self.rest);
        if !self.literals.is_empty() || self.star.is_some() {
            gathered.decided = gathered.decided.max(depth + 1);
        }
        if rest.is_empty() && !self.literals.is_empty() {
            gathered.any_last = false;
        }
        if let Some(node) = self.literals.get(*token) {
            node.walk(rest, depth + 1, gathered);
        }
        if let Some(star) = &self.star {
            star.walk(rest, depth + 1, gathered);
        }
    }
}
