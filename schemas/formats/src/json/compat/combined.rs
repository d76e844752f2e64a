//! `allOf`, `anyOf`, `oneOf`, `not` and `if`.

use super::Diff;
use super::view::{Criterion, Form, Parts, View};

/// Branches that are matched with one another.
const MAX_BRANCHES: usize = 300;

impl<'a> Diff<'a> {
    pub(super) fn combined(&mut self, old: &Parts<'a>, new: &Parts<'a>) {
        let (was, is) = (old.views.len(), new.views.len());
        let kept = old.criterion == new.criterion
            || new.criterion == Criterion::Any
            || was == 1 && (new.criterion == Criterion::One || is == 1);
        if !kept {
            let message = format!("was `{}` and is `{}`", old.word, new.word);
            return self.add("COMBINED_TYPE_CHANGED", message);
        }
        let message = format!("`{}` had {was} schemas and has {is}", new.word);
        let all = new.criterion == Criterion::All;
        if all && is > was {
            self.add("PRODUCT_TYPE_EXTENDED", &message);
        } else if !all && is < was && old.criterion != Criterion::All {
            self.add("SUM_TYPE_NARROWED", &message);
        }
        if was.max(is) > MAX_BRANCHES {
            return self.entangled();
        }
        let matched = self.matched(old, new);
        // Of an `allOf` that became an `anyOf`, any one that fits is enough.
        let wanted = if old.criterion == Criterion::All && !all {
            1
        } else {
            was.min(is)
        };
        if matched.iter().flatten().count() >= wanted {
            return;
        }
        let lone: Vec<usize> = (0..was)
            .filter(|at| !matched.contains(&Some(*at)))
            .collect();
        let free: Vec<usize> = (0..is).filter(|at| matched[*at].is_none()).collect();
        for at in &lone {
            let words = old.views[*at].words();
            self.at(old.word, |diff| {
                let message = format!("{words} fits none of the {is} schemas that are there now");
                diff.add_at(&at.to_string(), "COMBINED_TYPE_SUBSCHEMAS_CHANGED", message);
            });
        }
        // When it is clear which two belong together, say what is between them.
        if let ([one], [other]) = (lone.as_slice(), free.as_slice()) {
            let (old_view, new_view) = (old.views[*one], new.views[*other]);
            self.at(old.word, |diff| {
                diff.at(&one.to_string(), |diff| diff.pair(old_view, new_view))
            });
        }
    }

    /// For each of the new ones, which old one it reads; as many as there can be.
    fn matched(&mut self, old: &Parts<'a>, new: &Parts<'a>) -> Vec<Option<usize>> {
        // Mostly, schemas keep their places.
        let mut of: Vec<Option<usize>> = (0..new.views.len())
            .map(|at| Some(at).filter(|at| at < &old.views.len()))
            .collect();
        let mut lone = 0;
        for (at, of) in of.iter_mut().enumerate() {
            if of.is_some() && !self.gets_along(old.views[at], new.views[at]) {
                *of = None;
                lone += 1;
            }
        }
        if lone == 0 {
            return of;
        }
        let mut edges = Vec::new();
        for was in &old.views {
            let views = new.views.iter().enumerate();
            let fitting = views.filter(|(_, is)| self.gets_along(*was, **is));
            edges.push(fitting.map(|(at, _)| at).collect());
        }
        matching(&edges, new.views.len())
    }

    /// Something that was not combined and is.
    pub(super) fn newly_combined(&mut self, old: View<'a>, new: View<'a>, parts: &Parts<'a>) {
        match (parts.criterion, parts.views.as_slice()) {
            (Criterion::All, views) => views.iter().for_each(|part| self.pair(old, *part)),
            (_, [only]) => self.pair(old, *only),
            (_, views) => {
                if !views.iter().any(|part| self.gets_along(old, *part)) {
                    self.changed(old, new);
                }
            }
        }
    }

    /// Something that was combined and is not.
    pub(super) fn no_longer_combined(&mut self, old: View<'a>, parts: &Parts<'a>, new: View<'a>) {
        let along = match (parts.criterion, parts.views.as_slice()) {
            (_, [only]) => return self.pair(*only, new),
            (Criterion::All, views) => views.iter().any(|part| self.gets_along(*part, new)),
            (_, views) => views.iter().all(|part| self.gets_along(*part, new)),
        };
        if !along {
            self.changed(old, new);
        }
    }

    pub(super) fn nots(&mut self, old: View<'a>, new: View<'a>) {
        let (Some(was), Some(is)) = (old.sub("not"), new.sub("not")) else {
            return;
        };
        // What is forbidden now must have been forbidden before.
        if !self.gets_along(is, was) {
            let message = format!("forbade {} and forbids {}", was.words(), is.words());
            self.add_at("not", "NOT_TYPE_EXTENDED", message);
        }
    }

    pub(super) fn conditions(&mut self, old: View<'a>, new: View<'a>) {
        let (Some(was), Some(is)) = (old.sub("if"), new.sub("if")) else {
            return;
        };
        if !(self.gets_along(was, is) && self.gets_along(is, was)) {
            let message = format!("asked for {} and asks for {}", was.words(), is.words());
            return self.add_at("if", "TYPE_CHANGED", message);
        }
        self.optional("then", old, new);
        self.optional("else", old, new);
    }

    /// Whether it allows everything.
    pub(super) fn free(view: View<'a>) -> bool {
        matches!(view.form().1, Form::Any)
    }
}

/// The largest set of edges without a common end: for each on the right, which on the left it belongs to.
fn matching(edges: &[Vec<usize>], right: usize) -> Vec<Option<usize>> {
    fn place(
        left: usize,
        edges: &[Vec<usize>],
        seen: &mut [bool],
        of: &mut [Option<usize>],
    ) -> bool {
        edges[left].iter().any(|right| {
            if std::mem::replace(&mut seen[*right], true) {
                return false;
            }
            let free = of[*right].is_none_or(|other| place(other, edges, seen, of));
            if free {
                of[*right] = Some(left);
            }
            free
        })
    }
    let mut of = vec![None; right];
    for left in 0..edges.len() {
        place(left, edges, &mut vec![false; right], &mut of);
    }
    of
}
