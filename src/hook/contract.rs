//! The contract with guests, generated from `wasm-hooks/wit/hook.wit`. Only what that file lists is ever linked.
//!
//! Both worlds share one set of host interfaces, so that each is implemented once.

/// World `hook`: called for each change.
pub(super) mod event {
    wasmtime::component::bindgen!({
        path: "wasm-hooks/wit",
        world: "hook",
        imports: { default: trappable },
        with: { "aerie:hook/inference.model": crate::hook::host::LoadedModel },
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
