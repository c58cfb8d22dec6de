//! The contract with guests, generated from `wasm-hooks/wit/hook.wit`. Only what that file lists is ever linked.
//!
//! Both worlds share one set of host interfaces, so that each is implemented once. That set has the newest minor version, which
//! only adds to those before it: a component that imports `aerie:hook/object@1.0.0` is linked to `object@1.1.0`, by the linker's
//! rule for compatible versions. `tests/golden/hook` holds each released contract, and the tests run components of it.

/// World `hook`: called for each change.
pub(super) mod event {
    wasmtime::component::bindgen!({
        path: "wasm-hooks/wit",
        world: "hook",
        imports: { default: trappable },
        with: {
            "aerie:hook/inference.model": crate::hook::host::LoadedModel,
            "aerie:hook/object.reader": crate::hook::reader::PartReader,
        },
    });
}

/// World `transform`: called for a GET.
pub(super) mod lambda {
    wasmtime::component::bindgen!({
        path: "wasm-hooks/wit",
        world: "transform",
        imports: { default: trappable },
        with: {
            "aerie:hook/types": super::event::aerie::hook::types,
            "aerie:hook/object": super::event::aerie::hook::object,
            "aerie:hook/picture": super::event::aerie::hook::picture,
            "aerie:hook/inference": super::event::aerie::hook::inference,
            "aerie:hook/log": super::event::aerie::hook::log,
        },
    });
}

pub(super) use event::aerie::hook::{inference, log, object, picture, results, state, types};
