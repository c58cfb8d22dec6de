//! kill -9 in a loop under load, on real files, with a checker that knows every acknowledged write.
//!
//! The test runs its own binary again as the victim: `the_victim` does nothing unless the environment names a folder.
//! The victim prints each write before it begins and after it was acknowledged; the checker reads that, kills the
//! victim at some point, opens the store itself, and starts the next victim.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use aerie::seam::real;
use aerie::seam::sim::Dice;
use bytes::Bytes;

use crate::store::{self, Store, bytes, is_absent};

const FOLDER_VARIABLE: &str = "AERIE_TEST_VICTIM_FOLDER";
const ROUND_VARIABLE: &str = "AERIE_TEST_VICTIM_ROUND";
const MARK: &str = "victim ";
const DRIVES: usize = 3;
const ROUNDS: u64 = 8;
const THREADS: u64 = 3;
const KEYS_PER_THREAD: u64 = 5;

/// The body that write `number` of a round gives its key; `None` is a delete.
fn body_of(round: u64, number: u64) -> Option<Bytes> {
    let length = [300, 1_025, 20_000, 150_000, 1_200_000, 0][(number % 6) as usize];
    (!number.is_multiple_of(7)).then(|| bytes(length, round << 32 | number))
}

#[test]
fn the_victim() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else { return };
    let round: u64 = std::env::var(ROUND_VARIABLE).unwrap().parse().unwrap();
    let store = Store::open(store::real_places(Path::new(&folder), DRIVES), 1, &real::world()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let engine = store.another_engine();
            scope.spawn(move || {
                // Far more than it lives to do.
                for number in (thread..1_000_000).step_by(THREADS as usize) {
                    let key = format!("{thread}-{}", number / THREADS % KEYS_PER_THREAD);
                    say(&format!("begins {key} {number}"));
                    match body_of(round, number) {
                        Some(body) => _ = store::put(&engine, &key, &body).unwrap(),
                        None => store::delete(&engine, &key).unwrap(),
                    }
                    say(&format!("acknowledges {key} {number}"));
                }
            });
        }
    });
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{MARK}{what}").and_then(|()| out.flush()).unwrap();
}

/// What a key may hold: what was acknowledged last, and what was begun since.
type Allowed = BTreeMap<String, Vec<Option<Bytes>>>;

fn start(folder: &Path, round: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["kill::the_victim", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER_VARIABLE, folder)
        .env(ROUND_VARIABLE, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a victim until it has acknowledged `enough` writes, and kills it; gives the number of acknowledgements.
fn run_and_kill(folder: &Path, round: u64, enough: usize, allowed: &mut Allowed) -> usize {
    let mut victim = start(folder, round);
    let mut acknowledged = 0;
    for line in BufReader::new(victim.stdout.take().unwrap()).lines() {
        let line = line.unwrap_or_default();
        let Some(said) = line.strip_prefix(MARK) else { continue };
        let words: Vec<&str> = said.split(' ').collect();
        // The kill may have cut the last line short.
        let [what, key, number] = words[..] else { continue };
        let Ok(number) = number.parse() else { continue };
        let values = allowed.entry(key.to_owned()).or_insert_with(|| vec![None]);
        match what {
            "begins" => values.push(body_of(round, number)),
            "acknowledges" => {
                *values = vec![body_of(round, number)];
                acknowledged += 1;
                if acknowledged == enough {
                    victim.kill().unwrap();
                }
            }
            _ => {}
        }
    }
    assert!(!victim.wait().unwrap().success(), "the victim was killed");
    acknowledged
}

#[test]
fn kill_9_under_load_loses_nothing_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let (mut allowed, mut dice, mut acknowledged) = (Allowed::new(), Dice::new(1), 0);
    for round in 0..ROUNDS {
        acknowledged += run_and_kill(root.path(), round, 20 + dice.below(60) as usize, &mut allowed);
        let store = Store::open(store::real_places(root.path(), DRIVES), 1, &real::world()).unwrap();
        for (key, values) in &mut allowed {
            let found = match store.get(key) {
                Ok(found) => Some(found),
                Err(error) if is_absent(&error) => None,
                Err(error) => panic!("round {round}: {key}: {error}"),
            };
            assert!(values.contains(&found), "round {round}: {key} has {:?} bytes", found.map(|found| found.len()));
            *values = vec![found];
        }
        store.close();
    }
    println!("kill -9: {ROUNDS} rounds, {acknowledged} acknowledged writes, none lost");
}
