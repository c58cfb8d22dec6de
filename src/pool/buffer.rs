//! Buffers that stripes are read into: taken from the calling thread's shelf, and back on it once nobody reads the bytes.
//!
//! An allocator would zero each of them, and for large ones ask the kernel for pages again and again. What a buffer held
//! before stays in it until it is overwritten: `read_exactly` hands out none of that.

use std::cell::RefCell;
use std::io;

use bytes::Bytes;

use crate::limits::{READ_BUFFERS_KEPT_BYTES, STRIPE_BYTES};

/// Sizes double from the smallest to one that holds a stripe whose shards are padded.
const SMALLEST_BYTES: usize = 4 << 10;
const SIZES: usize = (2 * STRIPE_BYTES / SMALLEST_BYTES).ilog2() as usize + 1;

#[derive(Default)]
struct Shelf {
    buffers: [Vec<Vec<u8>>; SIZES],
    bytes: usize,
}

thread_local! {
    static SHELF: RefCell<Shelf> = RefCell::default();
}

fn size_of(length: usize) -> usize {
    (length.div_ceil(SMALLEST_BYTES).next_power_of_two().ilog2() as usize).min(SIZES - 1)
}

/// A buffer on loan.
struct Loan {
    buffer: Vec<u8>,
    length: usize,
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        // A thread that ends has no shelf any more.
        _ = SHELF.try_with(|shelf| {
            let mut shelf = shelf.borrow_mut();
            if shelf.bytes + buffer.len() <= READ_BUFFERS_KEPT_BYTES {
                shelf.bytes += buffer.len();
                shelf.buffers[size_of(buffer.len())].push(buffer);
            }
        });
    }
}

fn lend(length: usize) -> Loan {
    assert!(length <= 2 * STRIPE_BYTES, "at most a stripe is read at once");
    let size = size_of(length);
    let kept = SHELF.with_borrow_mut(|shelf| {
        let kept = shelf.buffers[size].pop();
        shelf.bytes -= kept.as_ref().map_or(0, Vec::len);
        kept
    });
    Loan { buffer: kept.unwrap_or_else(|| vec![0; SMALLEST_BYTES << size]), length }
}

/// Bytes that `fill` has written. It overwrites all of the slice, or fails.
pub fn read_exactly(length: usize, fill: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<Bytes> {
    let mut loan = lend(length);
    fill(&mut loan.buffer[..length])?;
    Ok(Bytes::from_owner(loan))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(length: usize, byte: u8) -> Bytes {
        read_exactly(length, |buffer| {
            buffer.fill(byte);
            Ok(())
        })
        .expect("the closure does not fail")
    }

    #[test]
    fn a_buffer_comes_back_when_the_last_slice_of_it_is_gone() {
        let first = read(5000, 1);
        let address = first.as_ptr();
        let slice = first.slice(10..20);
        drop(first);
        assert_ne!(read(5000, 2).as_ptr(), address, "a slice still refers to it");
        assert_eq!(slice, [1; 10][..]);
        drop(slice);
        assert!([read(5000, 3), read(6000, 4)].iter().any(|bytes| bytes.as_ptr() == address));
    }

    #[test]
    fn a_failed_read_gives_no_bytes_and_every_size_up_to_a_stripe_has_room() {
        assert!(read_exactly(100, |_| Err(io::ErrorKind::WouldBlock.into())).is_err());
        for length in [0, 1, 4096, 4097, STRIPE_BYTES - 1, STRIPE_BYTES, STRIPE_BYTES + 1, 2 * STRIPE_BYTES] {
            let bytes = read(length, 9);
            assert_eq!(bytes.len(), length);
            assert!(bytes.iter().all(|byte| *byte == 9));
        }
    }

    #[test]
    fn what_the_shelf_keeps_is_bounded() {
        let all: Vec<Bytes> = (0..2 * READ_BUFFERS_KEPT_BYTES / STRIPE_BYTES).map(|_| read(STRIPE_BYTES, 0)).collect();
        drop(all);
        assert!(SHELF.with_borrow(|shelf| shelf.bytes) <= READ_BUFFERS_KEPT_BYTES);
    }
}
