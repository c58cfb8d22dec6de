//! Metrics in Prometheus' text format, put together when they are asked for.

use std::fmt::Write;

use super::Parts;
use crate::limits;
use crate::meta::{Backlog, Bucket, Usage};
use crate::mqtt::{LATENCY_BOUNDS_MS, LatencySnapshot};
use crate::wire::{DURATION_BOUNDS_MS, Traffic};

/// All metrics of the process.
pub fn render(parts: &Parts, usages: &[(Bucket, Usage)]) -> String {
    let mut page = Page(String::new());
    page.head("aerie_build_info", "gauge", "1, with the version of the program.");
    page.sample("aerie_build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1.0);
    page.gauge("aerie_connections_open", "Open S3 connections.", parts.connections.open() as f64);
    let refused = parts.connections.refused() as f64;
    page.counter(
        "aerie_connections_refused_total",
        "Connections beyond server.connections_max or a client's own.",
        refused,
    );
    page.requests(&parts.traffic);
    page.gauge("aerie_transfers_open", "Objects that move now.", parts.transfers.open() as f64);
    page.drives(parts);
    page.heal(parts);
    page.outbox(parts);
    page.buckets(usages);
    let behind = parts.meta.retention_clock().behind_ms as f64 / 1e3;
    page.gauge("aerie_retention_clock_behind_seconds", "How far the wall clock is not believed.", behind);
    page.tls(parts);
    page.hooks(parts);
    if let Some((resident, cpu_seconds)) = super::process::usage() {
        page.gauge("process_resident_memory_bytes", "Resident memory.", resident as f64);
        page.counter("process_cpu_seconds_total", "Processor time.", cpu_seconds);
    }
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "counter", help);
        self.sample(name, "", value);
    }

    fn requests(&mut self, traffic: &Traffic) {
        self.head(
            "aerie_requests_total",
            "counter",
            "Answered requests; `-` is what was no operation of S3, or refused before.",
        );
        for requests in traffic.requests() {
            let labels = format!("operation=\"{}\",class=\"{}\"", requests.operation, requests.class);
            self.sample("aerie_requests_total", &labels, requests.count as f64);
        }
        let durations = traffic.durations();
        self.head(
            "aerie_request_duration_seconds",
            "histogram",
            "From a request's head to the beginning of its answer.",
        );
        let bounds = DURATION_BOUNDS_MS.iter().map(|ms| (*ms as f64 / 1e3).to_string()).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(durations.cumulative) {
            self.sample("aerie_request_duration_seconds_bucket", &format!("le=\"{bound}\""), count as f64);
        }
        let all = durations.cumulative[DURATION_BOUNDS_MS.len()];
        self.sample("aerie_request_duration_seconds_sum", "", durations.sum.as_secs_f64());
        self.sample("aerie_request_duration_seconds_count", "", all as f64);
    }

    fn drives(&mut self, parts: &Parts) {
        let drives = parts.pool.status();
        self.head("aerie_drive_healthy", "gauge", "1 when the drive takes reads and writes.");
        for drive in &drives {
            let healthy = f64::from(u8::from(drive.fault.is_none()));
            self.sample("aerie_drive_healthy", &format!("slot=\"{}\"", drive.slot), healthy);
        }
        for (name, help, bytes) in [
            ("aerie_drive_total_bytes", "Size of the drive's file system.", 0),
            ("aerie_drive_available_bytes", "Free bytes of the drive's file system.", 1),
        ] {
            self.head(name, "gauge", help);
            for drive in &drives {
                let value = if bytes == 0 { drive.total_bytes } else { drive.available_bytes };
                self.sample(name, &format!("slot=\"{}\"", drive.slot), value as f64);
            }
        }
    }

    fn heal(&mut self, parts: &Parts) {
        let status = parts.upkeep.status();
        self.gauge("aerie_heal_tasks_queued", "Heal tasks that wait.", status.queued as f64);
        if let Some(census) = status.census {
            self.gauge("aerie_census_shards_good", "Good shards at the last census.", census.good as f64);
            self.gauge(
                "aerie_census_shards_bad",
                "Missing or damaged shards on drives that are there.",
                census.bad as f64,
            );
            self.gauge("aerie_census_shards_out", "Shards on drives that are out.", census.out as f64);
            self.gauge("aerie_census_stripes_lost", "Stripes that cannot be read.", census.lost as f64);
        }
    }

    fn buckets(&mut self, usages: &[(Bucket, Usage)]) {
        type Value = fn(&Bucket, &Usage) -> Option<u64>;
        let values: [(&str, &str, Value); 4] = [
            ("aerie_bucket_bytes", "Bytes of all versions and parts.", |_, usage| Some(usage.bytes)),
            ("aerie_bucket_objects", "Versions without delete markers.", |_, usage| Some(usage.objects)),
            ("aerie_bucket_quota_bytes", "Most bytes that it may hold.", |bucket, _| bucket.rules.quota_bytes),
            ("aerie_bucket_quota_objects", "Most versions that it may hold.", |bucket, _| bucket.rules.quota_objects),
        ];
        self.gauge(
            "aerie_buckets",
            "Buckets, of which as many as a page may have are told one by one.",
            usages.len() as f64,
        );
        for (name, help, value) in values {
            self.head(name, "gauge", help);
            for (bucket, usage) in usages.iter().take(limits::METRICS_BUCKETS_MAX) {
                if let Some(value) = value(bucket, usage) {
                    self.sample(name, &format!("bucket=\"{}\"", bucket.name), value as f64);
                }
            }
        }
    }

    fn outbox(&mut self, parts: &Parts) {
        let Ok(outbox) = parts.outbox.metrics() else { return };
        let stored = outbox.stored;
        self.gauge("aerie_outbox_changes", "Changes that no rule was applied to yet.", stored.changes as f64);
        self.gauge("aerie_outbox_invocations_pending", "Invocations that are not finished.", stored.pending as f64);
        self.gauge("aerie_outbox_invocations_dead", "Invocations that were given up.", stored.dead as f64);
        self.gauge("aerie_outbox_publications", "Messages that are not acknowledged.", stored.publications as f64);
        self.gauge("aerie_outbox_publication_bytes", "Bytes of those messages.", stored.publication_bytes as f64);
        self.counter("aerie_outbox_dropped_total", "Messages dropped by policy.", stored.dropped as f64);
        self.counter(
            "aerie_outbox_invocations_expired_total",
            "Invocations whose time to live was over.",
            stored.expired as f64,
        );
        self.gauge(
            "aerie_outbox_held_versions",
            "Overwritten or deleted versions that wait for hooks.",
            stored.held as f64,
        );
        self.gauge("aerie_outbox_held_bytes", "Bytes of those versions.", stored.held_bytes as f64);
        self.gauge(
            "aerie_outbox_oldest_seconds",
            "Age of the oldest change that is not done.",
            outbox.oldest_ms.unwrap_or(0) as f64 / 1e3,
        );
        let budget = outbox.budget;
        self.counter("aerie_hook_busy_seconds_total", "Time that invocations held their threads.", budget.busy_s);
        self.counter(
            "aerie_hook_throttled_seconds_total",
            "Time that hook threads waited for their budget while work was there.",
            budget.throttled_s,
        );
        let transforms = parts.transform_budget.metrics();
        self.counter(
            "aerie_transform_busy_seconds_total",
            "Time that object lambdas held their threads.",
            transforms.busy_s,
        );
        self.counter(
            "aerie_transform_throttled_seconds_total",
            "Time that object lambdas waited for their budget.",
            transforms.throttled_s,
        );
        self.gauge("aerie_hook_hot", "1 while hooks are slowed down by heat.", f64::from(u8::from(budget.hot)));
        if let Some(celsius) = budget.celsius {
            self.gauge("aerie_board_celsius", "Temperature of the hottest zone.", celsius);
        }
        self.counter("aerie_invocations_done_total", "Invocations that ended well.", outbox.invocations_done as f64);
        self.counter("aerie_invocation_attempts_failed_total", "Attempts that failed.", outbox.attempts_failed as f64);
        self.histogram(
            "aerie_invocation_latency_seconds",
            "From commit to the hook's outcome.",
            &outbox.invocation_latency,
        );
        if let Some(publisher) = outbox.publisher {
            self.gauge(
                "aerie_mqtt_connected",
                "1 while the broker is there.",
                f64::from(u8::from(publisher.connected)),
            );
            self.counter(
                "aerie_mqtt_published_total",
                "Messages that the broker acknowledged.",
                publisher.published as f64,
            );
            let kept = publisher.ledger;
            self.gauge("aerie_broker_sessions", "Sessions that the built-in broker keeps.", kept.sessions as f64);
            self.gauge("aerie_broker_kept_messages", "Messages that wait there for a subscriber.", kept.kept as f64);
            self.gauge("aerie_broker_kept_bytes", "Bytes of those messages.", kept.kept_bytes as f64);
            self.counter(
                "aerie_broker_dropped_total",
                "Messages that a subscriber was away too long for.",
                kept.dropped as f64,
            );
        }
        if let Some(latency) = &outbox.publication_latency {
            self.histogram("aerie_publication_latency_seconds", "From the outbox to the acknowledgement.", latency);
        }
    }

    fn tls(&mut self, parts: &Parts) {
        let Some(status) = parts.tls.as_ref().map(|tls| tls.status()) else { return };
        if let Some(validity) = status.validity {
            let until_s = validity.until_s as f64;
            self.gauge("aerie_tls_certificate_expires_timestamp_seconds", "When the certificate expires.", until_s);
        }
        let faulty = f64::from(u8::from(status.fault.is_some()));
        self.gauge("aerie_tls_certificate_faulty", "1 while changed files cannot be used.", faulty);
    }

    fn hooks(&mut self, parts: &Parts) {
        let journal = parts.hooks.journal();
        self.head("aerie_hook_invocations_total", "counter", "Attempts of each hook.");
        for hook in journal.hooks() {
            self.sample(
                "aerie_hook_invocations_total",
                &format!("hook=\"{hook}\""),
                journal.stats(&hook).invocations as f64,
            );
        }
        self.head("aerie_hook_failures_total", "counter", "Failed attempts by fault.");
        for hook in journal.hooks() {
            for (fault, count) in journal.stats(&hook).failures {
                self.sample("aerie_hook_failures_total", &format!("hook=\"{hook}\",fault=\"{fault}\""), count as f64);
            }
        }
        self.head("aerie_hook_run_seconds_total", "counter", "Time of each hook's attempts, inference counted.");
        for hook in journal.hooks() {
            let seconds = journal.stats(&hook).total_us as f64 / 1e6;
            self.sample("aerie_hook_run_seconds_total", &format!("hook=\"{hook}\""), seconds);
        }
        let backlogs = parts.outbox.backlogs().unwrap_or_default();
        type Count = fn(&Backlog) -> u64;
        let counts: [(&str, &str, Count); 2] = [
            ("aerie_hook_invocations_pending", "Invocations of each hook that wait.", |backlog| backlog.pending),
            ("aerie_hook_invocations_dead", "Invocations of each hook that were given up.", |backlog| backlog.dead),
        ];
        for (name, help, count) in counts {
            self.head(name, "gauge", help);
            for (hook, backlog) in &backlogs {
                self.sample(name, &format!("hook=\"{hook}\""), count(backlog) as f64);
            }
        }
        self.gauge(
            "aerie_models_loaded_bytes",
            "Bytes of the models that are loaded.",
            parts.hooks.model_bytes() as f64,
        );
    }

    fn histogram(&mut self, name: &str, help: &str, latency: &LatencySnapshot) {
        self.head(name, "histogram", help);
        let mut total = 0;
        for (bound_ms, count) in LATENCY_BOUNDS_MS.iter().zip(latency.counts) {
            total += count;
            self.sample(&format!("{name}_bucket"), &format!("le=\"{}\"", *bound_ms as f64 / 1e3), total as f64);
        }
        total += latency.counts.last().copied().unwrap_or(0);
        self.sample(&format!("{name}_bucket"), "le=\"+Inf\"", total as f64);
        self.sample(&format!("{name}_sum"), "", latency.sum_us as f64 / 1e6);
        self.sample(&format!("{name}_count"), "", total as f64);
    }
}
