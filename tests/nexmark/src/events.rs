//! People, auctions and bids by number.

use crate::random::Random;
use crate::texts;

/// Of every 50 events.
const PERSONS: u64 = 1;
const AUCTIONS: u64 = 3;
const ALL: u64 = 50;
/// Ids start here, so that small numbers in queries mean nothing by accident.
const FIRST_ID: u64 = 1000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;
/// Bids and auctions may name the next few auctions and people before these come.
const LEAD: u64 = 10;
/// One of so many auctions, sellers or bidders is hot.
const HOT: u64 = 100;
/// Coprime to the size of a group: goes through the group's numbers in an order that looks random.
const SHUFFLE: u64 = 953;

/// The stream that an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Station {
    /// Somebody who sells or bids.
    Person,
    /// Something for sale.
    Auction,
    /// A bid for it.
    Bid,
}

impl Station {
    /// All of them, in the order in which events of a group of 50 come.
    pub const ALL: [Self; 3] = [Self::Person, Self::Auction, Self::Bid];

    /// Its name in queries.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Auction => "auction",
            Self::Bid => "bid",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where it belongs.
    pub station: Station,
    /// Its id, or the auction that it is a bid for.
    pub id: u64,
    /// When it happened, in milliseconds since 1970.
    pub time: i64,
    /// What happened, as a JSON object.
    pub json: String,
}

/// Makes events; the same numbers and options make the same events.
#[derive(Clone, Debug)]
pub struct Generator {
    /// Another seed, other events.
    pub seed: u64,
    /// When the first event happens, in milliseconds since 1970.
    pub start: i64,
    /// Events per second of event time.
    pub rate: u64,
    /// Events of a group this large come out of order. 1: all come in order. No multiple of 953.
    pub disorder: u64,
    /// Auctions that are open at a time.
    pub in_flight_auctions: u64,
    /// People who sell and bid at a time.
    pub active_people: u64,
    /// All but one of so many bids are for the hot auction.
    pub hot_auctions: u64,
    /// All but one of so many auctions are the hot seller's.
    pub hot_sellers: u64,
    /// All but one of so many bids are the hot bidder's.
    pub hot_bidders: u64,
    /// Average bytes of the values of a person, an auction and a bid.
    pub sizes: [u64; 3],
}

impl Default for Generator {
    fn default() -> Self {
        Self {
            seed: 0,
            start: 1_436_918_400_000,
            rate: 10_000,
            disorder: 1,
            in_flight_auctions: 100,
            active_people: 1000,
            hot_auctions: 2,
            hot_sellers: 4,
            hot_bidders: 4,
            sizes: [200, 500, 100],
        }
    }
}

impl Generator {
    /// The event that comes after `number` others.
    #[must_use]
    pub fn event(&self, number: u64) -> Event {
        let time = self.time(self.shuffled(number));
        let random = &mut Random::of(self.seed, number);
        match number % ALL {
            offset if offset < PERSONS => self.person(number, time, random),
            offset if offset < PERSONS + AUCTIONS => self.auction(number, time, random),
            _ => self.bid(number, time, random),
        }
    }

    /// The first `count` events.
    pub fn events(&self, count: u64) -> impl Iterator<Item = Event> + '_ {
        (0..count).map(|number| self.event(number))
    }

    fn shuffled(&self, number: u64) -> u64 {
        number / self.disorder * self.disorder + number * SHUFFLE % self.disorder
    }

    fn time(&self, number: u64) -> i64 {
        self.start + i64::try_from(number * 1000 / self.rate).unwrap_or(i64::MAX)
    }

    fn person(&self, number: u64, time: i64, random: &mut Random) -> Event {
        let id = FIRST_ID + last_person(number);
        let name = texts::person_name(random);
        let email = texts::email(random);
        let card = texts::credit_card(random);
        let (city, state) = (texts::city(random), texts::state(random));
        let size = 8 + name.len() + email.len() + card.len() + city.len() + state.len();
        let extra = texts::extra(random, size as u64, self.sizes[0]);
        let at = rfc3339(time);
        let json = format!(
            r#"{{"id":{id},"name":"{name}","emailAddress":"{email}","creditCard":"{card}","city":"{city}","state":"{state}","dateTime":"{at}","extra":"{extra}"}}"#
        );
        Event {
            station: Station::Person,
            id,
            time,
            json,
        }
    }

    fn auction(&self, number: u64, time: i64, random: &mut Random) -> Event {
        let id = FIRST_ID + last_auction(number);
        let seller = if random.below(self.hot_sellers) > 0 {
            last_person(number) / HOT * HOT
        } else {
            self.some_person(number, random)
        } + FIRST_ID;
        let category = FIRST_CATEGORY + random.below(CATEGORIES);
        let initial = texts::price(random);
        let expires = time + self.length(number, time, random);
        let name = texts::words(random, 20, ' ');
        let description = texts::words(random, 100, ' ');
        let reserve = initial + texts::price(random);
        let size = 8 + name.len() + description.len() + 5 * 8;
        let extra = texts::extra(random, size as u64, self.sizes[1]);
        let (at, expires) = (rfc3339(time), rfc3339(expires));
        let json = format!(
            r#"{{"id":{id},"itemName":"{name}","description":"{description}","initialBid":{initial},"reserve":{reserve},"dateTime":"{at}","expires":"{expires}","seller":{seller},"category":{category},"extra":"{extra}"}}"#
        );
        Event {
            station: Station::Auction,
            id,
            time,
            json,
        }
    }

    fn bid(&self, number: u64, time: i64, random: &mut Random) -> Event {
        let last = last_auction(number);
        let auction = if random.below(self.hot_auctions) > 0 {
            last / HOT * HOT
        } else {
            let first = last.saturating_sub(self.in_flight_auctions);
            first + random.below(last - first + 1 + LEAD)
        } + FIRST_ID;
        let bidder = if random.below(self.hot_bidders) > 0 {
            // Not the hot seller.
            last_person(number) / HOT * HOT + 1
        } else {
            self.some_person(number, random)
        } + FIRST_ID;
        let price = texts::price(random);
        let (channel, url) = texts::channel(random);
        let extra = texts::extra(random, 4 * 8, self.sizes[2]);
        let at = rfc3339(time);
        let json = format!(
            r#"{{"auction":{auction},"bidder":{bidder},"price":{price},"channel":"{channel}","url":"{url}","dateTime":"{at}","extra":"{extra}"}}"#
        );
        Event {
            station: Station::Bid,
            id: auction,
            time,
            json,
        }
    }

    /// One of those who are active, or who come next.
    fn some_person(&self, number: u64, random: &mut Random) -> u64 {
        let people = last_person(number) + 1;
        let active = people.min(self.active_people);
        people - active + random.below(active + LEAD)
    }

    /// How long an auction lasts: on average until as many others are open as there are at a time.
    fn length(&self, number: u64, time: i64, random: &mut Random) -> i64 {
        let until = self.time(self.shuffled(number) + self.in_flight_auctions * ALL / AUCTIONS);
        let horizon = u64::try_from(until - time).unwrap_or(0);
        1 + i64::try_from(random.below((2 * horizon).max(1))).unwrap_or(0)
    }
}

/// The last person up to this event, from 0.
fn last_person(number: u64) -> u64 {
    // The first event of each epoch is its one person.
    number / ALL * PERSONS
}

/// The last auction up to this event, from 0.
fn last_auction(number: u64) -> u64 {
    let before = number / ALL * AUCTIONS;
    let offset = number % ALL;
    if offset < PERSONS {
        // The first person comes before there is any.
        before.saturating_sub(1)
    } else {
        before + (offset - PERSONS).min(AUCTIONS - 1)
    }
}

/// Milliseconds since 1970 as `2015-07-15T00:00:00.000Z`.
fn rfc3339(time: i64) -> String {
    const DAY: i64 = 86_400_000;
    let (days, rest) = (time.div_euclid(DAY), time.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day of a day since 1970, counted in years that begin in March so that leap days come last.
fn civil(days: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, date)
}

#[cfg(test)]
mod tests;
