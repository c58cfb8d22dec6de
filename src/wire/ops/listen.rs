//! ListenBucketNotification, MinIO's call: events of one bucket, or of all, as they happen, for as long as the connection
//! lasts. One JSON document a line.
//!
//! It is fed by what is committed from now on, and by nothing stored: who may miss nothing names a topic in the bucket's
//! notification configuration. A listener that does not keep up is ended, as all are at shutdown; clients ask again.

use std::cell::Cell;
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;

use crate::access::owner_id;
use crate::engine::Engine;
use crate::limits;
use crate::meta::{BucketId, Change, ChangeTap, MetaError, Wants};
use crate::notification::{event_matches, listened_json, may_listen_to};
use crate::wire::error::{S3Code, S3Error};
use crate::wire::request::Call;
use crate::wire::response::{self, Response};

pub fn run(call: &Call) -> Result<Response, S3Error> {
    let (bucket, account) = match call.bucket.as_str() {
        "" => (None, Some(account_of_root(call)?)),
        _ => (Some(call.open_bucket()?), None),
    };
    let wants = filter(call, bucket.map(|bucket| bucket.id))?;
    let quiet = Quiet::asked(call)?;
    let tap = call.engine.meta().tap(wants).map_err(|error| match error {
        MetaError::Busy => {
            let text = format!("{} listeners are open, as many as there may be; end one", limits::LISTENERS_MAX);
            S3Error::with(S3Code::SlowDown, text)
        }
        other => other.into(),
    })?;
    let events = Events {
        tap,
        engine: call.engine.clone(),
        host: call.settings.host_id.clone(),
        stopping: call.stopping.clone(),
        account,
        regions: HashMap::new(),
        timer: Box::pin(monoio::time::sleep(quiet.after())),
        quiet,
    };
    Ok(response::stream("application/json", Box::pin(events)))
}

/// Buckets come and go while somebody listens to all of them, and each may have a policy: that is for the account's root.
fn account_of_root(call: &Call) -> Result<String, S3Error> {
    match call.identity.principal().filter(|principal| principal.is_root()) {
        Some(root) => Ok(root.canonical_id().to_owned()),
        None => Err(S3Error::with(S3Code::AccessDenied, "listening to all buckets is the root's; name a bucket")),
    }
}

/// What the query asks for: `events`, as often as it likes, and one `prefix` and `suffix`.
fn filter(call: &Call, bucket: Option<BucketId>) -> Result<Wants, S3Error> {
    let patterns: Vec<String> = call.query.all("events").map(str::to_owned).collect();
    if let Some(unknown) = patterns.iter().find(|pattern| !may_listen_to(pattern)) {
        let text = "A specified event is not supported for notifications; for example s3:ObjectCreated:* is";
        return Err(S3Error::argument("events", unknown, text));
    }
    let text = |name: &str| -> Result<String, S3Error> {
        let mut values = call.query.all(name);
        let value = values.next().unwrap_or_default();
        if values.next().is_some() {
            return Err(S3Error::argument(name, value, format!("name one {name} only")));
        }
        if value.len() > limits::KEY_BYTES_MAX {
            return Err(S3Error::argument(name, value, format!("no key has a {name} of that length")));
        }
        Ok(value.to_owned())
    };
    let (prefix, suffix) = (text("prefix")?, text("suffix")?);
    Ok(Box::new(move |change: &Change| {
        // The store's own bucket is nobody's business.
        let of_bucket = bucket.map_or(!change.bucket_name.starts_with('.'), |bucket| bucket == change.bucket);
        of_bucket
            && change.key.starts_with(&prefix)
            && change.key.ends_with(&suffix)
            && patterns.iter().any(|pattern| event_matches(pattern, change.event))
    }))
}

/// What is sent while nothing happens.
enum Quiet {
    Space,
    /// An empty list of records, as MinIO's `ping` asks for.
    Ping(Duration),
}

impl Quiet {
    fn asked(call: &Call) -> Result<Quiet, S3Error> {
        let Some(text) = call.query.get_filled("ping") else { return Ok(Quiet::Space) };
        let longest = limits::LISTENER_PING_MAX.as_secs();
        match text.parse::<u64>() {
            Ok(seconds) if (1..=longest).contains(&seconds) => Ok(Quiet::Ping(Duration::from_secs(seconds))),
            _ => {
                Err(S3Error::argument("ping", text, format!("ping has the seconds between two pings, 1 to {longest}")))
            }
        }
    }

    fn after(&self) -> Duration {
        match self {
            Quiet::Space => limits::LISTENER_KEEP_ALIVE,
            Quiet::Ping(interval) => *interval,
        }
    }

    fn text(&self) -> &'static [u8] {
        match self {
            Quiet::Space => b" ",
            Quiet::Ping(_) => b"{\"Records\":null}\n",
        }
    }
}

/// The lines of one listener.
struct Events {
    tap: ChangeTap,
    engine: Rc<Engine>,
    host: String,
    /// Set at shutdown, which also wakes the connection that polls this.
    stopping: Rc<Cell<bool>>,
    /// Who listens to all buckets hears of this account's.
    account: Option<String>,
    /// A bucket's region, or none where the listener is not told of it. Neither ever changes.
    regions: HashMap<BucketId, Option<String>>,
    quiet: Quiet,
    timer: Pin<Box<monoio::time::Sleep>>,
}

impl Events {
    fn line(&mut self, change: &Change, into: &mut Vec<u8>) {
        if self.regions.len() >= limits::LISTENER_CHANGES_MAX {
            self.regions.clear();
        }
        let (engine, account) = (&self.engine, self.account.as_deref());
        let looked_up = || {
            let bucket = engine.bucket(&change.bucket_name).ok().filter(|bucket| bucket.id == change.bucket);
            match (bucket, account) {
                (Some(bucket), Some(account)) => Some(bucket.region).filter(|_| owner_id(&bucket.owner) == account),
                (Some(bucket), None) => Some(bucket.region),
                // It is gone already, and with it whose it was.
                (None, account) => account.is_none().then(String::new),
            }
        };
        let Some(region) = self.regions.entry(change.bucket).or_insert_with(looked_up) else { return };
        into.extend_from_slice(listened_json(&change.event_record("", region, &self.host)).as_bytes());
        into.push(b'\n');
    }
}

impl Stream for Events {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if this.stopping.get() {
            return Poll::Ready(None);
        }
        let mut piece = Vec::new();
        while piece.len() < limits::LISTENER_PIECE_BYTES {
            match Pin::new(&mut this.tap).poll_next(context) {
                Poll::Ready(Some(change)) => this.line(&change, &mut piece),
                // What came before the end still goes out.
                Poll::Ready(None) if piece.is_empty() => return Poll::Ready(None),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if piece.is_empty() {
            if this.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            piece.extend_from_slice(this.quiet.text());
        }
        this.timer = Box::pin(monoio::time::sleep(this.quiet.after()));
        // The new timer has to be polled once to be set.
        if this.timer.as_mut().poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Ready(Some(piece.into()))
    }
}
