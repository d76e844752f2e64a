//! Names, addresses and filling. None of them needs escaping in JSON.

use crate::random::Random;

/// The text between words and numbers.
const LETTERS: u64 = 26;
/// Shortest text.
const SHORTEST: u64 = 3;
/// Channels beside the hot ones.
const CHANNELS: u64 = 10_000;

const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
const FIRST_NAMES: [&str; 11] = [
    "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter",
];
const LAST_NAMES: [&str; 9] = [
    "Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris",
];
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// A channel has the same address in every bid, so it comes from the channel's number.
const CHANNEL_SEED: u64 = 0x6368_616e_6e65_6c73;

fn letter(random: &mut Random) -> char {
    char::from(b'a' + u8::try_from(random.below(LETTERS)).unwrap_or(0))
}

/// Words of at least three and less than `longest` characters.
pub(crate) fn words(random: &mut Random, longest: u64, between: char) -> String {
    let length = SHORTEST + random.below(longest - SHORTEST);
    let text: String = (0..length)
        .map(|_| {
            if random.below(13) == 0 {
                between
            } else {
                letter(random)
            }
        })
        .collect();
    text.trim().to_owned()
}

/// Filling that brings `size` to `average` bytes on average, a fifth more or less.
pub(crate) fn extra(random: &mut Random, size: u64, average: u64) -> String {
    let Some(missing) = average.checked_sub(size) else {
        return String::new();
    };
    let delta = missing / 5;
    let length = missing - delta + random.below((2 * delta).max(1));
    (0..length).map(|_| letter(random)).collect()
}

pub(crate) fn person_name(random: &mut Random) -> String {
    format!("{} {}", random.pick(&FIRST_NAMES), random.pick(&LAST_NAMES))
}

pub(crate) fn email(random: &mut Random) -> String {
    let (name, host) = (words(random, 7, '_'), words(random, 5, '_'));
    format!("{name}@{host}.com")
}

pub(crate) fn credit_card(random: &mut Random) -> String {
    let group = |random: &mut Random| random.below(10_000);
    let [a, b, c, d] = [(); 4].map(|()| group(random));
    format!("{a:04} {b:04} {c:04} {d:04}")
}

pub(crate) fn city(random: &mut Random) -> &'static str {
    random.pick(&CITIES)
}

pub(crate) fn state(random: &mut Random) -> &'static str {
    random.pick(&STATES)
}

/// From 100 to 100 million, each decade as likely as the others.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 10^2 and 10^8"
)]
pub(crate) fn price(random: &mut Random) -> u64 {
    (10_f64.powf(random.fraction() * 6.0) * 100.0).round() as u64
}

/// A channel's name and its address: half of the bids come through four of them.
pub(crate) fn channel(random: &mut Random) -> (String, String) {
    if random.below(2) > 0 {
        let index = random.below(HOT_CHANNELS.len() as u64);
        let name = HOT_CHANNELS[usize::try_from(index).unwrap_or(0)];
        let mut of = Random::of(CHANNEL_SEED, CHANNELS + index);
        return (name.to_owned(), address(&mut of));
    }
    let number = random.below(CHANNELS);
    let mut of = Random::of(CHANNEL_SEED, number);
    let mut url = address(&mut of);
    if of.below(10) > 0 {
        // The number's bits in reverse, as a number of 31 bits.
        let reversed = u32::try_from(number).unwrap_or(0).reverse_bits() & 0x7fff_ffff;
        url.push_str(&format!("&channel_id={reversed}"));
    }
    (format!("channel-{number}"), url)
}

fn address(random: &mut Random) -> String {
    let [a, b, c] = [(); 3].map(|()| words(random, 5, '_'));
    format!("https://www.nexmark.com/{a}/{b}/{c}/item.htm?query=1")
}
