//! Object lambdas for the S3 endpoint: each runs as an errand, so that no core waits for a guest.

use std::sync::Arc;

use super::errands::{Errands, Undone};
use crate::hook::{HookFault, Hooks};
use crate::meta::VersionRef;
use crate::wire::{TransformFault, TransformRequest, TransformedObject, Transforms};

pub fn transforms(hooks: &Arc<Hooks>, errands: &Arc<Errands>) -> Transforms {
    let (hooks, errands) = (hooks.clone(), errands.clone());
    Transforms::new(move |request| {
        let (hooks, errands) = (hooks.clone(), errands.clone());
        Box::pin(async move {
            let TransformRequest { hook, bucket, key, version } = request;
            let run = errands.run(move |engine| {
                hooks.transform(engine, &hook, &bucket, &key, VersionRef::Numbered(version)).map_err(fault_of)
            });
            match run.await {
                Ok(made) => {
                    made.map(|made| TransformedObject { content_type: made.content_type, bytes: made.bytes.into() })
                }
                Err(Undone::Busy) => Err(TransformFault::Busy),
                Err(Undone::Failed) => Err(TransformFault::Failed("the transform was not run; see the log".to_owned())),
            }
        })
    })
}

fn fault_of(fault: HookFault) -> TransformFault {
    let text = fault.to_string();
    match fault {
        HookFault::NotInstalled(_) | HookFault::Module(_) => TransformFault::NoTransform(text),
        // A transform is the same function of the same object: its limits would be hit again.
        HookFault::Memory { .. }
        | HookFault::Output { .. }
        | HookFault::Messages { .. }
        | HookFault::Call { .. }
        | HookFault::Stack { .. }
        | HookFault::Trap(_) => TransformFault::Refused(text),
        HookFault::Rejected { retry: false, .. } => TransformFault::Refused(text),
        HookFault::Rejected { .. } | HookFault::Deadline { .. } | HookFault::Object(_) => TransformFault::Failed(text),
    }
}
