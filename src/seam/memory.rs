//! Memory for direct I/O: zeroed, on the boundary of a huge page, and in huge pages where the kernel has them.
//!
//! A drive is given a list of the places where a write's bytes lie. In pages of 4 KiB a large shard lies in dozens of them,
//! each of which is looked up, pinned and handed over by itself; in a huge page all of it lies in one. Any thread.
#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The usual size of a huge page. Where it is another one, the memory is in small pages.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;
/// A smaller rest than this stays in small pages: more than a third of a huge one would go to waste.
const REST_BYTES_MIN: usize = HUGE_PAGE_BYTES / 8 * 5;

/// A mapping of its own, given back when it is dropped.
#[derive(Debug)]
pub struct PageMemory {
    mapping: NonNull<u8>,
    mapped_bytes: usize,
    /// Of the mapping: where the first huge page begins.
    start: usize,
    length: usize,
}

// SAFETY: it owns its mapping, which nothing else refers to.
unsafe impl Send for PageMemory {}
// SAFETY: shared references only read.
unsafe impl Sync for PageMemory {}

impl PageMemory {
    /// Bytes of memory that `zeroed` takes for so many: a rest that fills most of a huge page gets all of it.
    pub const fn length_for(bytes: usize) -> usize {
        let rest = bytes % HUGE_PAGE_BYTES;
        if rest >= REST_BYTES_MIN { bytes - rest + HUGE_PAGE_BYTES } else { bytes }
    }

    /// At least so many bytes, all zeros, the first of them on the boundary of a huge page.
    pub fn zeroed(bytes: usize) -> PageMemory {
        assert!(bytes > 0, "there is no empty mapping");
        let length = PageMemory::length_for(bytes);
        // Address space for the alignment; it takes no memory.
        let mapped_bytes = length + HUGE_PAGE_BYTES;
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other memory.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), mapped_bytes, access, kind, -1, 0) };
        let mapping = NonNull::new(mapped.cast::<u8>()).filter(|_| mapped != libc::MAP_FAILED);
        let Some(mapping) = mapping else {
            let layout = std::alloc::Layout::from_size_align(length, 1).expect("a stripe is small");
            std::alloc::handle_alloc_error(layout)
        };
        let start = mapping.as_ptr().align_offset(HUGE_PAGE_BYTES);
        // SAFETY: the range lies in the mapping. It is advice that changes no byte, and a kernel may refuse it.
        unsafe { libc::madvise(mapping.as_ptr().add(start).cast(), length, libc::MADV_HUGEPAGE) };
        PageMemory { mapping, mapped_bytes, start, length }
    }
}

impl Deref for PageMemory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies in the mapping, which lives as long as `self`; the kernel has zeroed it.
        unsafe { std::slice::from_raw_parts(self.mapping.as_ptr().add(self.start), self.length) }
    }
}

impl DerefMut for PageMemory {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.as_ptr().add(self.start), self.length) }
    }
}

impl Drop for PageMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference into it outlives the value.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapped_bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_zeroed_aligned_and_whole_huge_pages_where_little_goes_to_waste() {
        for (bytes, length) in [
            (1, 1),
            (4096, 4096),
            (9 << 17, 9 << 17),
            (3 << 19, HUGE_PAGE_BYTES),
            (HUGE_PAGE_BYTES, HUGE_PAGE_BYTES),
            (HUGE_PAGE_BYTES + 8192, HUGE_PAGE_BYTES + 8192),
            (7 << 19, 2 * HUGE_PAGE_BYTES),
        ] {
            let mut memory = PageMemory::zeroed(bytes);
            assert_eq!(memory.len(), length, "{bytes}");
            assert!(memory.as_ptr().addr().is_multiple_of(HUGE_PAGE_BYTES) && memory.iter().all(|byte| *byte == 0));
            memory.fill(7);
            assert!(memory.iter().all(|byte| *byte == 7));
        }
    }
}
