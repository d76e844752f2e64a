//! Which rows of a partition are to be seen.

use crate::continuous::parts::Key;

use super::RankFunction;

/// A row that is to be seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) key: Key,
    /// 0 when ranks are not told.
    pub(super) rank: u64,
    pub(super) count: i64,
}

/// Which ranks are to be seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) function: RankFunction,
    pub(super) skip: u64,
    /// The last one.
    pub(super) last: u64,
    pub(super) numbered: bool,
}

/// The rows to be seen of a partition, by key and rank.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) rows: Vec<Seen>,
    /// The last row that counts, and how often it does; `None`: another row behind all may count.
    pub(super) edge: Option<(Key, i64)>,
}

impl Range {
    /// What is to be seen of rows in order.
    pub(super) fn view<'a>(&self, rows: impl Iterator<Item = (&'a Key, i64)>) -> View {
        match self.function {
            RankFunction::RowNumber => self.positions(rows),
            RankFunction::Rank | RankFunction::DenseRank => self.peers(rows),
        }
    }

    /// Whether no row with this order and key can be seen while `edge` is the last one that counts.
    pub(super) fn is_behind(&self, edge: &Key, order: &[u8], key: &[u8]) -> bool {
        match self.function {
            RankFunction::RowNumber => key > edge.bytes(),
            RankFunction::Rank | RankFunction::DenseRank => order > edge.order(),
        }
    }

    fn positions<'a>(&self, rows: impl Iterator<Item = (&'a Key, i64)>) -> View {
        let mut view = View::default();
        let mut before = 0_u64;
        for (key, count) in rows {
            let behind = before.saturating_add(count as u64);
            let (from, to) = (before.max(self.skip), behind.min(self.last));
            if from < to && self.numbered {
                view.rows.extend((from..to).map(|at| Seen {
                    key: key.clone(),
                    rank: at + 1,
                    count: 1,
                }));
            } else if from < to {
                view.rows.push(Seen {
                    key: key.clone(),
                    rank: 0,
                    count: (to - from) as i64,
                });
            }
            if behind >= self.last {
                let counts = self.last.saturating_sub(before);
                view.edge = Some((key.clone(), counts as i64));
                break;
            }
            before = behind;
        }
        view
    }

    fn peers<'a>(&self, rows: impl Iterator<Item = (&'a Key, i64)>) -> View {
        let mut view = View::default();
        let (mut before, mut groups, mut rank) = (0_u64, 0_u64, 0);
        let mut last: Option<(&Key, i64)> = None;
        let dense = self.function == RankFunction::DenseRank;
        let next = |before: u64, groups: u64| if dense { groups + 1 } else { before + 1 };
        let mut behind = false;
        for (key, count) in rows {
            if last.is_none_or(|(last, _)| last.order() != key.order()) {
                rank = next(before, groups);
                groups += 1;
                if rank > self.last {
                    behind = true;
                    break;
                }
            }
            if rank > self.skip {
                view.rows.push(Seen {
                    key: key.clone(),
                    rank: if self.numbered { rank } else { 0 },
                    count,
                });
            }
            before = before.saturating_add(count as u64);
            last = Some((key, count));
        }
        if behind || next(before, groups) > self.last {
            view.edge = last.map(|(key, count)| (key.clone(), count));
        }
        view
    }
}

/// How rows to be seen change: those that go, and those that come. Both are by key and rank.
pub(super) fn difference(
    old: Vec<Seen>,
    new: Vec<Seen>,
    gone: &mut Vec<Seen>,
    come: &mut Vec<Seen>,
) {
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(old), Some(new)) => (&old.key, old.rank).cmp(&(&new.key, new.rank)),
        };
        match order {
            std::cmp::Ordering::Less => gone.extend(old.next()),
            std::cmp::Ordering::Greater => come.extend(new.next()),
            std::cmp::Ordering::Equal => {
                if let (Some(old), Some(new)) = (old.next(), new.next()) {
                    let count = new.count - old.count;
                    match count {
                        0 => {}
                        1.. => come.push(Seen { count, ..new }),
                        _ => gone.push(Seen {
                            count: -count,
                            ..old
                        }),
                    }
                }
            }
        }
    }
}
