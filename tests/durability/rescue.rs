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
