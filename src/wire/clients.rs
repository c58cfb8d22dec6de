//! What one client, by its address, may take: connections, requests, bytes.
//!
//! Rates are buckets that fill with time, up to a second's worth. Bytes are counted as they pass a socket and are paid
//! afterwards: nobody is cut off within a request, but who has taken too many is told to slow down before the next.
//! An IPv6 client is its /64, which is what one customer gets. Shared by all cores; without rates nothing is looked at.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use http::{HeaderValue, header};

use super::error::{S3Code, S3Error};
use crate::limits;
use crate::seam::Clock;

/// What one client may take; 0 bounds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientLimits {
    /// Open connections.
    pub connections_max: usize,
    /// Requests in a second.
    pub requests_per_second: u64,
    /// Bytes in a second, in both directions together.
    pub bytes_per_second: u64,
}

impl ClientLimits {
    fn has_rates(&self) -> bool {
        self.requests_per_second > 0 || self.bytes_per_second > 0
    }
}

/// All clients.
#[derive(Debug)]
pub struct Clients {
    limits: ClientLimits,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<IpAddr, Client>>,
}

#[derive(Debug)]
struct Client {
    connections: usize,
    requests: Bucket,
    bytes: Bucket,
}

/// What is left of a second's worth; below zero: what was taken ahead.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: i128,
    as_of_ns: u64,
}

const SECOND_NS: i128 = 1_000_000_000;

impl Bucket {
    fn full(rate: u64, now_ns: u64) -> Bucket {
        Bucket { left: i128::from(rate) * SECOND_NS, as_of_ns: now_ns }
    }

    /// Units are a nanosecond's part of one, so that nothing is lost in rounding.
    fn refill(&mut self, rate: u64, now_ns: u64) {
        let gained = i128::from(now_ns.saturating_sub(self.as_of_ns)) * i128::from(rate);
        self.left = (self.left + gained).min(i128::from(rate) * SECOND_NS);
        self.as_of_ns = now_ns;
    }

    fn take(&mut self, count: u64) {
        self.left -= i128::from(count) * SECOND_NS;
    }

    /// Seconds until something is left, at least one; `None` where something is.
    fn seconds_to_wait(&self, rate: u64) -> Option<u64> {
        if rate == 0 || self.left > 0 {
            return None;
        }
        let ns = -self.left / i128::from(rate);
        Some(u64::try_from(ns / SECOND_NS).unwrap_or(u64::MAX).saturating_add(1))
    }
}

impl Clients {
    pub fn new(limits: ClientLimits, clock: Arc<dyn Clock>) -> Arc<Clients> {
        Arc::new(Clients { limits, clock, known: Mutex::new(HashMap::new()) })
    }

    /// Bounds nobody.
    pub fn unbounded(clock: Arc<dyn Clock>) -> Arc<Clients> {
        Clients::new(ClientLimits::default(), clock)
    }

    fn with<T>(&self, address: IpAddr, act: impl FnOnce(&mut Client, &ClientLimits) -> T) -> T {
        let now_ns = self.clock.monotonic_ns();
        let ClientLimits { requests_per_second, bytes_per_second, .. } = self.limits;
        let mut known = self.known.lock().expect("no holder of this lock panics");
        if known.len() >= limits::CLIENTS_MAX {
            known.retain(|_, client| client.is_remarkable(&self.limits, now_ns));
        }
        let mut stranger = Client {
            connections: 0,
            requests: Bucket::full(requests_per_second, now_ns),
            bytes: Bucket::full(bytes_per_second, now_ns),
        };
        // So many that none can be forgotten: the ones that are known keep their bounds, the others are let in.
        let client = match known.len() >= limits::CLIENTS_MAX && !known.contains_key(&address) {
            true => &mut stranger,
            false => known.entry(address).or_insert(stranger),
        };
        client.requests.refill(requests_per_second, now_ns);
        client.bytes.refill(bytes_per_second, now_ns);
        act(client, &self.limits)
    }

    /// A connection from this address; `None` when it has as many as it may.
    pub fn connect(self: &Arc<Self>, address: IpAddr) -> Option<Connected> {
        let address = client_of(address);
        if self.limits.connections_max > 0 {
            let fits = self.with(address, |client, limits| {
                let fits = client.connections < limits.connections_max;
                client.connections += usize::from(fits);
                fits
            });
            if !fits {
                return None;
            }
        }
        Some(Connected { clients: self.clone(), address })
    }

    /// A request from this address, or when it may come again.
    pub(super) fn admit(&self, address: IpAddr) -> Result<(), S3Error> {
        if !self.limits.has_rates() {
            return Ok(());
        }
        let wait = self.with(client_of(address), |client, limits| {
            let requests = client.requests.seconds_to_wait(limits.requests_per_second);
            let bytes = client.bytes.seconds_to_wait(limits.bytes_per_second);
            let wait = requests.max(bytes);
            if wait.is_none() {
                client.requests.take(1);
            }
            wait
        });
        match wait {
            None => Ok(()),
            Some(seconds) => Err(S3Error::with(
                S3Code::SlowDown,
                "Please reduce your request rate: the limits of this address are reached",
            )
            .header(header::RETRY_AFTER, HeaderValue::from(seconds))),
        }
    }

    fn spend(&self, address: IpAddr, bytes: u64) {
        if bytes > 0 {
            self.with(client_of(address), |client, _| client.bytes.take(bytes));
        }
    }
}

impl Client {
    /// Forgetting it would give it something.
    fn is_remarkable(&self, limits: &ClientLimits, now_ns: u64) -> bool {
        let is_full = |bucket: &Bucket, rate: u64| {
            let mut bucket = *bucket;
            bucket.refill(rate, now_ns);
            bucket.left >= i128::from(rate) * SECOND_NS
        };
        self.connections > 0
            || !is_full(&self.requests, limits.requests_per_second)
            || !is_full(&self.bytes, limits.bytes_per_second)
    }
}

fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address => address,
    }
}

/// An open connection of a client.
#[derive(Debug)]
pub struct Connected {
    clients: Arc<Clients>,
    address: IpAddr,
}

impl Drop for Connected {
    fn drop(&mut self) {
        if self.clients.limits.connections_max > 0 {
            self.clients.with(self.address, |client, _| client.connections = client.connections.saturating_sub(1));
        }
    }
}

/// Counts the bytes of one connection, and tells of them now and then.
#[derive(Debug)]
pub(super) struct Meter {
    /// `None`: nobody wants to know.
    clients: Option<Arc<Clients>>,
    address: IpAddr,
    untold: Cell<u64>,
}

impl Meter {
    pub fn new(clients: &Arc<Clients>, address: IpAddr) -> Meter {
        let clients = (clients.limits.bytes_per_second > 0).then(|| clients.clone());
        Meter { clients, address, untold: Cell::new(0) }
    }

    pub fn count(&self, bytes: usize) {
        if self.clients.is_none() {
            return;
        }
        self.untold.set(self.untold.get() + bytes as u64);
        if self.untold.get() >= limits::CLIENT_BYTES_UNTOLD_MAX {
            self.tell();
        }
    }

    /// To be called between requests.
    pub fn tell(&self) {
        if let Some(clients) = &self.clients {
            clients.spend(self.address, self.untold.take());
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Hand(AtomicU64);

    impl Hand {
        fn go(&self, ms: u64) {
            self.0.fetch_add(ms * 1_000_000, Ordering::Relaxed);
        }
    }

    impl Clock for Hand {
        fn unix_ms(&self) -> i64 {
            0
        }

        fn monotonic_ns(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn retry_after(outcome: Result<(), S3Error>) -> Option<String> {
        let error = outcome.err()?;
        assert_eq!(error.code, S3Code::SlowDown);
        Some(error.headers[0].1.to_str().unwrap().to_owned())
    }

    #[test]
    fn requests_are_a_rate_of_each_address() {
        let hand = Arc::new(Hand::default());
        let clients = Clients::new(ClientLimits { requests_per_second: 10, ..ClientLimits::default() }, hand.clone());
        let (one, other) = (address("10.0.0.1"), address("10.0.0.2"));
        assert!((0..10).all(|_| clients.admit(one).is_ok()));
        assert_eq!(retry_after(clients.admit(one)).as_deref(), Some("1"));
        assert!(clients.admit(other).is_ok());
        hand.go(100);
        assert!(clients.admit(one).is_ok());
        assert!(clients.admit(one).is_err());
        hand.go(60_000);
        assert_eq!(
            (0..20).filter(|_| clients.admit(one).is_ok()).count(),
            10,
            "no more than a second's worth is saved"
        );
    }

    #[test]
    fn bytes_are_paid_before_the_next_request() {
        let hand = Arc::new(Hand::default());
        let clients = Clients::new(ClientLimits { bytes_per_second: 1000, ..ClientLimits::default() }, hand.clone());
        let one = address("10.0.0.1");
        let meter = Meter::new(&clients, one);
        assert!(clients.admit(one).is_ok());
        meter.count(6000);
        assert!(clients.admit(one).is_ok(), "not told yet");
        meter.tell();
        assert_eq!(retry_after(clients.admit(one)).as_deref(), Some("6"));
        hand.go(5001);
        assert!(clients.admit(one).is_ok());
    }

    #[test]
    fn connections_are_counted_and_come_back() {
        let clients =
            Clients::new(ClientLimits { connections_max: 2, ..ClientLimits::default() }, Arc::new(Hand::default()));
        let one = address("2001:db8::1");
        let first = clients.connect(one);
        let second = clients.connect(address("2001:db8::2"));
        assert!(first.is_some() && second.is_some());
        assert!(clients.connect(one).is_none(), "one network, one client");
        assert!(clients.connect(address("2001:db8:0:1::1")).is_some());
        drop(first);
        assert!(clients.connect(one).is_some());
    }

    #[test]
    fn many_addresses_are_forgotten_when_they_rest() {
        let hand = Arc::new(Hand::default());
        let clients = Clients::new(ClientLimits { requests_per_second: 1, ..ClientLimits::default() }, hand.clone());
        let numbered = |n: usize| IpAddr::from(std::net::Ipv4Addr::from(n as u32));
        assert!((0..limits::CLIENTS_MAX).all(|n| clients.admit(numbered(n)).is_ok()));
        hand.go(2000);
        assert!(clients.admit(numbered(limits::CLIENTS_MAX)).is_ok());
        assert_eq!(clients.known.lock().unwrap().len(), 1);
    }
}
