//! Sealed blocks and envelopes: bytes flipped, moved, cut and exchanged.

use proptest::prelude::*;

use super::*;
use crate::limits::SEALED_BLOCK_BYTES;

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
