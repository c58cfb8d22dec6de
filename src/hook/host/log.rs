//! Interface `log`: lines, cut to a length and a count.

use wasmtime::Result;

use super::Host;
use crate::hook::contract::log;
use crate::hook::journal::LogLine;
use crate::limits;

impl Host {
    /// Adds a line to the log; those over the limit are counted.
    pub fn log(&mut self, level: &'static str, message: &str) {
        if self.lines.len() >= limits::HOOK_LOG_LINES_MAX {
            self.lines_cut += 1;
            return;
        }
        let end = message.floor_char_boundary(limits::HOOK_LOG_LINE_BYTES_MAX.min(message.len()));
        self.lines.push(LogLine {
            number: 0,
            time_ms: self.parts.world.clock.unix_ms(),
            event_id: self.parts.event_id.clone(),
            level,
            message: message[..end].to_owned(),
        });
    }

    /// The log of the invocation, with a last line that counts what was cut.
    pub fn take_lines(&mut self) -> Vec<LogLine> {
        if self.lines_cut > 0 {
            let cut = format!("{} more lines were cut", self.lines_cut);
            self.lines.pop();
            self.log("warn", &cut);
        }
        std::mem::take(&mut self.lines)
    }
}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, message: String) -> Result<()> {
        let level = match level {
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        if level == "error" {
            let end = message.floor_char_boundary(limits::HOOK_TRAP_LINE_BYTES_MAX);
            self.last_error = Some(message[..end].to_owned());
        }
        self.log(level, &message);
        Ok(())
    }
}
