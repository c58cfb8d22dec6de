//! Checksums of the database's pages, in the bytes that SQLite leaves free at the end of each.
//!
//! Only pages in the database itself carry one: it is set when the checkpoint writes the page, and checked whenever the
//! page is read. (Pages in the log are covered by the log's own checksums.) It covers the page's place, so that a page
//! written elsewhere is wrong, too.

use crate::hash;

pub(in crate::meta) const PAGE_BYTES: usize = 4096;
/// Bytes at the end of each page that SQLite leaves free (its header says so).
pub(super) const CHECKSUM_BYTES: usize = 8;

/// A whole page at its place, as opposed to a look at the header.
pub(super) fn is_page(length: usize, offset: u64) -> bool {
    length == PAGE_BYTES && offset.is_multiple_of(PAGE_BYTES as u64)
}

/// The page with its checksum.
pub(super) fn sealed(page: &[u8], offset: u64) -> [u8; PAGE_BYTES] {
    let mut sealed: [u8; PAGE_BYTES] = page.try_into().expect("the caller gives a page");
    let sum = checksum(page, offset);
    sealed[PAGE_BYTES - CHECKSUM_BYTES..].copy_from_slice(&sum);
    sealed
}

/// The checksum is right, or the page was never written (a hole, which SQLite may leave for a free page).
pub(super) fn is_good(page: &[u8], offset: u64) -> bool {
    page[PAGE_BYTES - CHECKSUM_BYTES..] == checksum(page, offset) || page.iter().all(|byte| *byte == 0)
}

fn checksum(page: &[u8], offset: u64) -> [u8; CHECKSUM_BYTES] {
    let sum = hash::block_checksum(0, &offset.to_le_bytes(), &page[..PAGE_BYTES - CHECKSUM_BYTES]);
    *sum.first_chunk().expect("a block checksum has 16 bytes")
}
