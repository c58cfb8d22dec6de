//! Cargo's build script: how the binary is linked.

fn main() {
    println!("cargo::rerun-if-changed=scripts/build.rs");
    // A position-independent binary of this size has 2 MB of relocations; packed they have some kilobytes. A linker that
    // does not know the option says so and goes on.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
