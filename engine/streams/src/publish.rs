//! Storing published messages: what their headers ask for, the limits, the index.

use std::time::Duration;

use millstream_journal::Position;
use millstream_types::{HeaderBlock, Needle, Timestamp, is_id_alias};

use crate::command::Publish;
use crate::config::{DiscardPolicy, RetentionPolicy, StreamConfig};
use crate::content::ContentRule;
use crate::dedup::{Asked, IdHash, IdKind};
use crate::errors::ApiError;
use crate::log::Size;
use crate::records::{RecordView, parse};
use crate::stream::Stream;
use crate::ttl::Ttl;

/// What became of a published record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It has this sequence.
    Stored(u64),
    /// Its id was seen before; it has had this sequence since.
    Duplicate(u64),
    /// It was not stored.
    Refused(ApiError),
}

/// Records that are looked at together, see [`Stream::warm`].
pub(crate) const TOGETHER: usize = 64;
/// Largest header block, in bytes.
const MAX_HEADERS: usize = 64 * 1024 - 1;

/// What the headers of a publish ask for. Small, as there is one for every record and most ask for nothing but their id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes<'a> {
    pub(crate) id: Option<&'a [u8]>,
    rest: Option<Box<Rest<'a>>>,
}

/// What they ask for beside the id.
#[derive(Clone, Debug)]
pub(crate) struct Rest<'a> {
    pub(crate) stream: Option<&'a [u8]>,
    pub(crate) last_sequence: Option<&'a [u8]>,
    pub(crate) last_msg_id: Option<&'a [u8]>,
    pub(crate) subject_sequence: Option<&'a [u8]>,
    pub(crate) subject: Option<&'a [u8]>,
    rollup: Option<&'a [u8]>,
    ttl: Option<&'a [u8]>,
    schedule: Option<&'a [u8]>,
    /// It says that a schedule made it.
    scheduled: bool,
    is_marker: bool,
    unsupported: Option<fn() -> ApiError>,
}

static NOTHING: Rest<'static> = Rest {
    stream: None,
    last_sequence: None,
    last_msg_id: None,
    subject_sequence: None,
    subject: None,
    rollup: None,
    ttl: None,
    schedule: None,
    scheduled: false,
    is_marker: false,
    unsupported: None,
};

/// A record that is about to be stored.
#[derive(Debug)]
struct Prepared<'a> {
    record: RecordView<'a>,
    wishes: Wishes<'a>,
    ids: [Option<Asked>; 2],
    /// The number that its subject seems to have.
    subject: Option<u32>,
    /// Where in the frame's body it begins.
    place: u32,
}

/// How an admitted message is kept.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted<'a> {
    id: Option<&'a [u8]>,
    rollup: Option<Rollup>,
    /// How long it stays, where it says so itself.
    ttl: Option<Ttl>,
    /// When it makes a message first, where it is a schedule.
    schedule: Option<Timestamp>,
    /// It stands for a subject's messages that went.
    is_marker: bool,
    /// The number that its subject seems to have.
    subject: Option<u32>,
}

impl Wanted<'_> {
    /// A marker that stays so long.
    pub(crate) fn marker(ttl: Ttl) -> Self {
        Self {
            ttl: Some(ttl),
            is_marker: true,
            ..Self::default()
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rollup {
    Subject,
    All,
}

/// What the names of wishes start with.
static WISH: Needle = Needle::new(b"Nats-");

impl<'a> Wishes<'a> {
    pub(crate) fn read(headers: &'a [u8]) -> Self {
        let mut wishes = Self::default();
        // Almost every block without a wish is told by these searches.
        if headers.is_empty() || !WISH.is_in(headers) {
            wishes.id = HeaderBlock::new(headers).message_id();
            return wishes;
        }
        let (mut alias, mut rest) = (None, None);
        for (name, value) in HeaderBlock::new(headers).iter() {
            let slot = match name {
                b"Nats-Msg-Id" => &mut wishes.id,
                name if name.starts_with(b"Nats-") => {
                    let rest = rest.get_or_insert_with(|| Box::new(NOTHING.clone()));
                    match rest.slot(name) {
                        Some(slot) => slot,
                        None => continue,
                    }
                }
                name if is_id_alias(name) => &mut alias,
                _ => continue,
            };
            if slot.is_none() && !value.is_empty() {
                *slot = Some(value);
            }
        }
        wishes.id = wishes.id.or(alias);
        wishes.rest = rest;
        wishes
    }

    pub(crate) fn rest(&self) -> &Rest<'a> {
        self.rest.as_deref().unwrap_or(&NOTHING)
    }
}

impl<'a> Rest<'a> {
    /// Where the value of a header goes; a header that is there is enough for some.
    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<&'a [u8]>> {
        Some(match name {
            b"Nats-Expected-Stream" => &mut self.stream,
            b"Nats-Expected-Last-Sequence" => &mut self.last_sequence,
            b"Nats-Expected-Last-Msg-Id" => &mut self.last_msg_id,
            b"Nats-Expected-Last-Subject-Sequence" => &mut self.subject_sequence,
            b"Nats-Expected-Last-Subject-Sequence-Subject" => &mut self.subject,
            b"Nats-Rollup" => &mut self.rollup,
            b"Nats-TTL" => &mut self.ttl,
            b"Nats-Schedule" => &mut self.schedule,
            b"Nats-Scheduler" | b"Nats-Schedule-Next" => {
                self.scheduled = true;
                return None;
            }
            b"Nats-Marker-Reason" => {
                self.is_marker = true;
                return None;
            }
            b"Nats-Incr" => {
                self.unsupported = Some(ApiError::counters_disabled);
                return None;
            }
            b"Nats-Batch-Id" => {
                self.unsupported = Some(ApiError::atomic_publish_disabled);
                return None;
            }
            _ => return None,
        })
    }

    fn ttl(&self, config: &StreamConfig) -> Result<Option<Ttl>, ApiError> {
        let Some(value) = self.ttl else {
            return Ok(None);
        };
        let ttl = Ttl::read(value)?;
        match config.allow_msg_ttl {
            true => Ok(Some(ttl)),
            false => Err(ApiError::ttl_disabled()),
        }
    }

    fn rollup(&self, config: &StreamConfig) -> Result<Option<Rollup>, ApiError> {
        let Some(value) = self.rollup else {
            return Ok(None);
        };
        if !config.allow_rollup_hdrs || config.deny_purge {
            return Err(ApiError::rollup_failed("rollup not permitted"));
        }
        match value.to_ascii_lowercase().as_slice() {
            b"sub" => Ok(Some(Rollup::Subject)),
            b"all" => Ok(Some(Rollup::All)),
            _ => {
                let text = format!("rollup value invalid: {:?}", String::from_utf8_lossy(value));
                Err(ApiError::rollup_failed(text))
            }
        }
    }
}

pub(crate) fn size_of(record: &RecordView<'_>) -> Size {
    let length = record.subject.len() + record.headers.len() + record.payload.len();
    Size::new(length, !record.headers.is_empty())
}

pub(crate) fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

impl Stream {
    /// Stores the records of a publish and appends one outcome per record, in order. `at` is the frame that holds them and
    /// `body_offset` is where in its body the records begin.
    pub fn publish(
        &mut self,
        at: Position,
        body_offset: u32,
        publish: &Publish,
        out: &mut Vec<RecordOutcome>,
    ) {
        // Times never run backwards in a stream, whatever the clocks of successive leaders do.
        let time = self
            .log
            .last_time()
            .map_or(publish.time, |last| last.max(publish.time));
        self.dedup.expire(time, self.config.duplicate_window);
        let mut offset = 0;
        let mut left = publish.count;
        let mut together = Vec::with_capacity(TOGETHER.min(left as usize));
        while left > 0 {
            let most = TOGETHER.min(left as usize);
            while together.len() < most
                && let Ok((record, next)) = parse(&publish.records, offset)
            {
                let place = body_offset
                    + u32::try_from(offset).expect("invariant: a frame's body fits 4 GiB");
                together.push(self.prepare(record, place, together.last()));
                offset = next;
            }
            if together.is_empty() {
                let damaged = ApiError::store_failed("the record is damaged");
                out.extend((0..left).map(|_| RecordOutcome::Refused(damaged.clone())));
                break;
            }
            self.warm(&mut together);
            left -= u32::try_from(together.len()).expect("invariant: a few records");
            for prepared in together.drain(..) {
                out.push(self.store(&prepared, at, time));
            }
        }
        self.log.relax();
    }

    /// What can be known of a record before those in front of it are stored; `before` is the one in front.
    fn prepare<'a>(
        &self,
        record: RecordView<'a>,
        place: u32,
        before: Option<&Prepared<'a>>,
    ) -> Prepared<'a> {
        let same = before.filter(|before| std::ptr::eq(before.record.headers, record.headers));
        let wishes = match same {
            // Records of a batch share their headers: they are read once.
            Some(before) => before.wishes.clone(),
            None if record.headers.is_empty() => Wishes::default(),
            None => Wishes::read(record.headers),
        };
        Prepared {
            ids: self.ids(&wishes, &record).map(|id| id.map(Asked::from)),
            wishes,
            record,
            subject: None,
            place,
        }
    }

    /// Where a stream has so many subjects or ids that what is known of each is far from the processor, what the next records
    /// need is looked at for all of them first: they wait for memory together and not one after the other.
    fn warm(&mut self, together: &mut [Prepared<'_>]) {
        // Few in tests, so that they come here.
        const MANY: usize = if cfg!(test) { 2 } else { 1 << 15 };
        if together.len() < 2 {
            return;
        }
        if self.log.subjects.len() >= MANY {
            let subjects = together.iter().map(|prepared| prepared.record.subject);
            let replaced =
                self.config.max_msgs_per_subject == 1 && !self.config.discard_new_per_subject;
            let guesses = self.log.warm(subjects, replaced);
            for (prepared, guess) in together.iter_mut().zip(guesses) {
                prepared.subject = guess.map(|guess| guess.id);
            }
        }
        if self.dedup.len() >= MANY {
            let asked = together.iter().flat_map(|prepared| &prepared.ids).flatten();
            self.dedup.warm(asked.map(|asked| asked.id));
            let asked = together.iter_mut().flat_map(|prepared| &mut prepared.ids);
            self.dedup.ask(asked.flatten());
        }
    }

    fn store(&mut self, prepared: &Prepared<'_>, at: Position, time: Timestamp) -> RecordOutcome {
        let Prepared { record, ids, .. } = prepared;
        let mut wanted = match self.admit(prepared, time) {
            Ok(Admitted::New(wanted)) => wanted,
            Ok(Admitted::Duplicate(seq)) => return RecordOutcome::Duplicate(seq),
            Err(error) => return RecordOutcome::Refused(error),
        };
        if let Err(error) = self.make_room(record.subject, self.log.cost(size_of(record))) {
            return RecordOutcome::Refused(error);
        }
        wanted.subject = prepared.subject;
        let seq = self.keep(record, (at, prepared.place), time, &wanted);
        for asked in ids.iter().flatten() {
            self.dedup.insert(asked.id, seq, time);
        }
        RecordOutcome::Stored(seq)
    }

    /// Stores what a schedule made, unless it may not become what it says or there is no room.
    pub(crate) fn store_made(
        &mut self,
        record: &RecordView<'_>,
        at: (Position, u32),
        time: Timestamp,
    ) {
        let wishes = Wishes::read(record.headers);
        let ttl = wishes.rest().ttl(&self.config);
        let rollup = wishes.rest().rollup(&self.config);
        let (Ok(ttl), Ok(rollup)) = (ttl, rollup) else {
            return;
        };
        let cost = self.log.cost(size_of(record));
        if self.captures(record.subject) && self.make_room(record.subject, cost).is_ok() {
            let wanted = Wanted {
                rollup,
                ttl: ttl.map(|ttl| ttl.at_least(self.marker_ttl())),
                ..Wanted::default()
            };
            self.keep(record, at, time, &wanted);
        }
    }

    /// Stores a message that passed all checks; answers its sequence.
    pub(crate) fn keep(
        &mut self,
        record: &RecordView<'_>,
        at: (Position, u32),
        time: Timestamp,
        wanted: &Wanted<'_>,
    ) -> u64 {
        self.last_msg_id.clear();
        self.last_msg_id
            .extend_from_slice(wanted.id.unwrap_or_default());
        let unwanted = self.config.retention == RetentionPolicy::Interest
            && !self.interest.has(record.subject);
        if unwanted {
            return self.log.skip(time);
        }
        let size = size_of(record).of_marker(wanted.is_marker);
        let (seq, subject) = self
            .log
            .append((record.subject, wanted.subject), size, at, time);
        if let Some(ttl) = wanted.ttl {
            self.log.set_ttl(seq, ttl);
        }
        if wanted.schedule.is_some() {
            self.log.set_schedule(seq, wanted.schedule);
        }
        match wanted.rollup {
            Some(Rollup::Subject) => self.trim_subject(subject, 1),
            Some(Rollup::All) => self.trim_front(1),
            None => {}
        }
        self.enforce_limits(Some(subject));
        self.interest.stored(record.subject);
        self.tell_removed();
        seq
    }

    /// The checks of a publish, in nats-server's order.
    fn admit<'a>(
        &mut self,
        prepared: &Prepared<'a>,
        time: Timestamp,
    ) -> Result<Admitted<'a>, ApiError> {
        let Prepared {
            record,
            wishes,
            ids,
            ..
        } = prepared;
        if self.config.sealed {
            return Err(ApiError::sealed());
        }
        let mut wanted = Wanted::default();
        let stream = wishes.rest().stream;
        if stream.is_some_and(|stream| stream != self.config.name.as_bytes()) {
            return Err(ApiError::stream_not_match());
        }
        for asked in ids.iter().flatten() {
            match self.dedup.find(*asked) {
                Ok(None) => {}
                Ok(Some(seq)) => return Ok(Admitted::Duplicate(seq)),
                // Nobody knows whether it is one: neither stored nor answered as stored.
                Err(error) => {
                    let text = format!("message ids cannot be looked up: {error}");
                    return Err(ApiError::store_failed(text));
                }
            }
        }
        if !record.headers.is_empty() {
            self.check_expected(record.subject, wishes)?;
            wanted = self.wanted(wishes, record, time)?;
        }
        self.check_size(record)?;
        Ok(Admitted::New(wanted))
    }

    /// Whether a record is small enough for this stream.
    pub(crate) fn check_size(&self, record: &RecordView<'_>) -> Result<(), ApiError> {
        if record.headers.len() > MAX_HEADERS {
            return Err(ApiError::headers_too_large());
        }
        let size = record.headers.len() + record.payload.len();
        if StreamConfig::limit(self.config.max_msg_size).is_some_and(|max| size as u64 > max)
            || size + record.subject.len() > Size::MOST
        {
            return Err(ApiError::message_too_large());
        }
        Ok(())
    }

    /// How a message is to be kept that has headers.
    pub(crate) fn wanted<'a>(
        &self,
        wishes: &Wishes<'a>,
        record: &RecordView<'_>,
        time: Timestamp,
    ) -> Result<Wanted<'a>, ApiError> {
        let rest = match &wishes.rest {
            Some(rest) => rest,
            None => {
                return Ok(Wanted {
                    id: wishes.id,
                    ..Wanted::default()
                });
            }
        };
        let mut wanted = Wanted {
            id: wishes.id,
            rollup: rest.rollup(&self.config)?,
            ttl: rest.ttl(&self.config)?,
            schedule: None,
            is_marker: rest.is_marker,
            subject: None,
        };
        wanted.ttl = wanted.ttl.map(|ttl| ttl.at_least(self.marker_ttl()));
        if rest.schedule.is_some() {
            wanted.schedule = Some(self.first_time(record, time)?);
            // The last message of a subject is its schedule; there is no use in those before.
            wanted.rollup = Some(Rollup::Subject);
        }
        if rest.scheduled && self.config.allow_msg_schedules {
            return Err(ApiError::schedule_scheduler_invalid());
        }
        match rest.unsupported {
            Some(error) => Err(error()),
            None => Ok(wanted),
        }
    }

    /// What the message is known by: its id, and its content where that counts.
    pub(crate) fn ids(&self, wishes: &Wishes<'_>, record: &RecordView<'_>) -> [Option<IdHash>; 2] {
        let dedup = &self.dedup;
        let content =
            |rule: &ContentRule| dedup.hash(IdKind::Content, |hasher| rule.write(record, hasher));
        [
            wishes.id.map(|id| dedup.hash_id(id)),
            self.content.as_ref().map(content),
        ]
    }

    pub(crate) fn check_expected(
        &self,
        subject: &[u8],
        wishes: &Wishes<'_>,
    ) -> Result<(), ApiError> {
        let Some(rest) = &wishes.rest else {
            return Ok(());
        };
        if let Some(value) = rest.last_sequence
            && number(value) != Some(self.log.last_seq())
        {
            return Err(ApiError::wrong_last_sequence(self.log.last_seq()));
        }
        if let Some(id) = rest.last_msg_id
            && id != self.last_msg_id
        {
            return Err(ApiError::wrong_last_msg_id(&String::from_utf8_lossy(
                &self.last_msg_id,
            )));
        }
        match (rest.subject_sequence, rest.subject) {
            (Some(value), filter) => {
                let last = match filter {
                    Some(filter) => self
                        .log
                        .last_matching(&crate::filters::Filters::one(filter)),
                    None => self.log.last_for(subject),
                };
                let last = last.unwrap_or(0);
                if number(value) == Some(last) {
                    Ok(())
                } else {
                    Err(ApiError::wrong_last_sequence(last))
                }
            }
            (None, Some(_)) => Err(ApiError::subject_sequence_missing()),
            (None, None) => Ok(()),
        }
    }

    /// With discard `new`, whether a message that counts for `cost` bytes fits.
    fn make_room(&self, subject: &[u8], cost: u64) -> Result<(), ApiError> {
        let config = &self.config;
        let max_bytes = StreamConfig::limit(config.max_bytes);
        if max_bytes.is_some_and(|max| cost > max) {
            return Err(ApiError::store_failed("maximum bytes exceeded"));
        }
        if config.discard != DiscardPolicy::New {
            return Ok(());
        }
        let mut freed = (0, 0);
        if let Some(max) = StreamConfig::limit(config.max_msgs_per_subject)
            && let Some(id) = self.log.subjects.find(subject)
            && u64::from(self.log.subjects.get(id).count) >= max
        {
            if config.discard_new_per_subject {
                return Err(ApiError::store_failed(
                    "maximum messages per subject exceeded",
                ));
            }
            let oldest = self.log.meta(self.log.subjects.get(id).first);
            freed = (1, oldest.map_or(0, |meta| self.log.cost(Size(meta.size))));
        }
        if StreamConfig::limit(config.max_msgs)
            .is_some_and(|max| self.log.messages() - freed.0 >= max)
        {
            return Err(ApiError::store_failed("maximum messages exceeded"));
        }
        if max_bytes.is_some_and(|max| self.log.bytes() - freed.1 + cost > max) {
            return Err(ApiError::store_failed("maximum bytes exceeded"));
        }
        Ok(())
    }

    /// How long message ids are remembered.
    #[must_use]
    pub fn duplicate_window(&self) -> Duration {
        self.config.duplicate_window
    }
}

enum Admitted<'a> {
    New(Wanted<'a>),
    Duplicate(u64),
}
