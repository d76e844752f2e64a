//! Questions to the index: what comes next, how much is left, which subjects there are.

use millstream_types::Timestamp;

use crate::chunk::{Chunk, Meta, SPAN};
use crate::filters::{Filters, MatchCache};
use crate::log::Log;

/// Up to so many messages of a subject are walked along their links instead of scanning everything between them.
const WALK: u32 = if cfg!(test) { 3 } else { 64 };
/// So many messages a subject are looked at before what is known of each subject is: looking at one costs less.
const NEAR: u64 = 4;

#[cfg(test)]
thread_local! {
    /// Messages that scans looked at.
    static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl Log {
    /// The first message held at or after `from`.
    pub(crate) fn next_live(&self, from: u64) -> Option<u64> {
        if from <= self.first_seq() {
            return (self.messages() > 0).then(|| self.first_seq());
        }
        self.scan(from, |_| true).map(|(seq, _)| seq)
    }

    /// The first message held at or after `from` that `wanted` says yes to.
    pub(crate) fn scan(
        &self,
        from: u64,
        mut wanted: impl FnMut(&Meta) -> bool,
    ) -> Option<(u64, Meta)> {
        if from > self.last_seq() {
            return None;
        }
        #[cfg(test)]
        let mut wanted = |meta: &Meta| {
            LOOKS.set(LOOKS.get() + 1);
            wanted(meta)
        };
        let start = self.chunk_at(from).unwrap_or_else(|after| after);
        for at in start.. {
            let chunk = self.chunk(at)?;
            if let Some(found) = chunk.scan(from, &mut wanted) {
                return Some(found);
            }
        }
        None
    }

    /// The first message held at or after `from` that matches.
    pub(crate) fn next_matching(
        &self,
        from: u64,
        filters: &Filters,
        cache: &mut MatchCache,
    ) -> Option<u64> {
        if filters.is_all() {
            return self.next_live(from);
        }
        if let Some(subjects) = filters.literals() {
            return match subjects {
                [subject] => self.next_in(from, self.subjects.find(subject)?),
                subjects => self.next_of_many(from, subjects, filters, cache),
            };
        }
        self.scan(from, |meta| {
            cache.matches(filters, &self.subjects, meta.subject)
        })
        .map(|(seq, _)| seq)
    }

    /// The first message held at or after `from` with one of these subjects, which are the filters. Most often it is near.
    /// If not, few of the messages have them: what is known of each subject tells the next one sooner.
    fn next_of_many(
        &self,
        from: u64,
        subjects: &[Vec<u8>],
        filters: &Filters,
        cache: &mut MatchCache,
    ) -> Option<u64> {
        let mut look = |limit: u64| {
            let (mut looks, mut found) = (0, false);
            let last = self.scan(from, |meta| {
                looks += 1;
                found = cache.matches(filters, &self.subjects, meta.subject);
                found || looks >= limit
            });
            (last.filter(|_| found).map(|(seq, _)| seq), last.is_none())
        };
        let (found, at_end) = look(subjects.len() as u64 * NEAR);
        if found.is_some() || at_end {
            return found;
        }
        let (mut next, mut unknown) = (None::<u64>, false);
        for id in subjects.iter().filter_map(|one| self.subjects.find(one)) {
            let entry = self.subjects.get(id);
            let seq = match entry.count > WALK && from > entry.first {
                true => {
                    unknown |= from <= entry.last;
                    None
                }
                false => self.next_in(from, id),
            };
            next = next.into_iter().chain(seq).min();
        }
        match unknown {
            true => look(next.map_or(u64::MAX, |next| next - from)).0.or(next),
            false => next,
        }
    }

    /// The first message held at or after `from` with this subject.
    pub(crate) fn next_in(&self, from: u64, id: u32) -> Option<u64> {
        let entry = self.subjects.get(id);
        if from <= entry.first {
            return Some(entry.first);
        }
        if from > entry.last {
            return None;
        }
        // The usual caller has just handled `from - 1`, so its link is the answer.
        if let Some(meta) = self.meta(from - 1)
            && meta.subject == id
        {
            return self.next_of(from - 1);
        }
        if entry.count <= WALK {
            return self.walk(entry.first).find(|seq| *seq >= from);
        }
        self.scan(from, |meta| meta.subject == id)
            .map(|(seq, _)| seq)
    }

    /// A message and all later ones of its subject.
    pub(crate) fn walk(&self, first: u64) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(first), |seq| self.next_of(*seq))
    }

    /// How many messages are held at or after `from`.
    pub(crate) fn live_from(&self, from: u64) -> u64 {
        if from <= self.first_seq() {
            return self.messages();
        }
        if from > self.last_seq() {
            return 0;
        }
        if self.messages() == self.last_seq() - self.first_seq() + 1 {
            return self.last_seq() - from + 1;
        }
        let after = self
            .spans()
            .iter()
            .rev()
            .take_while(|span| span.no > from / SPAN);
        let whole: usize = after.map(|span| span.live).sum();
        let part = match self.chunk_at(from) {
            Ok(at) => self
                .chunk(at)
                .map_or(0, |chunk| chunk.iter_from(from).count()),
            Err(_) => 0,
        };
        (whole + part) as u64
    }

    /// How many messages that match are held at or after `from`.
    pub(crate) fn count_matching(
        &self,
        from: u64,
        filters: &Filters,
        cache: &mut MatchCache,
    ) -> u64 {
        if filters.is_all() {
            return self.live_from(from);
        }
        if from > self.last_seq() {
            return 0;
        }
        let ahead = self.last_seq() - from;
        let behind = from.saturating_sub(self.first_seq());
        if behind + (self.subjects.len() as u64) < ahead || behind == 0 {
            let total = self.count_all(filters);
            return total - self.count_between(self.first_seq(), from, filters, cache);
        }
        self.count_between(from, self.last_seq() + 1, filters, cache)
    }

    fn count_all(&self, filters: &Filters) -> u64 {
        if let Some(subjects) = filters.literals() {
            let count = |subject: &Vec<u8>| {
                Some(u64::from(
                    self.subjects.get(self.subjects.find(subject)?).count,
                ))
            };
            return subjects.iter().filter_map(count).sum();
        }
        let matching = self
            .subjects
            .iter()
            .filter(|(_, name, _)| filters.matches(name));
        matching.map(|(_, _, entry)| u64::from(entry.count)).sum()
    }

    /// Messages that match in `from..to`.
    pub(crate) fn count_between(
        &self,
        from: u64,
        to: u64,
        filters: &Filters,
        cache: &mut MatchCache,
    ) -> u64 {
        if from >= to {
            return 0;
        }
        let start = self.chunk_at(from).unwrap_or_else(|after| after);
        let mut count = 0;
        for at in start.. {
            let Some(span) = self.spans().get(at).filter(|span| span.no * SPAN < to) else {
                break;
            };
            let Some(chunk) = self.chunk(at).filter(|_| span.live > 0) else {
                continue;
            };
            let inside = chunk.iter_from(from).take_while(|(seq, _)| *seq < to);
            count += inside
                .filter(|(_, meta)| cache.matches(filters, &self.subjects, meta.subject))
                .count() as u64;
        }
        count
    }

    /// The last message that matches.
    pub(crate) fn last_matching(&self, filters: &Filters) -> Option<u64> {
        if filters.is_all() {
            return self.chunks().rev().find_map(Chunk::last_live);
        }
        if let Some(subjects) = filters.literals() {
            return subjects
                .iter()
                .filter_map(|subject| self.last_for(subject))
                .max();
        }
        let matching = self
            .subjects
            .iter()
            .filter(|(_, name, _)| filters.matches(name));
        matching.map(|(_, _, entry)| entry.last).max()
    }

    /// The last message of one subject.
    pub(crate) fn last_for(&self, subject: &[u8]) -> Option<u64> {
        Some(self.subjects.get(self.subjects.find(subject)?).last)
    }

    /// The last message of every subject that matches, in order.
    pub(crate) fn last_per_subject(&self, filters: &Filters) -> Vec<u64> {
        let matching = self
            .subjects
            .iter()
            .filter(|(_, name, _)| filters.matches(name));
        let mut list: Vec<u64> = matching.map(|(_, _, entry)| entry.last).collect();
        list.sort_unstable();
        list
    }

    /// The first message stored at or after `time`. Times never run backwards in a log.
    pub(crate) fn first_since(&self, time: Timestamp) -> Option<u64> {
        let spans = self.spans();
        let first = spans.partition_point(|span| span.last_time < time);
        // The last of a chunk may be gone, so that the next one has it.
        (first..spans.len()).find_map(|at| {
            let chunk = self.chunk(at)?;
            let found = chunk.iter().find(|(seq, _)| chunk.run(*seq).time >= time);
            found.map(|(seq, _)| seq)
        })
    }

    /// Sequences between the first and the last that are gone, at most `limit` of them.
    pub(crate) fn deleted(&self, limit: usize) -> Vec<u64> {
        let mut gone = Vec::new();
        let mut expected = self.first_seq();
        for (seq, _) in self.chunks().flat_map(|chunk| chunk.iter()) {
            gone.extend((expected..seq).take(limit - gone.len()));
            expected = seq + 1;
        }
        gone.extend((expected..=self.last_seq()).take(limit - gone.len()));
        gone
    }
}

#[cfg(test)]
mod tests {
    use millstream_journal::Position;
    use millstream_types::Timestamp;

    use super::{LOOKS, Log, NEAR};
    use crate::filters::{Filters, MatchCache};
    use crate::log::Size;

    /// A log of so many messages with the subjects that `subject` says.
    fn log(count: u64, subject: impl Fn(u64) -> u64) -> Log {
        let mut log = Log::new(1, true, None);
        for seq in 1..=count {
            let subject = format!("s.{}", subject(seq));
            let at = (Position::default(), 0);
            let subject = (subject.as_bytes(), None);
            log.append(subject, Size::new(1, false), at, Timestamp(1));
        }
        log
    }

    /// Goes through what matches; the sequences, and how many messages were looked at.
    fn walk(log: &Log, filters: &[String]) -> (Vec<u64>, u64) {
        let filters = Filters::new(filters.iter().map(String::as_str));
        let (mut cache, mut from, mut found) = (MatchCache::default(), 1, Vec::new());
        LOOKS.set(0);
        while let Some(seq) = log.next_matching(from, &filters, &mut cache) {
            found.push(seq);
            from = seq + 1;
        }
        (found, LOOKS.get())
    }

    #[test]
    fn many_subjects_are_looked_for_together() {
        let log = log(20_000, |seq| seq % 1000);
        let filters: Vec<String> = (0..100).map(|no| format!("s.{}", no * 10)).collect();
        let (found, looks) = walk(&log, &filters);
        assert_eq!(found, (10..=20_000).step_by(10).collect::<Vec<u64>>());
        assert!(looks <= 20_000, "{looks} of 20,000 messages were looked at");
    }

    #[test]
    fn rare_messages_of_many_subjects_are_found_by_what_is_known_of_these() {
        // One in a thousand; of each subject one, or twenty of one, which are not walked to.
        for each in [1, 20] {
            let log = log(20_000, |seq| match seq % 1000 {
                0 => seq / 1000 % (20 / each),
                _ => 1000,
            });
            let filters: Vec<String> = (0..100).map(|no| format!("s.{no}")).collect();
            let (found, looks) = walk(&log, &filters);
            assert_eq!(found, (1000..=20_000).step_by(1000).collect::<Vec<u64>>());
            let near = filters.len() as u64 * NEAR;
            let far = if each > 1 { 20_000 } else { 0 };
            assert!(
                looks <= 21 * near + far,
                "{looks} looks, {each} of each subject"
            );
        }
    }
}
