//! The hook author's part of the admin API: hooks, their logs and runs, models, the outbox and its dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::admin::{AdminApi, Answer, Refusal, bad, failed, said, show};
use crate::engine::Engine;
use crate::hook::{Bounds, Ending, Grants, HookStats, HookWorld, LogLine, Manifest, StoreError, store};
use crate::limits;
use crate::meta::{Backlog, BucketConfig, StoredInvocation, VersionRef};
use crate::notification::Configuration;
use crate::outbox::ReplayRequest;
use crate::wire::{AdminAnswer, AdminBody, AdminRequest};

impl AdminApi {
    pub(super) async fn hooks(&self, request: AdminRequest, path: &[&str]) -> Answer {
        let hooks = &self.parts.hooks;
        match (&request.method, path) {
            (&Method::GET, []) if request.query("stats").is_some() => {
                let backlogs = self.parts.outbox.backlogs().map_err(failed)?;
                // Those that ran and are gone, and those that nothing was asked of yet, have their rows as well.
                let mut names: BTreeSet<String> = hooks.journal().hooks().into_iter().collect();
                names.extend(backlogs.keys().cloned());
                names.extend(hooks.list(&self.engine).await?.into_iter().map(|manifest| manifest.name));
                let row = |hook: String| (hook.clone(), self.fared(&hook, backlogs.get(&hook)));
                show(&names.into_iter().map(row).collect::<BTreeMap<_, _>>())
            }
            (&Method::GET, []) => show(&hooks.list(&self.engine).await?),
            (&Method::PUT, [name]) => {
                let grants = grants_of(&request)?;
                let (hooks, hook, module) = (hooks.clone(), (*name).to_owned(), request.body);
                let add = move |engine: &Rc<Engine>| pollster::block_on(hooks.add(engine, &hook, module, grants));
                let manifest = self.errand(add).await??;
                said(self.installed(&manifest, ""))
            }
            (&Method::DELETE, [name]) => {
                hooks.remove(&self.engine, name).await?;
                let rules: Vec<String> =
                    self.named_by(name)?.iter().map(|bucket| format!("\n{}", left(bucket))).collect();
                said(format!("hook {name} is removed{}", rules.concat()))
            }
            (&Method::GET, [name, "logs"]) => self.logs(name, request.query("follow").is_some()),
            (&Method::GET, [name, "stats"]) => {
                self.must_exist(name)?;
                show(&self.fared(name, self.parts.outbox.backlogs().map_err(failed)?.get(*name)))
            }
            (&Method::POST, [name, "run"]) => self.run(name, &request).await,
            (&Method::POST, [name, "replay"]) => self.replay(name, &request),
            _ => Err(Refusal(StatusCode::NOT_FOUND, "no such call on hooks".to_owned())),
        }
    }

    pub(super) async fn add_bundle(&self, request: AdminRequest) -> Answer {
        let granted = grants_of(&request)?;
        let (hooks, bundle) = (self.parts.hooks.clone(), request.body);
        let add = move |engine: &Rc<Engine>| pollster::block_on(hooks.add_bundle(engine, bundle, &granted));
        let manifest = self.errand(add).await??;
        let signer = manifest.signer.clone().unwrap_or_else(|| "no key that is trusted".to_owned());
        said(self.installed(&manifest, &format!(", signed by {signer}")))
    }

    /// What a hook may do, and how it is started.
    fn installed(&self, manifest: &Manifest, signed: &str) -> String {
        let Manifest { name, digest, grants, .. } = manifest;
        let bounds = Bounds::of(&self.parts.settings.hooks, grants);
        let mut granted = Vec::new();
        granted.extend(grants.tags.then(|| "tags".to_owned()));
        granted.extend(grants.derive.as_ref().map(|prefix| format!("derived objects below {prefix}")));
        granted.extend(grants.rate_per_s.map(|rate| format!("{rate} invocations a second")));
        let granted = if granted.is_empty() { "nothing more".to_owned() } else { granted.join(", ") };
        let next = match manifest.world {
            HookWorld::Hook => format!("aerie notify BUCKET --hook {name}"),
            HookWorld::Transform => format!("aerie get BUCKET/KEY --transform {name}"),
        };
        let (memory, output) = (bounds.memory_bytes >> 20, bounds.output_bytes);
        format!(
            "hook {name} is installed (sha256 {digest}){signed}\nit may take {memory} MiB, {} ms and {output} bytes of results; granted: {granted}\nstart it: {next}",
            bounds.deadline_ms
        )
    }

    /// How a hook fared since the start, and what is left of its work.
    fn fared(&self, hook: &str, backlog: Option<&Backlog>) -> Fared {
        let Backlog { pending, dead } = backlog.copied().unwrap_or_default();
        Fared { pending, dead, stats: self.parts.hooks.journal().stats(hook) }
    }

    /// Buckets with a rule for a hook.
    fn named_by(&self, hook: &str) -> Result<Vec<String>, Refusal> {
        let mut found = Vec::new();
        for bucket in self.engine.buckets().map_err(failed)? {
            let document = self.engine.bucket_config(&bucket, BucketConfig::Notification).map_err(failed)?;
            let rules = document.and_then(|document| Configuration::parse(document.as_bytes()).ok());
            if rules.is_some_and(|rules| rules.hooks().any(|named| named == hook)) {
                found.push(bucket.name);
            }
        }
        Ok(found)
    }

    fn must_exist(&self, hook: &str) -> Result<(), Refusal> {
        if self.parts.hooks.exists(&self.engine, hook) {
            return Ok(());
        }
        Err(StoreError::Absent { what: "hook", name: hook.to_owned() }.into())
    }

    fn logs(&self, hook: &str, follow: bool) -> Answer {
        self.must_exist(hook)?;
        let text = |lines: &[LogLine]| -> Bytes {
            let line = |line: &LogLine| {
                let time = time_text(line.time_ms);
                format!("{time} {} {} {}\n", line.level, line.event_id, line.message)
            };
            lines.iter().map(line).collect::<String>().into()
        };
        let (hooks, hook) = (self.parts.hooks.clone(), hook.to_owned());
        if !follow {
            return Ok(AdminAnswer::text(StatusCode::OK, text(&hooks.journal().lines(&hook, 0))));
        }
        let stream = stream::unfold((hooks, hook, 0), move |(hooks, hook, after)| async move {
            loop {
                let lines = hooks.journal().lines(&hook, after);
                if let Some(last) = lines.last() {
                    return Some((text(&lines), (hooks, hook, last.number)));
                }
                monoio::time::sleep(limits::LOG_FOLLOW_POLL).await;
            }
        });
        Ok(AdminAnswer {
            status: StatusCode::OK,
            content_type: "text/plain; charset=utf-8",
            body: AdminBody::Stream(Box::pin(stream)),
        })
    }

    /// Has a hook look at an object, and waits within a bound for how that ended.
    async fn run(&self, hook: &str, request: &AdminRequest) -> Answer {
        self.must_exist(hook)?;
        let (Some(bucket), Some(key)) = (request.query("bucket"), request.query("key")) else {
            return Err(bad("name bucket and key"));
        };
        if !self.parts.hooks.takes_events(&self.engine, hook) {
            return Err(bad(format!("{hook} is a transform: aerie get {bucket}/{key} --transform {hook}")));
        }
        let bucket_row = self.engine.bucket(bucket).map_err(|error| bad(absent_bucket(bucket, &error)))?;
        let object = self
            .engine
            .head_object(&bucket_row, key, VersionRef::Latest)
            .map_err(|error| bad(format!("{bucket}/{key}: {error}")))?;
        let replay = ReplayRequest {
            bucket: bucket.to_owned(),
            prefix: key.to_owned(),
            exact: true,
            since_ms: 0,
            hook: hook.to_owned(),
        };
        let journal = self.parts.hooks.journal();
        let before = journal.stats(hook).invocations;
        self.parts.outbox.replay(replay).map_err(failed)?;
        let event_id = crate::outbox::replay_event_id(object.version.sequence, hook);
        let mut waited = Duration::ZERO;
        while waited < limits::HOOK_RUN_WAIT_MAX {
            if let Some(ending) = journal.ending(hook, &event_id, before) {
                return told(hook, &format!("{bucket}/{key}"), &ending);
            }
            monoio::time::sleep(limits::HOOK_RUN_POLL).await;
            waited += limits::HOOK_RUN_POLL;
        }
        said(format!("{hook} has not come to {bucket}/{key} yet, others go first; see `aerie hook logs {hook}`"))
    }

    fn replay(&self, hook: &str, request: &AdminRequest) -> Answer {
        self.must_exist(hook)?;
        let Some(bucket) = request.query("bucket") else { return Err(bad("name the bucket")) };
        self.engine.bucket(bucket).map_err(|error| bad(absent_bucket(bucket, &error)))?;
        let now_ms = self.engine.world().clock.unix_ms();
        let since_ms = request.query("since").map_or(Ok(0), |text| parse_time(text, now_ms))?;
        let replay = ReplayRequest {
            bucket: bucket.to_owned(),
            prefix: request.query("prefix").unwrap_or_default().to_owned(),
            exact: false,
            since_ms,
            hook: hook.to_owned(),
        };
        if !self.parts.hooks.takes_events(&self.engine, hook) {
            return Err(bad(format!("{hook} is a transform, which GETs start; replay a hook of world `hook`")));
        }
        let id = self.parts.outbox.replay(replay).map_err(failed)?;
        said(format!("replay {id} is queued; live events go first; `aerie hook replays` shows how far it is"))
    }

    pub(super) fn replays(&self, request: &AdminRequest, path: &[&str]) -> Answer {
        let outbox = &self.parts.outbox;
        match (&request.method, path) {
            (&Method::GET, []) => show(&outbox.replays().map_err(failed)?),
            (&Method::DELETE, [id]) => {
                let found = outbox.replays().map_err(failed)?.into_iter().find(|replay| replay.id.to_string() == *id);
                let replay = found.ok_or_else(|| {
                    let text = format!("replay {id} is not under way; `aerie hook replays` lists those that are");
                    Refusal(StatusCode::NOT_FOUND, text)
                })?;
                outbox.cancel_replay(replay.id).map_err(failed)?;
                said(format!("replay {id} stops; what it has queued ({} so far) still runs", replay.queued))
            }
            _ => Err(Refusal(StatusCode::NOT_FOUND, "no such call on replays".to_owned())),
        }
    }

    pub(super) async fn models(&self, request: AdminRequest, path: &[&str]) -> Answer {
        if request.method == Method::PUT {
            self.parts.hooks.check_unsigned()?;
        }
        match (&request.method, path) {
            (&Method::GET, []) => {
                let models = store::models(&self.engine)?;
                let model = |(name, bytes)| json!({"name": name, "bytes": bytes});
                show(&models.into_iter().map(model).collect::<Vec<_>>())
            }
            (&Method::PUT, [name]) => match request.query("kind") {
                Some("onnx") => {
                    let (model, bytes) = ((*name).to_owned(), request.body);
                    let put = move |engine: &Rc<Engine>| pollster::block_on(store::put_model(engine, &model, bytes));
                    self.errand(put).await??;
                    said(format!("model {name} is kept"))
                }
                Some("labels") => {
                    store::put_labels(&self.engine, name, request.body).await?;
                    said(format!("labels of {name} are kept"))
                }
                _ => Err(bad("kind is onnx or labels")),
            },
            (&Method::DELETE, [name]) => {
                store::remove_model(&self.engine, name).await?;
                said(format!("model {name} is removed"))
            }
            _ => Err(Refusal(StatusCode::NOT_FOUND, "no such call on models".to_owned())),
        }
    }

    pub(super) fn outbox(&self, request: &AdminRequest, path: &[&str]) -> Answer {
        match (&request.method, path) {
            (&Method::GET, []) => show(&self.outbox_json()?),
            (&Method::GET, ["dead"]) => {
                let row = |row: StoredInvocation| {
                    json!({"id": row.id, "event_id": row.event_id, "hook": row.hook, "bucket": row.change.bucket_name,
                           "key": row.change.key, "attempts": row.attempts, "error": row.last_error})
                };
                let rows = self.dead(request, 0)?.into_iter().take(limits::LIST_KEYS_MAX);
                show(&rows.map(row).collect::<Vec<_>>())
            }
            (&Method::POST, ["revive"]) => {
                let count = self.each_dead(request, |ids| self.parts.outbox.revive(ids).map_err(failed))?;
                said(format!("{count} invocations are attempted anew"))
            }
            (&Method::POST, ["forget"]) => {
                let count = self.each_dead(request, |ids| self.parts.outbox.forget(ids).map_err(failed))?;
                said(format!("{count} invocations are forgotten"))
            }
            _ => Err(Refusal(StatusCode::NOT_FOUND, "no such call on the outbox".to_owned())),
        }
    }

    /// The next dead invocations after `after` that the request means: of a hook, one by its id, or all.
    fn dead(&self, request: &AdminRequest, after: i64) -> Result<Vec<StoredInvocation>, Refusal> {
        let id = match request.query("id") {
            Some(text) => {
                Some(text.parse::<i64>().map_err(|_| bad(format!("{text} is no id; `aerie outbox dead` has them")))?)
            }
            None => None,
        };
        let hook = request.query("hook");
        let mut after = id.map_or(after, |id| after.max(id - 1));
        loop {
            let page = self.parts.outbox.dead(after, limits::LIST_KEYS_MAX).map_err(failed)?;
            let Some(last) = page.last() else { return Ok(Vec::new()) };
            after = last.id;
            let meant =
                |row: &StoredInvocation| hook.is_none_or(|hook| row.hook == hook) && id.is_none_or(|id| row.id == id);
            let found: Vec<_> = page.into_iter().filter(meant).collect();
            if !found.is_empty() || id.is_some() {
                return Ok(found);
            }
        }
    }

    /// Does something with all dead invocations that the request means, page by page; gives how many they were.
    fn each_dead(
        &self,
        request: &AdminRequest,
        act: impl Fn(Vec<i64>) -> Result<(), Refusal>,
    ) -> Result<usize, Refusal> {
        let (mut count, mut after) = (0, 0);
        loop {
            let ids: Vec<i64> = self.dead(request, after)?.iter().map(|row| row.id).collect();
            let Some(last) = ids.last() else { break };
            (after, count) = (*last, count + ids.len());
            act(ids)?;
        }
        if count == 0 && (request.query("id").is_some() || request.query("hook").is_some()) {
            return Err(Refusal(
                StatusCode::NOT_FOUND,
                "no such invocation is dead; see `aerie outbox dead`".to_owned(),
            ));
        }
        Ok(count)
    }
}

/// What `aerie hook stats` shows of a hook.
#[derive(Serialize)]
struct Fared {
    /// Invocations that wait, be it for another attempt.
    pending: u64,
    /// Invocations that were given up.
    dead: u64,
    #[serde(flatten)]
    stats: HookStats,
}

/// What is left to do about a rule whose hook is gone: it would go on to make dead letters.
fn left(bucket: &str) -> String {
    format!("{bucket} has a rule for it still: `aerie notify {bucket}` lists it, with --remove ID it goes")
}

/// How an attempt that somebody waited for has ended.
fn told(hook: &str, object: &str, ending: &Ending) -> Answer {
    let ms = ending.duration_us as f64 / 1000.0;
    match &ending.fault {
        None => {
            let (messages, bytes) = (ending.usage.messages, ending.usage.output_bytes);
            said(format!("{hook} looked at {object} in {ms:.1} ms: {messages} messages, {bytes} bytes"))
        }
        Some(fault) => {
            let next = if fault.retry() { "it is attempted again" } else { "it is dead; see `aerie outbox dead`" };
            Err(bad(format!("{hook} failed at {object} after {ms:.1} ms: {fault}; {next}")))
        }
    }
}

/// `2026-01-31T00:00:00.123Z`.
fn time_text(time_ms: i64) -> String {
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000);
    time.ok().and_then(|time| time.format(&format).ok()).unwrap_or_else(|| time_ms.to_string())
}

fn grants_of(request: &AdminRequest) -> Result<Grants, Refusal> {
    let number = |name: &str| match request.query(name) {
        None => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| bad(format!("{name}={text} is no number"))),
    };
    Ok(Grants {
        memory_bytes: number("memory-mib")?.map(|mib| mib.saturating_mul(1 << 20)),
        deadline_ms: number("deadline-ms")?,
        output_bytes: number("output-bytes")?,
        rate_per_s: number("rate-per-s")?.map(|rate| u32::try_from(rate).unwrap_or(u32::MAX)),
        tags: request.query("allow-tags").is_some(),
        derive: request.query("allow-derive").map(str::to_owned),
    })
}

fn absent_bucket(bucket: &str, error: &dyn std::fmt::Display) -> String {
    format!("{bucket}: {error}; `aerie bucket list` shows those that are there")
}

/// A time of RFC 3339, the begin of a day, or how long ago.
fn parse_time(text: &str, now_ms: i64) -> Result<i64, Refusal> {
    use time::format_description::well_known::Rfc3339;
    let ago_ms = || {
        let unit_ms = match text.chars().last()? {
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => return None,
        };
        text[..text.len() - 1].parse::<u32>().ok().map(|count| now_ms.saturating_sub(i64::from(count) * unit_ms))
    };
    let time = time::OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| time::OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339));
    match (time, ago_ms()) {
        (Ok(time), _) => {
            i64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|_| bad(format!("{text} is out of range")))
        }
        (Err(_), Some(since_ms)) => Ok(since_ms),
        (Err(_), None) => Err(bad(format!(
            "{text}: write the time as 2026-01-31T00:00:00Z or 2026-01-31, or how long ago: 30m, 24h, 7d"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_begins_at_a_time_a_day_or_so_long_ago() {
        let now_ms = 1_769_904_000_000; // 2026-02-01T00:00:00Z
        for (text, since_ms) in [
            ("2026-01-31T00:00:00Z", Some(now_ms - 86_400_000)),
            ("2026-01-31T01:00:00+01:00", Some(now_ms - 86_400_000)),
            ("2026-01-31", Some(now_ms - 86_400_000)),
            ("1d", Some(now_ms - 86_400_000)),
            ("24h", Some(now_ms - 86_400_000)),
            ("30m", Some(now_ms - 1_800_000)),
            ("4294967295d", Some(now_ms - 4_294_967_295 * 86_400_000)),
            ("yesterday", None),
            ("-1d", None),
            ("d", None),
            ("", None),
            ("2026-02-30", None),
            ("é", None),
        ] {
            assert_eq!(parse_time(text, now_ms).ok(), since_ms, "{text}");
        }
        assert!(parse_time("x", now_ms).is_err_and(|Refusal(_, said)| said.contains("24h")));
    }
}
