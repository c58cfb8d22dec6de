//! scripts/rescue.py, which shares no code with the program, restores every object from the drives alone.

use std::path::Path;
use std::process::Command;

use aerie::seam::real;

use crate::store::{self, Store, bytes, put_parts};

const DRIVES: usize = 5;
const PARITY: u8 = 2;

#[test]
fn any_k_drives_are_enough_without_the_program() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(store::real_places(root.path(), DRIVES), PARITY, &real::world()).unwrap();
    let mut objects = vec![];
    for (at, length) in [0, 1, 100, 1_024, 1_025, 4_096, 70_000, 1_048_576, 1_500_000].into_iter().enumerate() {
        let (key, body) = (format!("folder/key {at} é"), bytes(length, at as u64));
        store.put(&key, &body).unwrap();
        objects.push((key, body));
    }
    let parts = [bytes(5 << 20, 70), bytes(33, 71)];
    put_parts(&store.engine, "in-parts", &parts).unwrap();
    objects.push(("in-parts".to_owned(), parts.concat().into()));
    store.put("deleted", &bytes(5_000, 99)).unwrap();
    store.delete("deleted").unwrap();
    store.close();

    for gone in [[0, 1], [1, 4], [2, 3]] {
        let out = root.path().join(format!("out-{}-{}", gone[0], gone[1]));
        let left = (0..DRIVES).filter(|slot| !gone.contains(slot)).map(|slot| root.path().join(format!("d{slot}")));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/rescue.py");
        let ran = Command::new("python3").arg("-B").arg(script).arg("--out").arg(&out).args(left).output();
        let ran = ran.expect("this test needs python3 in the PATH; install it");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "without {gone:?}: {said}");
        let folder = out.join(crate::store::BUCKET);
        assert_eq!(
            std::fs::read_dir(&folder).unwrap().count(),
            objects.len(),
            "no more and no less than the store has"
        );
        for (key, body) in &objects {
            let name: String = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
                .replace("%2D", "-");
            let restored = std::fs::read(folder.join(&name)).unwrap_or_else(|error| panic!("{name}: {error}; {said}"));
            assert!(restored == body[..], "{key} without {gone:?}");
        }
    }
}

/// A mirror whose halves were used apart once lost what the second half had acknowledged, with the next start of both.
#[test]
fn what_each_half_of_a_mirror_acknowledged_alone_is_there_for_both() {
    let root = tempfile::tempdir().unwrap();
    let all = store::real_places(root.path(), 2);
    let start = |slots: &[usize]| {
        let place = |(slot, (name, storage)): (usize, &(String, _))| {
            (name.clone(), Option::clone(storage).filter(|_| slots.contains(&slot)))
        };
        Store::open(all.iter().enumerate().map(place).collect(), 1, &real::world()).unwrap()
    };
    let bodies = [bytes(200_000, 1), bytes(200_000, 2), bytes(200_000, 3)];
    let store = start(&[0, 1]);
    store.put("before", &bodies[0]).unwrap();
    store.close();
    for (slot, key) in [(0, "of the first"), (1, "of the second")] {
        let store = start(&[slot]);
        store.put(key, &bodies[slot + 1]).unwrap();
        store.close();
    }
    let store = start(&[0, 1]);
    let left_out = (0..2).find(|slot| store.pool.status()[*slot].fault.is_some()).expect("one is left out");
    let own = |slot: usize| if slot == 0 { "of the first" } else { "of the second" };
    assert_eq!(store.get("before").unwrap(), bodies[0]);
    assert_eq!(store.get(own(1 - left_out)).unwrap(), bodies[2 - left_out]);
    store.close();
    let store = start(&[left_out]);
    assert_eq!(store.get("before").unwrap(), bodies[0]);
    assert_eq!(store.get(own(left_out)).unwrap(), bodies[left_out + 1]);
    store.close();

    // The script does not mix them either.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/rescue.py");
    let (out, drives) = (root.path().join("out"), (0..2).map(|slot| root.path().join(format!("d{slot}"))));
    let ran = Command::new("python3").arg("-B").arg(script).arg("--out").arg(&out).args(drives).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("used apart from the others"), "{said}");
    assert_eq!(std::fs::read_dir(out.join(crate::store::BUCKET)).unwrap().count(), 2);
}
