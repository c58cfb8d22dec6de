//! Governance by an operator: what buckets hold, quotas, rolling; the clock that retention is judged by; the audit log.

use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::admin::{AdminApi, Answer, Refusal, bad, failed, said, show};
use crate::engine::EngineError;
use crate::limits;
use crate::meta::{Bucket, MetaError, Rolling, Usage, Versioning};
use crate::wire::{AdminAnswer, AdminRequest};

/// A bucket as an operator sees it.
#[derive(Debug, Serialize)]
struct BucketLine {
    name: String,
    #[serde(flatten)]
    usage: Usage,
    versioned: bool,
    object_lock: bool,
    lifecycle: bool,
    quota_bytes: Option<u64>,
    quota_objects: Option<u64>,
    rolling: Option<Rolling>,
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Refusal {
        let status = match &error {
            EngineError::Meta(MetaError::NoSuchBucket) => StatusCode::NOT_FOUND,
            EngineError::Seal(error) => return error.clone().into(),
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refusal(status, error.to_string())
    }
}

impl AdminApi {
    /// Every bucket with what it holds.
    pub(super) fn usages(&self) -> Result<Vec<(Bucket, Usage)>, EngineError> {
        let buckets = self.engine.buckets()?;
        buckets.into_iter().map(|bucket| self.engine.usage(&bucket).map(|usage| (bucket, usage))).collect()
    }

    pub(super) fn buckets_json(&self) -> Result<serde_json::Value, Refusal> {
        let line = |(bucket, usage): (Bucket, Usage)| BucketLine {
            usage,
            versioned: bucket.versioning == Versioning::Enabled,
            object_lock: bucket.object_lock,
            lifecycle: bucket.rules.lifecycle,
            quota_bytes: bucket.rules.quota_bytes,
            quota_objects: bucket.rules.quota_objects,
            rolling: bucket.rules.rolling,
            name: bucket.name,
        };
        Ok(json!(self.usages()?.into_iter().map(line).collect::<Vec<_>>()))
    }

    pub(super) async fn buckets(&self, request: &AdminRequest, path: &[&str]) -> Answer {
        match (&request.method, path) {
            (&Method::GET, []) => show(&self.buckets_json()?),
            (&Method::PUT, [name, "quota"]) => {
                let bucket = self.engine.bucket(name)?;
                let (bytes, objects) = (number(request, "bytes")?, number(request, "objects")?);
                self.engine.set_quota(&bucket, bytes, objects).await?;
                said(match (bytes, objects) {
                    (None, None) => format!("bucket {name} has no quota"),
                    (bytes, objects) => format!(
                        "bucket {name} may hold {} bytes and {} objects",
                        bytes.map_or("any".to_owned(), |bytes| bytes.to_string()),
                        objects.map_or("any".to_owned(), |objects| objects.to_string())
                    ),
                })
            }
            (&Method::PUT, [name, "rolling"]) => {
                let bucket = self.engine.bucket(name)?;
                let bytes = number(request, "bytes")?;
                self.engine.set_rolling(&bucket, Some(Rolling { bytes })).await?;
                said(match bytes {
                    Some(bytes) => {
                        format!("bucket {name} keeps its newest {bytes} bytes, less when the pool is short of space")
                    }
                    None => format!("bucket {name} gives up its oldest objects when the pool is short of space"),
                })
            }
            (&Method::DELETE, [name, "rolling"]) => {
                let bucket = self.engine.bucket(name)?;
                self.engine.set_rolling(&bucket, None).await?;
                said(format!("bucket {name} keeps all its objects"))
            }
            _ => Err(Refusal(StatusCode::NOT_FOUND, "no such call on buckets".to_owned())),
        }
    }

    /// Lines of the audit log, as they are; and the two ends of its chain.
    pub(super) fn audit(&self, request: &AdminRequest, path: &[&str]) -> Answer {
        let reader = self.engine.reader();
        match path {
            [] => {
                let after = number(request, "after")?.unwrap_or(0);
                let lines = reader.audit(after, limits::LIST_KEYS_MAX).map_err(failed)?;
                let text: String = lines.into_iter().map(|line| line + "\n").collect();
                Ok(AdminAnswer::text(StatusCode::OK, text))
            }
            ["ends"] => {
                let (anchor, end) = reader.audit_ends().map_err(failed)?;
                show(&json!({"anchor": anchor, "end": end}))
            }
            _ => Err(Refusal(StatusCode::NOT_FOUND, "no such call on the audit log".to_owned())),
        }
    }

    pub(super) async fn clock(&self, request: &AdminRequest, path: &[&str]) -> Answer {
        let meta = self.engine.meta();
        match (&request.method, path) {
            (&Method::GET, []) => show(&meta.retention_clock()),
            (&Method::POST, ["accept"]) => {
                let before = meta.retention_clock();
                meta.accept_clock().await.map_err(failed)?;
                tracing::warn!(behind_ms = before.behind_ms, "an operator has confirmed the wall clock for retention");
                show(&meta.retention_clock())
            }
            _ => Err(Refusal(StatusCode::NOT_FOUND, "no such call on the clock".to_owned())),
        }
    }
}

fn number(request: &AdminRequest, name: &str) -> Result<Option<u64>, Refusal> {
    match request.query(name) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| bad(format!("{name}={text} is no number"))),
    }
}
