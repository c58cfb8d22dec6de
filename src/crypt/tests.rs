//! The crypt layer alone, attacked below the pool's checksums: bytes flipped, moved, cut and exchanged; keys that are
//! wrong, disabled, rotated and shredded; and the ring's file through crashes and drives that come back.

use std::sync::Arc;

use pollster::block_on;
use proptest::prelude::*;

use super::*;
use crate::hash;
use crate::limits::SEALED_BLOCK_BYTES;
use crate::seam::files::RealStorage;
use crate::seam::sim::{self, SimMachine};
use crate::seam::{OpenMode, Storage, real};

const PLACE: (i64, &str) = (7, "photos/a.jpg");

/// Folders with a ring.
struct Site {
    folder: tempfile::TempDir,
    copies: usize,
}

impl Site {
    fn new(copies: usize) -> Site {
        Site { folder: tempfile::tempdir().unwrap(), copies }
    }

    fn storage(&self, copy: usize) -> Arc<dyn Storage> {
        Arc::new(RealStorage::create(&self.folder.path().join(format!("d{copy}"))).unwrap())
    }

    fn open(&self) -> KeyRing {
        self.open_with(None).unwrap()
    }

    fn open_with(&self, root: Option<&RootKey>) -> Result<KeyRing, SealError> {
        KeyRing::open((0..self.copies).map(|copy| self.storage(copy)).collect(), 0, root, real::world())
    }

    /// All bytes of a copy's files.
    fn bytes(&self, copy: usize) -> Vec<u8> {
        bytes_of(&*self.storage(copy))
    }
}

fn bytes_of(storage: &dyn Storage) -> Vec<u8> {
    let mut all = Vec::new();
    for name in RING_FILES {
        let Ok(file) = storage.open(name, OpenMode::Read) else { continue };
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        all.extend_from_slice(&bytes);
    }
    all
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn plain(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u64).wrapping_mul(0x9e37_79b9).rotate_left(11) as u8).collect()
}

/// Seals in pieces of `piece` bytes.
fn sealed(key: &DataKey, number: u32, salt: &str, bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut sealer = Sealer::new(key, number, salt);
    let mut all = Vec::new();
    bytes.chunks(piece).for_each(|piece| all.extend_from_slice(&sealer.seal(piece)));
    all.extend_from_slice(&sealer.finish());
    all
}

/// Opens a range, given the sealed bytes of it in pieces of `piece` bytes.
fn opened(
    key: &DataKey,
    streams: &[Stream<'_>],
    sealed: &[u8],
    range: std::ops::Range<u64>,
    piece: usize,
) -> Result<Vec<u8>, SealError> {
    let mut opener = Opener::new(key.clone(), streams.iter().cloned(), range);
    let wanted = opener.sealed_range();
    let end = (wanted.end as usize).min(sealed.len());
    let mut all = Vec::new();
    for piece in sealed[(wanted.start as usize).min(end)..end].chunks(piece) {
        all.extend_from_slice(&opener.open(piece)?);
    }
    opener.finish()?;
    Ok(all)
}

fn whole(size: usize) -> [Stream<'static>; 1] {
    [Stream { number: 0, salt: "", size: size as u64 }]
}

fn key_of(ring: &KeyRing) -> DataKey {
    block_on(ring.seal(PLACE, &Sealing::S3)).unwrap().1
}

fn kms(key: &str) -> Sealing {
    Sealing::Kms(KmsRequest { key: Some(key.to_owned()), ..KmsRequest::default() })
}

#[test]
fn every_length_and_piece_comes_back_and_has_the_length_that_follows_from_it() {
    let site = Site::new(1);
    let key = key_of(&site.open());
    let block = SEALED_BLOCK_BYTES;
    for length in [0, 1, 15, 16, 1024, block - 1, block, block + 1, 2 * block, 3 * block + 77] {
        let bytes = plain(length);
        for piece in [1000, block - 1, block, block + 16, 1 << 20] {
            let stored = sealed(&key, 0, "", &bytes, piece);
            assert_eq!(stored.len() as u64, sealed_bytes(length as u64), "{length} bytes");
            assert_eq!(opened(&key, &whole(length), &stored, 0..length as u64, piece), Ok(bytes.clone()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_range_over_parts_gives_its_bytes_and_reads_no_more_than_its_blocks(
        sizes in prop::collection::vec(0usize..150_000, 1..5), from in 0.0..1.0f64, to in 0.0..1.0f64, piece in 1usize..200_000,
    ) {
        let site = Site::new(1);
        let key = key_of(&site.open());
        let salts: Vec<String> = (0..sizes.len()).map(|_| new_salt(&*real::world().entropy)).collect();
        let streams: Vec<Stream<'_>> = sizes.iter().zip(&salts).zip(1..)
            .map(|((size, salt), number)| Stream { number, salt, size: *size as u64 }).collect();
        let bytes = plain(sizes.iter().sum());
        let (mut stored, mut at) = (Vec::new(), 0);
        for stream in &streams {
            let part = &bytes[at..at + stream.size as usize];
            stored.extend_from_slice(&sealed(&key, stream.number, stream.salt, part, 60_000));
            at += part.len();
        }
        let mut ends = [(bytes.len() as f64 * from) as u64, (bytes.len() as f64 * to) as u64];
        ends.sort_unstable();
        let range = ends[0]..ends[1];
        let sealed_range = Opener::new(key.clone(), streams.iter().cloned(), range.clone()).sealed_range();
        let most = (range.end - range.start) + 2 * SEALED_BLOCK_BYTES as u64 + 16 * (4 + bytes.len() as u64 / SEALED_BLOCK_BYTES as u64);
        prop_assert!(sealed_range.end - sealed_range.start <= most);
        let got = opened(&key, &streams, &stored, range.clone(), piece).unwrap();
        prop_assert_eq!(got, bytes[range.start as usize..range.end as usize].to_vec());
    }
}

#[test]
fn any_changed_byte_is_found() {
    let site = Site::new(1);
    let key = key_of(&site.open());
    let bytes = plain(300);
    let good = sealed(&key, 0, "", &bytes, 300);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(matches!(opened(&key, &whole(300), &bad, 0..300, 64), Err(SealError::Damaged(_))), "byte {at}");
    }
}

#[test]
fn blocks_that_are_moved_cut_or_taken_from_elsewhere_are_found() {
    let site = Site::new(1);
    let ring = site.open();
    let key = key_of(&ring);
    let block = SEALED_BLOCK_BYTES + 16;
    let size = 3 * SEALED_BLOCK_BYTES;
    let bytes = plain(size);
    let good = sealed(&key, 0, "", &bytes, 1 << 20);
    let damaged = |stored: &[u8], streams: &[Stream<'_>], what: &str| {
        let end = streams.iter().map(|stream| stream.size).sum();
        let got = opened(&key, streams, stored, 0..end, 1 << 20);
        assert!(matches!(got, Err(SealError::Damaged(_))), "{what}: {got:?}");
    };
    let mut swapped = good.clone();
    let (first, rest) = swapped.split_at_mut(block);
    first.swap_with_slice(&mut rest[..block]);
    damaged(&swapped, &whole(size), "two blocks of one stream exchanged");
    let repeated = [&good[..block], &good[..block], &good[2 * block..]].concat();
    damaged(&repeated, &whole(size), "a block twice");
    damaged(&good[..good.len() - 1], &whole(size), "cut within the last block");
    damaged(&good[..2 * block], &whole(size), "cut between two blocks");
    // Who can change the size as well meets the mark of the last block.
    damaged(&good[..2 * block], &whole(size - SEALED_BLOCK_BYTES), "cut, and the size with it");
    damaged(&good, &whole(size + 5), "a size that is too large");
    let other = sealed(&key_of(&ring), 0, "", &bytes, 1 << 20);
    let foreign = [&good[..block], &other[block..]].concat();
    damaged(&foreign, &whole(size), "blocks of another object with the same bytes");
    // Parts: the same bytes under another number, another upload of the same part, the order changed.
    let salts = [new_salt(&*real::world().entropy), new_salt(&*real::world().entropy)];
    let part = |number: u32, salt: usize| sealed(&key, number, &salts[salt], &bytes[..100], 100);
    let stream = |number: u32, salt: usize| Stream { number, salt: &salts[salt], size: 100 };
    let good = [part(1, 0), part(2, 1)].concat();
    assert_eq!(opened(&key, &[stream(1, 0), stream(2, 1)], &good, 0..200, 50).unwrap(), [&bytes[..100]; 2].concat());
    damaged(&good, &[stream(2, 1), stream(1, 0)], "parts listed in another order");
    damaged(&[part(2, 1), part(1, 0)].concat(), &[stream(1, 0), stream(2, 1)], "parts stored in another order");
    damaged(&[part(1, 0), part(2, 0)].concat(), &[stream(1, 0), stream(2, 1)], "another upload of part 2");
}

#[test]
fn an_envelope_opens_only_where_it_belongs() {
    let site = Site::new(1);
    let ring = site.open();
    block_on(ring.create(Some("k1".to_owned()), None)).unwrap();
    let (mine, other) = (CustomerKey::new(&[1; 32]).unwrap(), CustomerKey::new(&[2; 32]).unwrap());
    let (s3, key) = block_on(ring.seal(PLACE, &Sealing::S3)).unwrap();
    let stored = sealed(&key, 0, "", b"secret", 6);
    let again = ring.open_object(PLACE, &s3, None).unwrap();
    assert_eq!(opened(&again, &whole(6), &stored, 0..6, 6).unwrap(), b"secret");
    // Moved to another key or bucket (whose own key is another).
    assert!(matches!(ring.open_object((7, "photos/b.jpg"), &s3, None), Err(SealError::Damaged(_))));
    block_on(ring.seal((8, "photos/a.jpg"), &Sealing::S3)).unwrap();
    assert!(matches!(ring.open_object((8, "photos/a.jpg"), &s3, None), Err(SealError::KeyMissing(_))));
    assert_eq!(ring.open_object(PLACE, &s3, Some(&mine)).unwrap_err(), SealError::CustomerKeyUnwanted);
    let (customer, _) = block_on(ring.seal(PLACE, &Sealing::Customer(mine.clone()))).unwrap();
    assert!(ring.open_object(PLACE, &customer, Some(&mine)).is_ok());
    assert_eq!(ring.open_object(PLACE, &customer, Some(&other)).unwrap_err(), SealError::CustomerKeyWrong);
    assert_eq!(ring.open_object(PLACE, &customer, None).unwrap_err(), SealError::CustomerKeyNeeded);
    // Each byte of the stored facts counts: a changed text does not open, or is not read at all.
    let context = Some(hash::base64_encode(br#"{"project":"x"}"#));
    let request = KmsRequest { key: Some("k1".to_owned()), context, bucket_key_enabled: true };
    let (facts, _) = block_on(ring.seal(PLACE, &Sealing::Kms(request))).unwrap();
    let text = serde_json::to_string(&facts).unwrap();
    let mut tried = 0;
    for name in ["id", "bucket_key", "data_key", "context", "version", "key"] {
        let at = text.find(&format!("\"{name}\":\"")).unwrap() + name.len() + 4;
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        let changed: SealFacts = serde_json::from_slice(&bytes).unwrap();
        assert!(ring.open_object(PLACE, &changed, None).is_err(), "{name}");
        tried += 1;
    }
    assert_eq!(tried, 6);
}

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
