//! `aerie serve` and `aerie plan`.

use std::path::PathBuf;

use argh::FromArgs;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::log;
use super::supervisor;
use crate::config::{self, Settings};
use crate::seam::real;
use crate::server;

/// Start the appliance on the given drives.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "serve")]
pub(super) struct Serve {
    #[argh(positional, description = "folders, one a drive; braces such as '/data/d{{1..6}}' work without a shell")]
    drives: Vec<String>,
    #[argh(option, description = "settings that override the profile's, TOML")]
    config: Option<PathBuf>,
    #[argh(option, description = "board: dev, rpi5-nvme, jetson-orin, generic-arm64, or a .toml file")]
    profile: Option<String>,
    #[argh(option, description = "HOST:PORT of S3; port 0 takes a free one")]
    address: Option<String>,
    #[argh(option, description = "parity shards of a new pool: how many drives may go")]
    parity: Option<u8>,
    #[argh(
        option,
        description = "empty folder that replaces a drive that was mounted, though nothing is mounted on it"
    )]
    replace: Vec<String>,
    #[argh(option, description = "external MQTT broker, mqtt://HOST:PORT; the embedded one is then off")]
    mqtt: Option<String>,
}

/// Print the bounds that `serve` keeps under a profile.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "plan")]
pub(super) struct PlanCommand {
    #[argh(positional, description = "profile name or .toml file")]
    profile: String,
    #[argh(option, description = "settings that override the profile's, TOML")]
    config: Option<PathBuf>,
    #[argh(option, description = "drives of the pool", default = "6")]
    drives: usize,
    #[argh(option, description = "parity shards")]
    parity: Option<u8>,
}

impl Serve {
    pub fn run(self) -> Result<(), String> {
        log::start();
        let (settings, places) = self.settings()?;
        // Signals are caught before there is anything to stop.
        let mut signals =
            signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|error| error.to_string())?;
        let server = server::start(settings, &places, real::world())?;
        if let Some(file) = server.credentials_file() {
            tracing::info!(file, "the root key pair is in this file");
        }
        println!("{}", server.ready_line());
        supervisor::tell("READY=1");
        for signal in signals.forever() {
            if signal != SIGHUP {
                tracing::info!(signal, "stopping");
                break;
            }
            tracing::info!("SIGHUP: renewed certificates are taken up without it, settings by a restart");
        }
        supervisor::tell("STOPPING=1");
        server.stop();
        Ok(())
    }

    fn settings(self) -> Result<(Settings, Vec<String>), String> {
        let loaded = config::load(self.profile.as_deref(), self.config.as_deref());
        let mut settings = loaded.map_err(|error| error.to_string())?;
        if let Some(address) = self.address {
            settings.server.address = address;
        }
        settings.pool.parity = self.parity.or(settings.pool.parity);
        settings.pool.replace = expand_all(&self.replace)?;
        if let Some(url) = self.mqtt {
            settings.mqtt.url = url;
        }
        let named = if self.drives.is_empty() {
            settings.pool.drives.iter().map(|drive| drive.display().to_string()).collect()
        } else {
            self.drives
        };
        Ok((settings, expand_all(&named)?))
    }
}

fn expand_all(names: &[String]) -> Result<Vec<String>, String> {
    let mut places = Vec::new();
    for name in names {
        places.extend(server::expand(name)?);
    }
    Ok(places)
}

impl PlanCommand {
    pub fn run(self) -> Result<(), String> {
        let settings = config::load(Some(&self.profile), self.config.as_deref()).map_err(|error| error.to_string())?;
        let plan = config::plan(&settings, self.drives, self.parity).map_err(|error| error.to_string())?;
        print!("{plan}");
        Ok(())
    }
}
