//! The ring: keys that are wrong, disabled, rotated and shredded; its file through crashes and drives that come back.

use super::*;
use crate::seam::sim::{self, SimMachine};

#[test]
fn kms_keys_are_named_rotated_disabled_and_shredded() {
    let site = Site::new(2);
    let ring = site.open();
    assert_eq!(block_on(ring.seal(PLACE, &kms("k1"))).unwrap_err(), SealError::NoSuchKey("k1".to_owned()));
    let no_name = Sealing::Kms(KmsRequest::default());
    assert_eq!(block_on(ring.seal(PLACE, &no_name)).unwrap_err(), SealError::NoDefaultKey);
    block_on(ring.create(Some("k1".to_owned()), Some("aws/s3".to_owned()))).unwrap();
    assert_eq!(block_on(ring.create(Some("k1".to_owned()), None)), Err(SealError::KeyExists("k1".to_owned())));
    for bad in ["", "a b", "a/b", "ü"] {
        assert!(matches!(block_on(ring.create(Some(bad.to_owned()), None)), Err(SealError::Invalid(_))), "{bad:?}");
    }
    for name in ["k1", "alias/aws/s3", "arn:aws:kms:eu-1:123:key/k1", "arn:aws:kms:eu-1:123:alias/aws/s3", "key/k1"] {
        assert_eq!(ring.resolve(name), Ok("k1".to_owned()), "{name}");
    }
    for name in ["k2", "alias/k1", "arn:aws:s3:eu-1:123:key/k1", "arn:aws:kms", ""] {
        assert!(ring.resolve(name).is_err(), "{name}");
    }
    let told = |name: &str| block_on(ring.seal(PLACE, &kms(name))).unwrap().0.kms.unwrap().named;
    assert_eq!([told("k1"), told("alias/aws/s3"), told("arn:a:kms:r:1:key/k1")], ["k1", "k1", "arn:a:kms:r:1:key/k1"]);

    let (before, _) = block_on(ring.seal(PLACE, &no_name)).unwrap();
    block_on(ring.rotate(RingKey::Kms("k1".to_owned()))).unwrap();
    block_on(ring.rotate(RingKey::Bucket(7))).unwrap();
    let (after, _) = block_on(ring.seal(PLACE, &no_name)).unwrap();
    assert_ne!(before.kms, after.kms, "a new version seals");
    assert_ne!(before.bucket_key(), after.bucket_key());
    drop(ring);
    let ring = site.open();
    assert!(ring.open_object(PLACE, &before, None).is_ok() && ring.open_object(PLACE, &after, None).is_ok());

    block_on(ring.set_enabled("k1", false)).unwrap();
    let disabled = SealError::KeyDisabled("k1".to_owned());
    assert_eq!(ring.open_object(PLACE, &before, None).unwrap_err(), disabled);
    assert_eq!(block_on(ring.seal(PLACE, &kms("k1"))).unwrap_err(), disabled);
    block_on(ring.set_enabled("k1", true)).unwrap();
    assert!(ring.open_object(PLACE, &before, None).is_ok());

    block_on(ring.shred(RingKey::Kms("k1".to_owned()))).unwrap();
    for facts in [&before, &after] {
        assert!(matches!(ring.open_object(PLACE, facts, None), Err(SealError::KeyShredded(_))));
    }
    assert!(matches!(block_on(ring.seal(PLACE, &kms("k1"))), Err(SealError::KeyShredded(_))));
    assert!(matches!(block_on(ring.set_enabled("k1", true)), Err(SealError::KeyShredded(_))));
}

#[test]
fn shredding_a_bucket_closes_all_modes_and_leaves_no_key_in_any_copy() {
    let site = Site::new(3);
    let ring = site.open();
    block_on(ring.create(Some("k1".to_owned()), None)).unwrap();
    let mine = CustomerKey::new(&[9; 32]).unwrap();
    let all = [Sealing::S3, kms("k1"), Sealing::Customer(mine.clone())];
    let facts: Vec<SealFacts> = all.iter().map(|how| block_on(ring.seal(PLACE, how)).unwrap().0).collect();
    let (elsewhere, _) = block_on(ring.seal((8, "x"), &Sealing::S3)).unwrap();
    let stored: serde_json::Value = serde_json::from_slice(text_of(&site.bytes(0))).unwrap();
    let bucket = stored["keys"].as_array().unwrap().iter().find(|key| key["owner"] == "bucket/7").unwrap();
    let wrapped = bucket["versions"][0]["wrapped"].as_str().unwrap().to_owned();
    assert!((0..3).all(|copy| holds(&site.bytes(copy), &wrapped)), "the test looks for the right thing");

    let shredded = block_on(ring.shred(RingKey::Bucket(7))).unwrap();
    assert_eq!(shredded, Shredded { versions: 1, unreached: Vec::new() });
    assert!((0..3).all(|copy| !holds(&site.bytes(copy), &wrapped)), "no copy holds the key in any file");
    drop(ring);
    let ring = site.open();
    let key = |how: &SealFacts| (how.mode == SealMode::Customer).then_some(&mine);
    for facts in &facts {
        assert!(matches!(ring.open_object(PLACE, facts, key(facts)), Err(SealError::KeyShredded(_))), "{facts:?}");
    }
    assert!(ring.open_object((8, "x"), &elsewhere, None).is_ok(), "other buckets are not touched");
    // What is stored from now on has a new key.
    let (new, _) = block_on(ring.seal(PLACE, &Sealing::S3)).unwrap();
    assert!(ring.open_object(PLACE, &new, None).is_ok());
    block_on(ring.forget_bucket(8)).unwrap();
    assert!(matches!(ring.open_object((8, "x"), &elsewhere, None), Err(SealError::KeyMissing(_))));
}

/// The text of the one file that is not empty.
fn text_of(bytes: &[u8]) -> &[u8] {
    assert_eq!(bytes[..4], *b"AEK1");
    assert_eq!(u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize, bytes.len() - 64);
    &bytes[64..]
}

#[test]
fn a_drive_that_comes_back_or_is_new_gets_the_newest_ring() {
    let site = Site::new(2);
    let facts = block_on(site.open().seal(PLACE, &Sealing::S3)).unwrap().0;
    let old = site.bytes(1);
    let ring = site.open();
    block_on(ring.shred(RingKey::Bucket(7))).unwrap();
    drop(ring);
    // The second drive was away while the key was shredded.
    for name in RING_FILES {
        site.storage(1).open(name, OpenMode::Create).unwrap().set_len(0).unwrap();
    }
    site.storage(1).open(RING_FILES[0], OpenMode::Create).unwrap().write_at(&old, 0).unwrap();
    let ring = site.open();
    assert!(matches!(ring.open_object(PLACE, &facts, None), Err(SealError::KeyShredded(_))));
    assert_eq!(text_of(&site.bytes(0)), text_of(&site.bytes(1)));
    drop(ring);
    RING_FILES.iter().for_each(|name| site.storage(0).remove(name).unwrap_or_default());
    let ring = site.open();
    assert!(matches!(ring.open_object(PLACE, &facts, None), Err(SealError::KeyShredded(_))));
    assert_eq!(text_of(&site.bytes(0)), text_of(&site.bytes(1)));
}

#[test]
fn power_may_go_at_any_write_of_a_change() {
    let machine = SimMachine::new(2, 64 << 20);
    let open = |machine: &SimMachine, seed: u64| {
        KeyRing::open(vec![machine.storage(0), machine.storage(1)], 0, None, sim::world(seed).0).unwrap()
    };
    let file = |machine: &SimMachine, copy: usize| bytes_of(&*machine.storage(copy));
    let ring = open(&machine, 1);
    // Long before, short after: what is left over of the longer text must be found as well.
    for number in 0..20 {
        block_on(ring.create(Some(format!("k{number}")), None)).unwrap();
    }
    let (facts, _) = block_on(ring.seal(PLACE, &Sealing::S3)).unwrap();
    let sealed_at = machine.position();
    let stored: serde_json::Value = serde_json::from_slice(text_of(&file(&machine, 0))).unwrap();
    let wrapped = stored["keys"][0]["versions"][0]["wrapped"].as_str().unwrap().to_owned();
    assert_eq!(stored["keys"][0]["owner"], "bucket/7");
    block_on(ring.shred(RingKey::Bucket(7))).unwrap();
    let shredded_at = machine.position();
    drop(ring);
    let (mut before, mut after) = (0, 0);
    for cut in machine.trace().cuts().filter(|cut| cut.position >= sealed_at) {
        for seed in 0..6 {
            let machine = SimMachine::boot(cut.image(seed), 64 << 20);
            let ring = open(&machine, 5);
            let gone = match ring.open_object(PLACE, &facts, None) {
                Ok(_) => false,
                Err(SealError::KeyShredded(_)) => true,
                Err(error) => panic!("cut {} seed {seed}: {error}", cut.position),
            };
            assert!(gone || cut.position < shredded_at, "an acknowledged shredding is undone");
            for copy in 0..2 {
                let left = holds(&file(&machine, copy), &wrapped);
                assert!(!gone || !left, "cut {} seed {seed}: copy {copy} holds the key still", cut.position);
            }
            *(if gone { &mut after } else { &mut before }) += 1;
            drop(ring);
        }
    }
    assert!(before > 0 && after > 0, "both sides of the change were seen: {before}, {after}");
}

#[test]
fn a_root_key_from_outside_makes_the_drives_alone_useless() {
    let site = Site::new(1);
    let facts = block_on(site.open().seal(PLACE, &Sealing::S3)).unwrap().0;
    let inside: serde_json::Value = serde_json::from_slice(text_of(&site.bytes(0))).unwrap();
    let inside = inside["root"]["inside"].as_str().unwrap().to_owned();
    let root = RootKey::parse(&"ab".repeat(32)).unwrap();
    let ring = site.open_with(Some(&root)).unwrap();
    assert!(ring.open_object(PLACE, &facts, None).is_ok(), "keys from before are kept");
    drop(ring);
    assert!(!holds(&site.bytes(0), &inside), "the root key has left the drive");
    let other = RootKey::parse(&hash::base64_encode(&[7; 32])).unwrap();
    for (given, part) in [(None, "AERIE_ENCRYPTION_ROOT_KEY"), (Some(&other), "the one that sealed it")] {
        let error = site.open_with(given).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(site.open_with(Some(&root)).unwrap().open_object(PLACE, &facts, None).is_ok());
    for bad in ["", "ab", &"zz".repeat(32), &"ab".repeat(33)] {
        assert!(RootKey::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_vault_opens_what_it_sealed_for_the_same_name() {
    let site = Site::new(2);
    let ring = Arc::new(site.open());
    let vault = block_on(ring.vault()).unwrap();
    let text = vault.seal("access/key/A", "the secret").unwrap();
    assert!(Vault::is_sealed(&text) && !text.contains("secret"));
    assert_ne!(vault.seal("access/key/A", "the secret").unwrap(), text, "each has a key of its own");
    assert_eq!(vault.open("access/key/A", &text).unwrap().as_str(), "the secret");
    assert!(vault.open("access/key/B", &text).is_err(), "it was moved");
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        assert!(vault.open("access/key/A", &String::from_utf8(changed).unwrap()).is_err(), "changed at {at}");
        assert!(vault.open("access/key/A", &text[..at]).is_err(), "cut at {at}");
    }
    assert_eq!(ring.list().len(), 0, "its key is no key of the operator's");
    drop((vault, ring));
    // A root key from outside protects it from then on, and nothing opens it without.
    let root = RootKey::parse(&"11".repeat(32)).unwrap();
    let ring = Arc::new(site.open_with(Some(&root)).unwrap());
    assert_eq!(block_on(ring.vault()).unwrap().open("access/key/A", &text).unwrap().as_str(), "the secret");
    drop(ring);
    assert!(site.open_with(None).is_err());
    let elsewhere = Site::new(1);
    let other = Arc::new(elsewhere.open());
    let opened = block_on(other.vault()).unwrap().open("access/key/A", &text);
    assert!(matches!(opened, Err(SealError::KeyMissing(_))), "{opened:?}");
}

#[test]
fn no_key_is_ever_printed() {
    let site = Site::new(1);
    let ring = site.open();
    let customer = CustomerKey::new(b"0123456789abcdef0123456789ABCDEF").unwrap();
    let (facts, key) = block_on(ring.seal(PLACE, &Sealing::Customer(customer.clone()))).unwrap();
    let root = RootKey::parse(&hash::base64_encode(b"0123456789abcdef0123456789ABCDEF")).unwrap();
    let sealer = Sealer::new(&key, 0, "");
    let opener = Opener::new(key.clone(), whole(5).into_iter(), 0..5);
    let sealing = Sealing::Customer(customer.clone());
    let texts = [
        format!("{customer:?} {root:?} {key:?} {ring:?} {sealer:?} {opener:?} {sealing:?} {facts:?}"),
        serde_json::to_string(&ring.list()).unwrap(),
        serde_json::to_string(&facts).unwrap(),
    ];
    let bytes = b"0123456789abcdef0123456789ABCDEF";
    for text in &texts {
        for form in [String::from_utf8_lossy(bytes).into_owned(), hash::hex_encode(bytes), hash::base64_encode(bytes)] {
            assert!(!text.contains(&form), "{text}");
        }
        assert!(!text.contains("48, 49, 50"), "{text}");
    }
}
