//! A walk over the frames of one file that goes on behind damage.
//!
//! Where no whole frame continues the log, the next one is found: in the footer when there is one; else where the
//! damaged frame's own header says, if a frame of the right index is there; else by looking for the magic of one whose
//! checksum and index fit. What lies between is lost, and its indexes are known from those around it.

use std::io;

use crate::damage::{Damage, DamageKind, Told};
use crate::footer::{Footer, FrameInfo};
use crate::frame::{COPY, FILE_HEADER, FRAME_HEADER, FrameHeader, is_whole, read_frame_header};
use crate::recover::file_name;
use crate::window::Window;

/// How far the log goes in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// To this index: another file, or the footer, says so.
    Last(u64),
    /// As far as there are frames; all up to this index were acknowledged.
    Open(u64),
}

/// A step of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A frame, whose body is asked for with [`Walk::body`].
    Frame {
        header: FrameHeader,
        /// Where its header is, or was.
        at: u64,
        /// Where its body is: behind that, or in the second copy.
        body: u64,
        /// Whether the second copy was used, because the first is damaged.
        from_copy: bool,
    },
    /// The second copy of the frame before.
    Copy { header: FrameHeader, at: u64 },
    /// A damaged second copy of the frame before.
    BadCopy { at: u64, index: u64 },
    /// Frames that are lost, from index `first` on.
    Lost {
        at: u64,
        first: u64,
        frames: u64,
        told: Option<Told>,
    },
    /// A whole frame that only a newer build reads.
    Newer { at: u64 },
    /// Where frames end.
    End { at: u64 },
}

impl Found {
    /// The frames in the file that it stands for; of one that was found by its second copy, the place of the first too.
    pub(crate) fn infos(&self) -> impl Iterator<Item = FrameInfo> + use<> {
        let info = |header: &FrameHeader, at, flags| FrameInfo {
            offset: at,
            len: header.len,
            index: header.index,
            group: header.group,
            stream: header.stream,
            count: header.count,
            flags,
        };
        let (first, second) = match self {
            Self::Frame {
                header,
                at,
                from_copy: true,
                ..
            } => {
                let copy = info(header, at + header.total(), header.flags);
                (Some(info(header, *at, header.flags & !COPY)), Some(copy))
            }
            Self::Frame { header, at, .. } | Self::Copy { header, at } => {
                (Some(info(header, *at, header.flags)), None)
            }
            Self::BadCopy { .. } | Self::Lost { .. } | Self::Newer { .. } | Self::End { .. } => {
                (None, None)
            }
        };
        first.into_iter().chain(second)
    }

    /// The damage that it is, in the file with this number.
    pub(crate) fn damage(&self, file: u32) -> Option<Damage> {
        let (at, kind, index, frames, told) = match *self {
            Self::Frame {
                header,
                at,
                from_copy: true,
                ..
            } => (at, DamageKind::First, header.index, 1, Some(header.told())),
            Self::BadCopy { at, index } => (at, DamageKind::Copy, index, 1, None),
            Self::Lost {
                at,
                first,
                frames,
                told,
            } => (at, DamageKind::Frame, first, frames, told),
            Self::Frame { .. } | Self::Copy { .. } | Self::Newer { .. } | Self::End { .. } => {
                return None;
            }
        };
        Some(Damage {
            name: file_name(file),
            file,
            offset: at,
            kind,
            index,
            frames,
            told,
        })
    }
}

/// The walk.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    pub(crate) window: Window<'a>,
    /// Where it is.
    pub(crate) at: u64,
    /// The index that comes next.
    pub(crate) next: u64,
    /// The CRC that the next frame continues; `None` when it cannot be known, because what comes before is damaged.
    pub(crate) chain: Option<u32>,
    limit: Limit,
    footer: Option<&'a Footer>,
    /// Whether a second copy may come: the last step was a first one.
    after_first: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        window: Window<'a>,
        next: u64,
        chain: Option<u32>,
        limit: Limit,
        footer: Option<&'a Footer>,
    ) -> Self {
        Self {
            window,
            at: FILE_HEADER as u64,
            next,
            chain,
            limit,
            footer,
            after_first: false,
        }
    }

    /// Goes on behind a frame with this index that ends at `at` and may have a second copy.
    pub(crate) fn start_behind(&mut self, at: u64, index: u64, chain: Option<u32>) {
        (self.at, self.next, self.chain) = (at, index + 1, chain);
        self.after_first = true;
    }

    /// The next step, made sure of where somebody is writing: what looks damaged is read a second time.
    pub(crate) fn step_twice(&mut self) -> io::Result<Found> {
        let before = (self.at, self.next, self.chain, self.after_first);
        let found = self.step()?;
        if found.damage(0).is_none() {
            return Ok(found);
        }
        (self.at, self.next, self.chain, self.after_first) = before;
        self.window.forget();
        self.step()
    }

    /// The bytes of a body that a step found.
    pub(crate) fn body(&mut self, at: u64, len: u32) -> io::Result<&[u8]> {
        self.window.bytes(at, len as usize)
    }

    /// The next step. Once it is [`Found::End`] or [`Found::Newer`], it stays so.
    pub(crate) fn step(&mut self) -> io::Result<Found> {
        if self.after_first {
            self.after_first = false;
            if let Some(found) = self.copy_behind()? {
                return Ok(found);
            }
        }
        let done = matches!(self.limit, Limit::Last(last) if self.next > last);
        if done {
            return Ok(Found::End { at: self.at });
        }
        let at = self.at;
        if let Some(header) = self.whole(at)?
            && header.index == self.next
            && !header.is_copy()
            && self.chain.is_none_or(|chain| chain == header.chain)
        {
            if header.is_newer() {
                return Ok(Found::Newer { at });
            }
            let end = at + header.total();
            self.pass(end, &header);
            self.after_first = true;
            return Ok(Found::Frame {
                header,
                at,
                body: at + FRAME_HEADER as u64,
                from_copy: false,
            });
        }
        self.resync(at)
    }

    fn pass(&mut self, end: u64, header: &FrameHeader) {
        self.at = end;
        self.next = header.index + 1;
        self.chain = Some(header.crc);
    }

    /// The header of the whole frame at `at`, if there is one.
    fn whole(&mut self, at: u64) -> io::Result<Option<FrameHeader>> {
        let room = self.window.length.saturating_sub(at);
        let Some(header) = read_frame_header(self.window.bytes(at, FRAME_HEADER)?) else {
            return Ok(None);
        };
        if header.total() > room {
            return Ok(None);
        }
        let whole = self.window.bytes(at, FRAME_HEADER + header.len as usize)?;
        Ok((whole.len() as u64 == header.total()
            && is_whole(&whole[..FRAME_HEADER], &whole[FRAME_HEADER..], header.crc))
        .then_some(header))
    }

    /// What lies behind a first copy, when it is the second one.
    fn copy_behind(&mut self) -> io::Result<Option<Found>> {
        let (at, index) = (self.at, self.next - 1);
        if let Some(header) = self.whole(at)?
            && header.is_copy()
            && header.index == index
        {
            if header.is_newer() {
                return Ok(Some(Found::Newer { at }));
            }
            self.at = at + header.total();
            self.chain = Some(header.crc);
            return Ok(Some(Found::Copy { header, at }));
        }
        let known = self.footer.and_then(|footer| footer.frame_at(at));
        if let Some(info) = known.filter(|info| info.is_copy()) {
            self.at = info.end();
            self.chain = None;
            return Ok(Some(Found::BadCopy { at, index }));
        }
        Ok(None)
    }

    /// At a place where no whole frame continues the log.
    fn resync(&mut self, at: u64) -> io::Result<Found> {
        if let Some(info) = self.footer.and_then(|footer| footer.frame_at(at)).copied()
            && info.index == self.next
        {
            // Its copy, where it has one, is directly behind it and as long.
            if let Some(found) = self.copy_at(at, info.end())? {
                return Ok(found);
            }
            let mut end = info.end();
            if let Some(copy) = self.footer.and_then(|footer| footer.frame_at(end))
                && copy.is_copy()
            {
                end = copy.end();
            }
            return Ok(self.lost(at, info.index + 1, end, Some(info.told())));
        }
        if let Some(footer) = self.footer {
            let behind = footer.frames.partition_point(|frame| frame.offset <= at);
            let next = footer.frames[behind..]
                .iter()
                .find(|frame| frame.index >= self.next && !frame.is_copy())
                .map(|frame| (frame.index, frame.offset));
            return Ok(match (next, self.limit) {
                (Some((index, offset)), _) if index > self.next => {
                    self.lost(at, index, offset, None)
                }
                (Some((_, offset)), _) => {
                    self.at = offset;
                    self.chain = None;
                    return self.step();
                }
                (None, Limit::Last(last)) => self.lost(at, last + 1, footer.end, None),
                (None, Limit::Open(_)) => Found::End { at },
            });
        }
        self.search(at)
    }

    /// The frame whose first copy is damaged at `at`, if its second one is whole at `copy`.
    fn copy_at(&mut self, at: u64, copy: u64) -> io::Result<Option<Found>> {
        let Some(header) = self.whole(copy)? else {
            return Ok(None);
        };
        if !header.is_copy() || header.index != self.next || copy != at + header.total() {
            return Ok(None);
        }
        if header.is_newer() {
            return Ok(Some(Found::Newer { at: copy }));
        }
        self.pass(copy + header.total(), &header);
        Ok(Some(Found::Frame {
            header,
            at,
            body: copy + FRAME_HEADER as u64,
            from_copy: true,
        }))
    }

    fn lost(&mut self, at: u64, next: u64, end: u64, told: Option<Told>) -> Found {
        let first = self.next;
        (self.at, self.next, self.chain) = (end, next, None);
        Found::Lost {
            at,
            first,
            frames: next - first,
            told,
        }
    }

    /// Without a footer.
    fn search(&mut self, at: u64) -> io::Result<Found> {
        if self.window.is_zero_from(at)? {
            return Ok(self.nothing_behind(at));
        }
        let hint = self.hint(at)?;
        let place = match hint {
            Some(end) => self.follows(at, end)?.then_some(end),
            None => None,
        };
        let (place, told) = match place {
            Some(place) => (Some(place), self.told(at)?),
            None => (self.next_whole(at)?, None),
        };
        let Some(place) = place else {
            // Of the last frame in a file its own header is all there is to tell.
            let last = matches!(self.limit, Limit::Last(last) if self.next == last);
            let end = hint.filter(|_| last).unwrap_or(at);
            let told = if last { self.told(at)? } else { None };
            return Ok(match self.nothing_behind(at) {
                Found::Lost {
                    at, first, frames, ..
                } => {
                    self.at = end;
                    Found::Lost {
                        at,
                        first,
                        frames,
                        told,
                    }
                }
                found => found,
            });
        };
        let Some(header) = self.whole(place)? else {
            return Ok(Found::End { at });
        };
        if let Some(found) = self.copy_at(at, place)? {
            return Ok(found);
        }
        let acknowledged = match self.limit {
            Limit::Last(_) => true,
            Limit::Open(floor) => self.next <= floor || self.proof(at)?,
        };
        if !acknowledged {
            return Ok(Found::End { at });
        }
        if header.is_copy() && header.index >= self.next {
            // Its first copy is damaged too, and lies as far before it as it is long.
            let start = place.saturating_sub(header.total());
            if start <= at && header.index == self.next {
                return Ok(self.lost(at, header.index + 1, place + header.total(), None));
            }
            if header.index == self.next {
                (self.at, self.chain) = (start, None);
                return Ok(Found::BadCopy {
                    at,
                    index: header.index - 1,
                });
            }
            return Ok(self.lost(at, header.index, start.max(at), told));
        }
        if header.index == self.next {
            // Nothing is missing: what is between was a second copy.
            let index = self.next - 1;
            (self.at, self.chain) = (place, None);
            return Ok(Found::BadCopy { at, index });
        }
        Ok(self.lost(at, header.index, place, told))
    }

    /// No whole frame comes any more.
    fn nothing_behind(&mut self, at: u64) -> Found {
        match self.limit {
            Limit::Last(last) | Limit::Open(last) if last >= self.next => {
                self.lost(at, last + 1, at, None)
            }
            Limit::Last(_) | Limit::Open(_) => Found::End { at },
        }
    }

    /// Where the frame at `at` ends, as its own header has it, when that can be so.
    fn hint(&mut self, at: u64) -> io::Result<Option<u64>> {
        let (next, length) = (self.next, self.window.length);
        let header = read_frame_header(self.window.bytes(at, FRAME_HEADER)?);
        Ok(header
            .filter(|header| header.index == next && !header.is_copy())
            .map(|header| at + header.total())
            .filter(|end| *end <= length))
    }

    /// Whether a whole frame at `end` comes directly behind the one at `at`.
    fn follows(&mut self, at: u64, end: u64) -> io::Result<bool> {
        let next = self.next;
        Ok(self.whole(end)?.is_some_and(|header| {
            header.index == next + 1 && !header.is_copy()
                || header.index == next && header.is_copy() && header.total() == end - at
        }))
    }

    /// What the damaged frame's own header tells of it.
    fn told(&mut self, at: u64) -> io::Result<Option<Told>> {
        let next = self.next;
        let header = read_frame_header(self.window.bytes(at, FRAME_HEADER)?);
        Ok(header
            .filter(|header| header.index == next)
            .map(|header| header.told()))
    }

    /// The next place behind `at` with a whole frame that may belong there. Its index can be no further on than there is
    /// room for frames between.
    fn next_whole(&mut self, at: u64) -> io::Result<Option<u64>> {
        let mut from = at + 1;
        while let Some(place) = self.window.find_magic(from)? {
            let most = self.next + (place - at) / FRAME_HEADER as u64;
            let last = match self.limit {
                Limit::Last(last) => last,
                Limit::Open(_) => u64::MAX,
            };
            if let Some(header) = self.whole(place)?
                && (self.next..=most.min(last)).contains(&header.index)
                && (FILE_HEADER as u64..=place).contains(&header.batch)
            {
                return Ok(Some(place));
            }
            from = place + 1;
        }
        Ok(None)
    }

    /// Whether what is missing at `at` was acknowledged: a whole frame whose batch began behind it proves that, because a
    /// batch is only begun when everything before it was synced.
    fn proof(&mut self, at: u64) -> io::Result<bool> {
        let mut from = at + 1;
        while let Some(place) = self.window.find_magic(from)? {
            if let Some(header) = self.whole(place)?
                && header.batch > at
                && header.batch <= place
                && header.index >= self.next
            {
                return Ok(true);
            }
            from = place + 1;
        }
        Ok(false)
    }
}
