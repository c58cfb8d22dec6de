//! The profiles that are built in.

/// Name and text of each profile in firmware-profiles/.
pub const PROFILES: [(&str, &str); 4] = [
    ("dev", include_str!("../../firmware-profiles/dev.toml")),
    ("rpi5-nvme", include_str!("../../firmware-profiles/rpi5-nvme.toml")),
    ("jetson-orin", include_str!("../../firmware-profiles/jetson-orin.toml")),
    ("generic-arm64", include_str!("../../firmware-profiles/generic-arm64.toml")),
];

/// The text of a built-in profile.
pub fn profile_text(name: &str) -> Option<&'static str> {
    PROFILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
