//! Componentize: turns a guest's core module into a component, and says what a component asks for and gives.
//!
//! `componentize MODULE COMPONENT` writes a component; `componentize --show COMPONENT` prints its imports and exports,
//! one a line, sorted. Refuses a component that imports anything but `aerie:hook`: such a hook could not be
//! added. Runs on the builder's machine, never in the appliance.

use std::process::ExitCode;

use wit_component::{ComponentEncoder, DecodedWasm, decode};
use wit_parser::WorldItem;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--show", component] => show(component),
        [module, component] => encode(module, component),
        _ => Err("usage: componentize MODULE.wasm COMPONENT.wasm | componentize --show COMPONENT.wasm".into()),
    };
    match outcome {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("componentize: {text}");
            ExitCode::FAILURE
        }
    }
}

fn encode(module: &str, component: &str) -> Result<String, String> {
    let bytes = std::fs::read(module).map_err(|error| format!("{module}: {error}"))?;
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("{module} is no guest of the hook contract: {error:#}"))?;
    contract(component, &encoded)?;
    std::fs::write(component, &encoded).map_err(|error| format!("{component}: {error}"))?;
    Ok(String::new())
}

fn show(component: &str) -> Result<String, String> {
    let bytes = std::fs::read(component).map_err(|error| format!("{component}: {error}"))?;
    contract(component, &bytes)
}

/// The imports and exports of a component, as text.
fn contract(name: &str, bytes: &[u8]) -> Result<String, String> {
    let decoded = decode(bytes).map_err(|error| format!("{name} is no component: {error:#}"))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(format!("{name} is a WIT package, not a component: build it with an entry point"));
    };
    let world = &resolve.worlds[world];
    let mut lines = Vec::new();
    for (key, item) in &world.imports {
        // A type that the world names is no import of the component.
        if matches!(item, WorldItem::Type { .. }) {
            continue;
        }
        let import = resolve.name_world_key(key);
        if !import.starts_with("aerie:hook/") {
            return Err(format!("{name} imports {import}, which no hook has: build it without WASI"));
        }
        lines.push(format!("import {import}\n"));
    }
    lines.extend(world.exports.keys().map(|key| format!("export {}\n", resolve.name_world_key(key))));
    lines.sort();
    Ok(lines.concat())
}
