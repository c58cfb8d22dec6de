//! Small files that are replaced as a whole: a crash leaves the old or the new one, and no third thing.
//!
//! Not for what must leave no trace: the old bytes stay on the drive until its blocks are used again (the key ring
//! overwrites its files in place for that reason).

use std::io;

use super::{OpenMode, Storage};

/// Writes the file as `new_path`, which is in the same folder and nobody else's, syncs it and gives it its place.
/// Durable when this returns.
pub fn replace_file(storage: &dyn Storage, path: &str, new_path: &str, bytes: &[u8]) -> io::Result<()> {
    let file = storage.open(new_path, OpenMode::Create)?;
    // One that an earlier crash left may be longer.
    file.set_len(0)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    storage.rename(new_path, path)?;
    storage.sync_dir(path.rsplit_once('/').map_or("", |(folder, _)| folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::sim::SimMachine;

    const SPACE: u64 = 1 << 20;

    fn read(machine: &SimMachine, path: &str) -> Option<Vec<u8>> {
        let file = machine.storage(0).open(path, OpenMode::Read).ok()?;
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        Some(bytes)
    }

    #[test]
    fn power_may_go_at_any_write() {
        let texts: [&[u8]; 3] = [&[b'a'; 9_000], b"short", &[b'c'; 5_000]];
        for (path, new) in [("file", "file.new"), ("folder/file", "folder/new")] {
            let machine = SimMachine::new(1, SPACE);
            machine.storage(0).create_dir("folder").unwrap();
            machine.storage(0).sync_dir("").unwrap();
            let begun = machine.position();
            let mut durable = vec![];
            for text in texts {
                replace_file(&*machine.storage(0), path, new, text).unwrap();
                durable.push(machine.position());
            }
            for cut in machine.trace().cuts().filter(|cut| cut.position >= begun) {
                for seed in 0..6 {
                    let machine = SimMachine::boot(cut.image(seed), SPACE);
                    let found = read(&machine, path);
                    let acknowledged = durable.iter().filter(|&&at| at <= cut.position).count();
                    // What was acknowledged, or the one that was being written.
                    let may_be = texts.iter().take(acknowledged + 1).skip(acknowledged.saturating_sub(1));
                    let right = may_be.clone().any(|text| found.as_deref() == Some(text));
                    assert!(
                        right || found.is_none() && acknowledged == 0,
                        "cut {} seed {seed}: {:?} bytes, {acknowledged} were acknowledged",
                        cut.position,
                        found.map(|found| found.len())
                    );
                    replace_file(&*machine.storage(0), path, new, b"after the crash").unwrap();
                    assert_eq!(read(&machine, path).as_deref(), Some(&b"after the crash"[..]));
                }
            }
        }
    }
}
