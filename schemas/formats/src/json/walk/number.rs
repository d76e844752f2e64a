//! Numbers as they are written, and what they are.

/// A number as it is written.
#[derive(Default)]
pub(super) struct Figure {
    pub(super) negative: bool,
    /// Neither fraction nor exponent.
    pub(super) whole: bool,
    pub(super) exponent: bool,
    /// All digits before the exponent as one number; of no use where they are too many.
    pub(super) value: u64,
    pub(super) digits: usize,
    /// How many of them are behind the point.
    pub(super) fraction: usize,
}

impl Figure {
    pub(super) fn is_negative_zero(&self) -> bool {
        self.negative && self.whole && self.digits == 1 && self.value == 0
    }

    pub(super) fn is_short(&self) -> bool {
        !self.exponent && self.digits <= 15
    }

    /// Of a short one, the double that is this number, or the one nearest to it where there is a fraction. A double holds 15
    /// digits and the powers of ten up to 22, so that the quotient is rounded once (Clinger, "How to read floating point
    /// numbers accurately", 1990).
    pub(super) fn exact(&self) -> f64 {
        const POWERS: [f64; 16] = [
            1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
        ];
        let value = self.value as f64;
        // The division costs more than all the rest.
        let value = match self.fraction {
            0 => value,
            digits => value / POWERS[digits],
        };
        if self.negative { -value } else { value }
    }
}

/// A whole number of at most 15 digits, which a double holds, and where it ends: what most numbers are. Everything else is `None`.
#[inline]
pub(super) fn short_integer(bytes: &[u8], start: usize) -> Option<(f64, usize)> {
    let negative = bytes.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let (mut at, mut value) = (first, 0_i64);
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0'))
        && digit < 10
        && at - first < 16
    {
        value = value * 10 + i64::from(digit);
        at += 1;
    }
    let digits = at - first;
    let more = matches!(bytes.get(at), Some(b'.' | b'e' | b'E'));
    // No zero in front, and no negative zero.
    let strange = bytes.get(first) == Some(&b'0') && (digits > 1 || negative);
    if digits == 0 || digits > 15 || more || strange {
        return None;
    }
    Some(((if negative { -value } else { value }) as f64, at))
}
