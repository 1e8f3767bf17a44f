//! Slows down whoever guesses admin tokens.
//!
//! Each address may be wrong [`BURST`] times at once, and then once per [`EVERY`]; all addresses together [`BURST_OF_ALL`]
//! times, and then once per [`EVERY_OF_ALL`]. Whoever is over the limit is refused before the token is looked at: otherwise
//! the refusal would tell a wrong one from a right one. An address that has not been wrong lately is let try even while all
//! together are over the limit, so that a crowd of guessers locks nobody out.
//!
//! Behind a proxy everybody has the proxy's address, and shares its limit. A header with another address would be whatever
//! the guesser writes into it.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// How often one address may be wrong at once: a person who mistypes.
const BURST: u32 = 10;
/// After that, one attempt in this time.
const EVERY: Duration = Duration::from_secs(6);
/// How often all addresses together may be wrong at once.
const BURST_OF_ALL: u32 = 100;
/// After that, one attempt in this time.
const EVERY_OF_ALL: Duration = Duration::from_millis(600);
/// The most addresses that are remembered: about 200 KB. While there is no room, further ones share the limit of all.
const MOST_ADDRESSES: usize = 4096;

/// The wrong attempts of late.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Until when each address has something to work off.
    by_address: HashMap<IpAddr, Instant>,
    all: Option<Instant>,
}

impl Attempts {
    /// One attempt from an address: `find` looks at the token, if the address may try now.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn attempt<T>(
        &mut self,
        address: IpAddr,
        now: Instant,
        find: impl FnOnce() -> Option<T>,
    ) -> Result<Option<T>, Duration> {
        let address = network(address);
        let known = self.by_address.get(&address).copied().filter(|until| *until > now);
        let wait = wait(known, now, BURST, EVERY);
        if !wait.is_zero() {
            return Err(wait);
        }
        if known.is_none() && self.by_address.len() >= MOST_ADDRESSES {
            self.by_address.retain(|_, until| *until > now);
        }
        let has_room = known.is_some() || self.by_address.len() < MOST_ADDRESSES;
        let wait_for_all = self::wait(self.all, now, BURST_OF_ALL, EVERY_OF_ALL);
        if !wait_for_all.is_zero() && (known.is_some() || !has_room) {
            return Err(wait_for_all);
        }
        let found = find();
        if found.is_none() {
            if has_room {
                self.by_address.insert(address, known.unwrap_or(now) + EVERY);
            }
            // A crowd of new addresses adds no more than a moment's worth.
            let most = now + EVERY_OF_ALL * (BURST_OF_ALL + 1);
            self.all = Some((self.all.unwrap_or(now).max(now) + EVERY_OF_ALL).min(most));
        }
        Ok(found)
    }
}

/// How long until there is room for one more.
fn wait(until: Option<Instant>, now: Instant, burst: u32, every: Duration) -> Duration {
    until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now + every * (burst - 1)))
}

/// The network that one subscriber has: with IPv6, its first 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(attempts: &mut Attempts, address: &str, now: Instant) -> Result<(), Duration> {
        attempts.attempt(address.parse().unwrap(), now, || None::<()>).map(|found| assert!(found.is_none()))
    }

    #[test]
    fn an_address_is_slowed_down_and_others_are_not() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..BURST {
            wrong(&mut attempts, "192.0.2.1", now).unwrap();
        }
        assert_eq!(wrong(&mut attempts, "192.0.2.1", now), Err(EVERY));
        let right = attempts.attempt("192.0.2.1".parse().unwrap(), now, || panic!("the token is not looked at"));
        assert_eq!(right, Err::<Option<()>, _>(EVERY));
        assert_eq!(wrong(&mut attempts, "::ffff:192.0.2.1", now), Err(EVERY), "the same address");
        let other = attempts.attempt("192.0.2.2".parse().unwrap(), now, || Some(7));
        assert_eq!(other, Ok(Some(7)));
        // One more in time, and no more.
        wrong(&mut attempts, "192.0.2.1", now + EVERY).unwrap();
        assert_eq!(wrong(&mut attempts, "192.0.2.1", now + EVERY), Err(EVERY));
        let later = now + EVERY * (BURST + 1);
        for _ in 0..BURST {
            wrong(&mut attempts, "192.0.2.1", later).unwrap();
        }
        assert!(wrong(&mut attempts, "192.0.2.1", later).is_err());
    }

    #[test]
    fn what_is_right_costs_nothing() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..1000 {
            assert_eq!(attempts.attempt("192.0.2.1".parse().unwrap(), now, || Some(())), Ok(Some(())));
        }
        assert!(attempts.by_address.is_empty() && attempts.all.is_none());
    }

    #[test]
    fn a_network_of_ipv6_is_one() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for host in 0..BURST {
            wrong(&mut attempts, &format!("2001:db8:1:2::{host:x}"), now).unwrap();
        }
        assert_eq!(wrong(&mut attempts, "2001:db8:1:2:ffff::1", now), Err(EVERY));
        wrong(&mut attempts, "2001:db8:1:3::1", now).unwrap();
    }

    #[test]
    fn a_crowd_is_slowed_down_together_and_locks_nobody_out() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..BURST_OF_ALL {
            wrong(&mut attempts, &format!("192.0.2.{number}"), now).unwrap();
        }
        assert_eq!(wrong(&mut attempts, "192.0.2.1", now), Err(EVERY_OF_ALL), "it was wrong just now");
        assert_eq!(attempts.attempt("198.51.100.1".parse().unwrap(), now, || Some(())), Ok(Some(())));
        wrong(&mut attempts, "198.51.100.2", now).unwrap();
        assert!(wrong(&mut attempts, "198.51.100.2", now).is_err());
    }

    #[test]
    fn the_memory_is_bounded() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..3 * MOST_ADDRESSES {
            let _ = wrong(&mut attempts, &format!("10.0.{}.{}", number / 256, number % 256), now);
        }
        assert_eq!(attempts.by_address.len(), MOST_ADDRESSES);
        // Whoever comes now shares the limit of all, which a crowd does not raise without end.
        let wait = wrong(&mut attempts, "203.0.113.1", now).unwrap_err();
        assert!(wait <= EVERY_OF_ALL * 2, "{wait:?}");
        wrong(&mut attempts, "203.0.113.1", now + EVERY).unwrap();
        assert!(attempts.by_address.len() <= MOST_ADDRESSES);
    }
}
