//! The machine's clocks and its random generator.
#![expect(clippy::disallowed_methods, reason = "this is the real side of the seam")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{Clock, Entropy};

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    #[expect(clippy::new_without_default, reason = "a clock is started, not defaulted")]
    pub fn new() -> SystemClock {
        SystemClock { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn unix_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            // A board whose clock stands before 1970 counts from there.
            Err(_) => 0,
        }
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[allow(unsafe_code)]
    fn boot_ns(&self) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: clock_gettime fills the structure that it is given, which lives on this stack.
        let read = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
        match read {
            0 => (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64),
            // Kernels before 2.6.39 have no such clock.
            _ => self.monotonic_ns(),
        }
    }
}

/// The kernel's random generator, by ring.
#[derive(Debug)]
pub struct SystemEntropy {
    random: ring::rand::SystemRandom,
}

impl SystemEntropy {
    #[expect(clippy::new_without_default, reason = "a generator is opened, not defaulted")]
    pub fn new() -> SystemEntropy {
        SystemEntropy { random: ring::rand::SystemRandom::new() }
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        use ring::rand::SecureRandom;
        self.random.fill(bytes).expect("getrandom(2) does not fail once the machine has booted");
    }
}

/// The kernel's thermal zones.
#[derive(Debug)]
pub struct ThermalZones {
    folder: std::path::PathBuf,
}

impl ThermalZones {
    pub fn new() -> ThermalZones {
        ThermalZones::in_folder("/sys/class/thermal".into())
    }

    fn in_folder(folder: std::path::PathBuf) -> ThermalZones {
        ThermalZones { folder }
    }
}

impl Default for ThermalZones {
    fn default() -> ThermalZones {
        ThermalZones::new()
    }
}

impl super::Thermometer for ThermalZones {
    fn celsius(&self) -> Option<f64> {
        let zones = std::fs::read_dir(&self.folder).ok()?.filter_map(Result::ok);
        let zones = zones.filter(|zone| zone.file_name().to_string_lossy().starts_with("thermal_zone"));
        // A zone that is off cannot be read; the kernel writes thousandths of a degree.
        let read =
            |zone: std::fs::DirEntry| std::fs::read_to_string(zone.path().join("temp")).ok()?.trim().parse().ok();
        zones.filter_map(read).map(|thousandths: f64| thousandths / 1000.0).reduce(f64::max)
    }
}

/// The world as it is.
pub fn world() -> super::World {
    super::World { clock: std::sync::Arc::new(SystemClock::new()), entropy: std::sync::Arc::new(SystemEntropy::new()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::Thermometer;

    #[test]
    fn the_hottest_zone_counts_and_zones_that_cannot_be_read_do_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(ThermalZones::in_folder(folder.path().join("absent")).celsius(), None);
        let zones = ThermalZones::in_folder(folder.path().to_owned());
        assert_eq!(zones.celsius(), None);
        for (name, text) in [
            ("thermal_zone0", "41250\n"),
            ("thermal_zone1", "63000\n"),
            ("thermal_zone2", "x"),
            ("cooling_device0", "99000"),
        ] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("temp"), text).unwrap();
        }
        std::fs::create_dir(folder.path().join("thermal_zone3")).unwrap();
        assert_eq!(zones.celsius(), Some(63.0));
    }
}
