//! The C interface of the mirrored files: sqlite3_vfs and sqlite3_io_methods.
//!
//! Each function turns C arguments into calls on `Copies`, `FileLocks` and `LogIndex`, and errors into SQLite's codes.
//! Named files are mirrored; nameless ones (statement journals) are kept in memory.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::ffi;

use super::copies::{Copies, MirroredFile};
use super::locks::{IndexLocks, Level};
use super::page;
use super::pending::{Pending, Run};
use crate::seam::World;

/// A registered file system. It stays registered, and its memory stays, until this is dropped: connections go first.
pub(in crate::meta) struct Vfs {
    name: CString,
    raw: *mut ffi::sqlite3_vfs,
}

struct Shared {
    copies: Arc<Copies>,
    world: World,
}

// SAFETY: the raw structure is written only by `register` and `drop`; SQLite reads it from any thread.
unsafe impl Send for Vfs {}
// SAFETY: as above.
unsafe impl Sync for Vfs {}

/// Room that xFullPathname may need.
const PATH_BYTES_MAX: c_int = 512;

impl Vfs {
    /// Registers a file system under a name of its own.
    pub fn register(name: &str, copies: Arc<Copies>, world: World) -> Result<Vfs, String> {
        count_no_memory();
        let name = CString::new(name).map_err(|_| "the name has a NUL".to_owned())?;
        let shared = Box::into_raw(Box::new(Shared { copies, world }));
        let raw = Box::into_raw(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: size_of::<OpenFile>() as c_int,
            mxPathname: PATH_BYTES_MAX,
            pNext: std::ptr::null_mut(),
            zName: name.as_ptr(),
            pAppData: shared.cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: Some(current_time_ms),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: `raw` points to a complete sqlite3_vfs that lives until `drop` has unregistered it.
        match unsafe { ffi::sqlite3_vfs_register(raw, 0) } {
            ffi::SQLITE_OK => Ok(Vfs { name, raw }),
            code => Err(format!("SQLite refused the file system ({code})")),
        }
    }

    pub fn name(&self) -> &str {
        self.name.to_str().expect("made from a str")
    }
}

impl Drop for Vfs {
    fn drop(&mut self) {
        // SAFETY: `raw` and its pAppData came from Box::into_raw in `register`; all connections are closed before.
        unsafe {
            ffi::sqlite3_vfs_unregister(self.raw);
            drop(Box::from_raw((*self.raw).pAppData.cast::<Shared>()));
            drop(Box::from_raw(self.raw));
        }
    }
}

/// Turns off SQLite's count of its memory, for which all threads take one lock at each allocation.
fn count_no_memory() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let off: c_int = 0;
        // SAFETY: this option takes an int. SQLite refuses it once it is in use, which does no harm.
        let code = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, off) };
        if code != ffi::SQLITE_OK {
            tracing::debug!(code, "SQLite goes on counting its memory");
        }
    });
}

/// Makes a database that is about to be created leave room for checksums in its pages.
pub(in crate::meta) fn reserve_checksums(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    let mut bytes = page::CHECKSUM_BYTES as c_int;
    // SAFETY: the handle is that of a live connection, and the operation takes a pointer to an int.
    let code = unsafe {
        let bytes: *mut c_int = &mut bytes;
        ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_RESERVE_BYTES, bytes.cast())
    };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)) }
}

/// What SQLite allocates for an open file: its own head, then our pointer.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    state: *mut FileState,
}

struct FileState {
    copies: Arc<Copies>,
    backing: Backing,
    lock: Level,
    index: IndexLocks,
}

impl FileState {
    /// Gives the copies what they have not been given yet, and syncs them if told to.
    fn give_out(&mut self, sync: bool) -> io::Result<()> {
        match &mut self.backing {
            Backing::Mirrored { file, pending, .. } => match pending.take() {
                runs if runs.is_empty() && !sync => Ok(()),
                runs => self.copies.write(file, runs, sync),
            },
            Backing::Memory(_) => Ok(()),
        }
    }

    /// Puts a write off until it must be given out.
    fn put_off(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let Backing::Mirrored { pending, .. } = &mut self.backing else { return Ok(()) };
        pending.push(bytes, offset);
        if pending.is_full() { self.give_out(false) } else { Ok(()) }
    }

    /// What this connection wrote and now asks for is with the copies before it is read.
    fn give_out_read(&mut self, offset: u64, length: usize) -> io::Result<()> {
        match &self.backing {
            Backing::Mirrored { pending, .. } if pending.overlaps(offset, length) => self.give_out(false),
            _ => Ok(()),
        }
    }
}

enum Backing {
    Mirrored {
        file: Arc<MirroredFile>,
        role: Role,
        pending: Pending,
    },
    /// A statement's journal: gone with the statement.
    Memory(Vec<u8>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Database,
    Log,
    Journal,
}

impl Role {
    fn from_flags(flags: c_int) -> Role {
        if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
            Role::Database
        } else if flags & ffi::SQLITE_OPEN_WAL != 0 {
            Role::Log
        } else {
            Role::Journal
        }
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// # Safety
/// `vfs` is one that `register` made.
unsafe fn shared<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Shared {
    // SAFETY: pAppData points to a Shared for as long as the file system is registered.
    unsafe { &*(*vfs).pAppData.cast::<Shared>() }
}

/// # Safety
/// `file` was opened by `open` and not closed since; SQLite uses a file from one thread at a time.
unsafe fn state<'a>(file: *mut ffi::sqlite3_file) -> &'a mut FileState {
    // SAFETY: `open` stored a valid pointer, which `close` takes away.
    unsafe { &mut *(*file.cast::<OpenFile>()).state }
}

/// # Safety
/// `path` is null or a C string that outlives the result.
unsafe fn text<'a>(path: *const c_char) -> Option<&'a str> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(path) }.to_str().ok()
}

fn code(error: &io::Error, otherwise: c_int) -> c_int {
    match error.kind() {
        io::ErrorKind::StorageFull => ffi::SQLITE_FULL,
        _ => otherwise,
    }
}

fn answer(result: io::Result<()>, otherwise: c_int) -> c_int {
    result.map_or_else(|error| code(&error, otherwise), |()| ffi::SQLITE_OK)
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives its registered vfs, a path that is null or a string, and room for szOsFile bytes.
    unsafe {
        let file = file.cast::<OpenFile>();
        (*file).base.pMethods = std::ptr::null();
        let copies = shared(vfs).copies.clone();
        let backing = match text(path) {
            None => Backing::Memory(Vec::new()),
            Some(path) => match copies.open(path, flags & ffi::SQLITE_OPEN_CREATE != 0) {
                Ok(file) => Backing::Mirrored { file, role: Role::from_flags(flags), pending: Pending::default() },
                Err(error) => return code(&error, ffi::SQLITE_CANTOPEN),
            },
        };
        let state = FileState { copies, backing, lock: Level::None, index: IndexLocks::default() };
        (*file).state = Box::into_raw(Box::new(state));
        (*file).base.pMethods = &METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes an open file once; the box came from `open`.
    unsafe {
        let mut state = Box::from_raw((*file.cast::<OpenFile>()).state);
        let given_out = state.give_out(false);
        if let Backing::Mirrored { file, .. } = &state.backing {
            file.index.detach(&mut state.index);
            file.locks.lower(&mut state.lock, Level::None);
        }
        answer(given_out, ffi::SQLITE_IOERR_CLOSE)
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: `to` has room for `amount` bytes; the file is open.
    let (state, buffer) = unsafe { (state(file), std::slice::from_raw_parts_mut(to.cast::<u8>(), amount as usize)) };
    if let Err(error) = state.give_out_read(offset as u64, buffer.len()) {
        return code(&error, ffi::SQLITE_IOERR_READ);
    }
    let read = match &state.backing {
        Backing::Mirrored { file, role: Role::Database, .. } if page::is_page(buffer.len(), offset as u64) => {
            state.copies.read_page(file, buffer, offset as u64)
        }
        Backing::Mirrored { file, .. } => state.copies.read(file, buffer, offset as u64),
        Backing::Memory(bytes) => {
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }
    };
    match read {
        Ok(read) if read == buffer.len() => ffi::SQLITE_OK,
        Ok(read) => {
            // SQLite wants the rest zeroed.
            buffer[read..].fill(0);
            ffi::SQLITE_IOERR_SHORT_READ
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => ffi::SQLITE_IOERR_DATA,
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: `from` holds `amount` bytes; the file is open.
    let (state, buffer) = unsafe { (state(file), std::slice::from_raw_parts(from.cast::<u8>(), amount as usize)) };
    match &mut state.backing {
        // A checkpoint tells other connections to read its pages here before it syncs them, if it does at all.
        Backing::Mirrored { file, role: Role::Database, .. } => {
            let bytes = match page::is_page(buffer.len(), offset as u64) {
                true => page::sealed(buffer, offset as u64).to_vec(),
                false => buffer.to_vec(),
            };
            let run = Run { offset: offset as u64, bytes };
            answer(state.copies.write(file, vec![run], false), ffi::SQLITE_IOERR_WRITE)
        }
        Backing::Mirrored { role, .. } => {
            if *role == Role::Log {
                // A write at the start is the header of a log that begins anew.
                let log_bytes = &state.copies.log_bytes;
                if offset == 0 {
                    log_bytes.store(0, Ordering::Relaxed);
                }
                log_bytes.fetch_max(offset as u64 + buffer.len() as u64, Ordering::Relaxed);
            }
            answer(state.put_off(buffer, offset as u64), ffi::SQLITE_IOERR_WRITE)
        }
        Backing::Memory(bytes) => {
            let end = offset as usize + buffer.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[offset as usize..end].copy_from_slice(buffer);
            ffi::SQLITE_OK
        }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: the file is open.
    let state = unsafe { state(file) };
    if let Err(error) = state.give_out(false) {
        return code(&error, ffi::SQLITE_IOERR_TRUNCATE);
    }
    match &mut state.backing {
        Backing::Mirrored { file, .. } => answer(state.copies.truncate(file, size as u64), ffi::SQLITE_IOERR_TRUNCATE),
        Backing::Memory(bytes) => {
            bytes.truncate(size as usize);
            ffi::SQLITE_OK
        }
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: the file is open.
    let state = unsafe { state(file) };
    answer(state.give_out(true), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: the file is open.
    let state = unsafe { state(file) };
    if let Err(error) = state.give_out(false) {
        return code(&error, ffi::SQLITE_IOERR_FSTAT);
    }
    let length = match &state.backing {
        Backing::Mirrored { file, .. } => state.copies.len(file),
        Backing::Memory(bytes) => Ok(bytes.len() as u64),
    };
    match length {
        Ok(length) => {
            // SAFETY: SQLite gives a place for the size.
            unsafe { *size = length as i64 };
            ffi::SQLITE_OK
        }
        Err(_) => ffi::SQLITE_IOERR_FSTAT,
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let state = unsafe { state(file) };
    match &state.backing {
        Backing::Mirrored { file, .. } if !file.locks.raise(&mut state.lock, Level::from_sqlite(level)) => {
            ffi::SQLITE_BUSY
        }
        _ => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let state = unsafe { state(file) };
    if let Backing::Mirrored { file, .. } = &state.backing {
        file.locks.lower(&mut state.lock, Level::from_sqlite(level));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, reserved: *mut c_int) -> c_int {
    // SAFETY: the file is open, and SQLite gives a place for the answer.
    unsafe {
        *reserved = match &state(file).backing {
            Backing::Mirrored { file, .. } => c_int::from(file.locks.is_reserved()),
            Backing::Memory(_) => 0,
        };
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4096
}

/// A write changes no byte outside its range, not even in a power cut: assumed of every drive (drive/FORMAT.md).
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: the file is open, and SQLite gives a place for the address.
    unsafe {
        let state = state(file);
        *out = match &state.backing {
            Backing::Mirrored { file, .. } => {
                file.index.region(&mut state.index, region as usize, bytes as usize, extend != 0).cast()
            }
            Backing::Memory(_) => return ffi::SQLITE_IOERR_SHMMAP,
        };
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    let state = unsafe { state(file) };
    match &state.backing {
        Backing::Mirrored { file, .. } if !file.index.lock(&mut state.index, first as usize, count as usize, flags) => {
            ffi::SQLITE_BUSY
        }
        _ => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: the file is open.
    let state = unsafe { state(file) };
    if let Backing::Mirrored { file, .. } = &state.backing {
        file.index.detach(&mut state.index);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, path: *const c_char, _sync: c_int) -> c_int {
    // SAFETY: SQLite gives its registered vfs and a path.
    let (shared, path) = unsafe { (shared(vfs), text(path)) };
    match path {
        Some(path) => answer(shared.copies.remove(path), ffi::SQLITE_IOERR_DELETE),
        None => ffi::SQLITE_IOERR_DELETE,
    }
}

unsafe extern "C" fn access(vfs: *mut ffi::sqlite3_vfs, path: *const c_char, _flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: SQLite gives its registered vfs, a path, and a place for the answer.
    unsafe {
        let exists = text(path).map(|path| shared(vfs).copies.exists(path));
        match exists {
            Some(Ok(exists)) => *out = c_int::from(exists),
            _ => return ffi::SQLITE_IOERR_ACCESS,
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: `path` is a C string and `out` has `room` bytes.
    unsafe {
        let bytes = CStr::from_ptr(path).to_bytes_with_nul();
        if bytes.len() > room as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, amount: c_int, out: *mut c_char) -> c_int {
    // SAFETY: `out` has `amount` bytes.
    unsafe {
        shared(vfs).world.entropy.fill(std::slice::from_raw_parts_mut(out.cast::<u8>(), amount as usize));
    }
    amount
}

unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    std::thread::sleep(std::time::Duration::from_micros(microseconds.max(0) as u64));
    microseconds
}

/// Milliseconds from the Julian epoch to the Unix epoch.
const JULIAN_TO_UNIX_MS: i64 = 210_866_760_000_000;

unsafe extern "C" fn current_time_ms(vfs: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    // SAFETY: SQLite gives its registered vfs and a place for the time.
    unsafe { *out = shared(vfs).world.clock.unix_ms() + JULIAN_TO_UNIX_MS };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: as in `current_time_ms`.
    unsafe { *out = (shared(vfs).world.clock.unix_ms() + JULIAN_TO_UNIX_MS) as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_vfs: *mut ffi::sqlite3_vfs, _room: c_int, _out: *mut c_char) -> c_int {
    0
}
