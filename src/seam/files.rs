//! Storage on a real folder: one drive's file tree, by positioned system calls.
//!
//! Paths stay below the root: components that are empty, `.` or `..` are refused.
#![allow(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "this is the real side of the seam")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::{OpenMode, Space, Storage, StorageFile, is_aligned};

/// A folder of the operating system.
#[derive(Debug)]
pub struct RealStorage {
    root: PathBuf,
}

impl RealStorage {
    /// Opens the folder, which must exist.
    pub fn open(root: &Path) -> io::Result<RealStorage> {
        if !fs::metadata(root)?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a folder"));
        }
        Ok(RealStorage { root: fs::canonicalize(root)? })
    }

    /// Creates the folder where it is missing, for its owner only, and opens it.
    pub fn create(root: &Path) -> io::Result<RealStorage> {
        if !root.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        }
        RealStorage::open(root)
    }

    fn path(&self, relative: &str) -> io::Result<PathBuf> {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if relative.is_empty() {
            return Ok(self.root.clone());
        }
        if !relative.split('/').all(plain) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{relative}: not a path below the drive")));
        }
        Ok(self.root.join(relative))
    }
}

impl Storage for RealStorage {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => _ = options.write(true),
            OpenMode::Create => _ = options.write(true).create(true),
            OpenMode::CreateNew => _ = options.write(true).create_new(true),
        }
        let path = self.path(path)?;
        Ok(Arc::new(RealFile { file: options.open(&path)?, path, direct: OnceLock::new() }))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from)?, self.path(to)?)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.path(path)?)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(path)?)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.path(path)?.try_exists()
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        File::open(self.path(path)?)?.sync_all()
    }

    fn space(&self) -> io::Result<Space> {
        let path = std::ffi::CString::new(self.root.as_os_str().as_encoded_bytes())?;
        // SAFETY: statvfs is plain old data, for which all zeros is a valid value.
        let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: `path` ends with NUL and `found` is a statvfs to be written; both outlive the call.
        check(unsafe { libc::statvfs(path.as_ptr(), &mut found) })?;
        let unit = found.f_frsize;
        Ok(Space { total: found.f_blocks * unit, available: found.f_bavail * unit })
    }

    fn is_mounted(&self) -> io::Result<bool> {
        // The root of the tree has no folder around it, and is always mounted.
        let Some(around) = self.root.parent() else { return Ok(true) };
        Ok(fs::metadata(&self.root)?.dev() != fs::metadata(around)?.dev())
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    path: PathBuf,
    /// The same file without the page cache, opened by the first write that wants it; `None` where that is refused.
    direct: OnceLock<Option<File>>,
}

impl RealFile {
    fn direct(&self) -> Option<&File> {
        let open = || OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&self.path).ok();
        self.direct.get_or_init(open).as_ref()
    }
}

impl StorageFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn read_at_nowait(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let count = libc::c_int::try_from(buffers.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let slices = buffers.as_mut_ptr().cast::<libc::iovec>();
        // SAFETY: an IoSliceMut has the layout of an iovec; the slices are writable and outlive the call.
        let read = unsafe { libc::preadv2(self.file.as_raw_fd(), slices, count, offset, libc::RWF_NOWAIT) };
        match usize::try_from(read) {
            Ok(read) => Ok(read),
            Err(_) => Err(match io::Error::last_os_error() {
                // File systems that cannot tell answer EOPNOTSUPP, old kernels ENOSYS: as good as "not in memory".
                error if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
                    io::ErrorKind::WouldBlock.into()
                }
                error => error,
            }),
        }
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buffer, offset)
    }

    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        write_vectored(&self.file, &self.file, buffers, offset)
    }

    fn write_direct_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        assert!(is_aligned(buffers, offset), "the caller aligns what it writes directly");
        let Some(direct) = self.direct() else { return self.write_vectored_at(buffers, offset) };
        match write_vectored(direct, &self.file, buffers, offset) {
            // Some file systems open a file so and then refuse to write, or ask for an alignment of their own.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.write_vectored_at(buffers, offset),
            done => done,
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        match fallocate(&self.file, 0, offset, length) {
            // Without fallocate the file grows as it is written.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
            done => done,
        }
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        fallocate(&self.file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, length)
    }

    fn release_unwritten(&self) -> io::Result<()> {
        let end = self.len()?;
        let mut at = 0;
        while at < end {
            let Some(hole) = self.seek(at, libc::SEEK_HOLE)?.filter(|hole| *hole < end) else { break };
            let data = self.seek(hole, libc::SEEK_DATA)?.unwrap_or(end);
            match self.punch_hole(hole, data - hole) {
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => break,
                done => done?,
            }
            at = data;
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<()> {
        // SAFETY: flock takes a descriptor, which `file` keeps open.
        check(unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })
    }
}

impl RealFile {
    /// Where the next hole or data begins from `from` on; `None` when there is none, or the file system cannot tell.
    fn seek(&self, from: u64, what: libc::c_int) -> io::Result<Option<u64>> {
        let from = libc::off_t::try_from(from).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: lseek takes plain numbers and a descriptor, which `file` keeps open; nobody uses the file's position.
        let found = unsafe { libc::lseek(self.file.as_raw_fd(), from, what) };
        match u64::try_from(found) {
            Ok(found) => Ok(Some(found)),
            Err(_) => match io::Error::last_os_error() {
                error if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::EINVAL)) => Ok(None),
                error => Err(error),
            },
        }
    }
}

/// Writes all of `buffers` by one call; what a short write leaves, which is rare, goes to `rest`.
fn write_vectored(file: &File, rest: &File, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
    let total: usize = buffers.iter().map(|buffer| buffer.len()).sum();
    let at = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let count = libc::c_int::try_from(buffers.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: an IoSlice has the layout of an iovec, and the slices outlive the call.
    let written = unsafe { libc::pwritev(file.as_raw_fd(), buffers.as_ptr().cast(), count, at) };
    let mut done = match usize::try_from(written) {
        Ok(written) if written == total => return Ok(()),
        Ok(written) => written,
        Err(_) => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => 0,
            error => return Err(error),
        },
    };
    let mut offset = offset;
    for buffer in buffers {
        let skip = done.min(buffer.len());
        rest.write_all_at(&buffer[skip..], offset + skip as u64)?;
        done -= skip;
        offset += buffer.len() as u64;
    }
    Ok(())
}

fn fallocate(file: &File, mode: libc::c_int, offset: u64, length: u64) -> io::Result<()> {
    let signed = |value: u64| libc::off_t::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let (offset, length) = (signed(offset)?, signed(length)?);
    // SAFETY: fallocate takes plain numbers and a descriptor, which `file` keeps open.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory that begins on a page, and where it does.
    fn pages(count: usize, value: u8) -> (Vec<u8>, std::ops::Range<usize>) {
        let bytes = count * crate::limits::DIRECT_ALIGN_BYTES;
        let memory = vec![value; bytes + crate::limits::DIRECT_ALIGN_BYTES];
        let start = memory.as_ptr().align_offset(crate::limits::DIRECT_ALIGN_BYTES);
        (memory, start..start + bytes)
    }

    #[test]
    fn reserved_space_is_given_back_and_what_was_written_stays() {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let storage = RealStorage::open(folder.path()).expect("it is there");
        let file = storage.open("file", OpenMode::CreateNew).expect("it is new");
        file.allocate(0, 8 << 20).expect("there is space");
        let ((page, at), unsynced) = (pages(1, 1), [2; 5000]);
        file.write_direct_at(&[IoSlice::new(&page[at])], 4096).expect("it is aligned");
        file.sync_data().expect("it is open");
        file.write_at(&unsynced, 3 << 20).expect("it is open");
        for _ in 0..2 {
            file.release_unwritten().expect("it is open");
            let (mut first, mut second) = ([9; 3 * 4096], [9; 6000]);
            file.read_at(&mut first, 0).expect("it is open");
            file.read_at(&mut second, 3 << 20).expect("it is open");
            assert!(first == *[vec![0; 4096], vec![1; 4096], vec![0; 4096]].concat());
            assert!(second == *[vec![2; 5000], vec![0; 1000]].concat());
        }
        assert_eq!(file.len().expect("it is open"), 8 << 20);
        let blocks = std::os::unix::fs::MetadataExt::blocks(
            &std::fs::metadata(folder.path().join("file")).expect("it is there"),
        );
        assert!(blocks * 512 < 1 << 20, "{blocks} blocks of 512 bytes are left");
    }

    /// Whether the file system writes directly or not: the second folder is in memory, where the kernel may refuse.
    #[test]
    fn direct_and_cached_writes_see_each_other() {
        for parent in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
            let Ok(folder) = tempfile::tempdir_in(&parent) else { continue };
            let storage = RealStorage::open(folder.path()).expect("it is there");
            let file = storage.open("file", OpenMode::CreateNew).expect("it is new");
            file.allocate(0, 64 << 10).expect("there is space");
            let ((header, at), (shard, of)) = (pages(1, 1), pages(3, 2));
            file.write_at(&[9; 100], 4096 * 2 + 10).expect("it is open");
            file.write_direct_at(&[IoSlice::new(&header[at]), IoSlice::new(&shard[of])], 4096).expect("it is aligned");
            file.write_at(&[7; 100], 4096 * 3 + 10).expect("it is open");
            file.sync_data().expect("it is open");
            let mut found = vec![0xff; 4096 * 6];
            assert_eq!(file.read_at(&mut found, 0).expect("it is open"), found.len());
            let mut expected = [vec![0; 4096], vec![1; 4096], vec![2; 4096 * 3], vec![0; 4096]].concat();
            expected[4096 * 3 + 10..][..100].fill(7);
            assert!(found == expected, "{}", parent.display());
        }
    }
}
