//! Every limit of the program, with its unit and the reason for its value.
//!
//! A limit that a profile may tighten lives in `config`; the values here are the hard bounds behind those, and the
//! ones no operator needs to touch. Relations between limits are checked at compile time, at the end.

use std::time::Duration;

/// User bytes in a full stripe. One MiB keeps a shard block large enough for sequential I/O and small enough to buffer.
pub const STRIPE_BYTES: usize = 1 << 20;
/// Alignment, in bytes, of every block on a drive and the unit of `Extent::offset`.
pub const BLOCK_ALIGN_BYTES: usize = 64;
/// Header bytes in front of each shard block.
pub const BLOCK_HEADER_BYTES: usize = 64;
/// Size in bytes of a segment file on each drive. Large enough that creation is rare, small enough to reclaim whole.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Least size in bytes of a segment file, on small drives: any stripe's block fits.
pub const SEGMENT_BYTES_MIN: u64 = 2 << 20;
/// A drive holds at least this many segments, so that the two that are open are a small part of it.
pub const SEGMENTS_PER_DRIVE_MIN: u64 = 64;
/// Segment numbers that a start reserves in the labels: a quarter TiB on each drive until the labels are written again,
/// and a million starts until the numbers are used up.
pub const SEGMENTS_RESERVED: u32 = 4096;
/// A drive counts as full for uploads when fewer bytes than this, or than its `FULL_RESERVE_PART`-th part, are left: the
/// rest is for the metadata, so that deletes go on.
pub const FULL_RESERVE_BYTES: u64 = 256 << 20;
pub const FULL_RESERVE_PART: u64 = 16;
/// Objects up to this many bytes live in the metadata, not in segments: one sync round instead of two.
pub const INLINE_BYTES_MAX: usize = 1024;
/// Shards of one stripe, data and parity together. Bounded by the slots of a `u64` drive mask.
pub const SHARDS_MAX: usize = 32;
/// Solved decode matrices kept in memory, one for each combination of lost and wanted shards. A pool sees a handful; a
/// scrub of scattered bitrot sees more. Each takes up to 48 KiB at 32 shards, some 1 KiB at 4+2.
pub const DECODE_MASKS_MAX: usize = 256;

/// Bytes in an object key (S3).
pub const KEY_BYTES_MAX: usize = 1024;
/// Bytes in one object by a single PUT (S3: 5 GiB).
pub const PUT_BYTES_MAX: u64 = 5 << 30;
/// Bytes in an object by multipart upload (S3: 5 TiB, enlarged to 50 TiB in 2025; an edge box needs less).
pub const OBJECT_BYTES_MAX: u64 = 5 << 40;
/// Least bytes of a part that is not the last (S3).
pub const PART_BYTES_MIN: u64 = 5 << 20;
/// Highest part number (S3).
pub const PART_NUMBER_MAX: u32 = 10_000;
/// A completed upload is remembered this long, so that a client that lost the answer can repeat its request.
pub const COMPLETED_UPLOAD_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// Entries in one listing page (S3).
pub const LIST_KEYS_MAX: usize = 1000;
/// Keys in one DeleteObjects call (S3).
pub const DELETE_KEYS_MAX: usize = 1000;
/// Bytes of user metadata, names and values together (S3).
pub const USER_METADATA_BYTES_MAX: usize = 2048;
/// Tags on one object (S3).
pub const OBJECT_TAGS_MAX: usize = 10;
/// Bytes in an XML request body that is kept in memory.
pub const XML_BODY_BYTES_MAX: usize = 2 << 20;

/// Bytes in a request head. S3 clients stay far below; a longer one is answered with 431.
pub const REQUEST_HEAD_BYTES_MAX: usize = 32 << 10;
/// Header fields in a request.
pub const REQUEST_HEADERS_MAX: usize = 128;
/// A request head must be complete within this time.
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// A body, or a reader of a response, may stall no longer than this.
pub const BODY_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// An idle keep-alive connection is closed after this time.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);
/// Bytes in one aws-chunked frame head (size, extension, signature).
pub const CHUNK_HEAD_BYTES_MAX: usize = 1024;
/// Clock skew a signature may have (S3: 15 minutes).
pub const SIGNATURE_SKEW: Duration = Duration::from_secs(15 * 60);
/// Longest life of a presigned URL (S3: seven days).
pub const PRESIGN_EXPIRY_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Mutations in one group commit. Beyond this the latency of the first one grows with no gain in throughput.
pub const GROUP_COMMIT_MAX: usize = 512;
/// Mutations that may wait for the metadata writer; more than this answers SlowDown.
pub const META_QUEUE_MAX: usize = 8192;
/// Older versions of a key that a listing steps over before it seeks to the next key instead.
pub const LIST_STEPS_BEFORE_SEEK: usize = 8;
/// Operations that may wait for one drive; senders wait beyond this.
pub const DRIVE_QUEUE_MAX: usize = 4096;
/// Requests that a drive's thread executes before it syncs: bounds the wait of the first one.
pub const DRIVE_GROUP_MAX: usize = 1024;
/// A drive that has been in one operation for this long hangs, and is out. Cheap flash stalls for seconds, never so long.
pub const DRIVE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A look at a drive's label waits this long; whether a slower one hangs is told by its stall.
pub const DRIVE_CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Segment files that a drive keeps open.
pub const OPEN_SEGMENTS_MAX: usize = 256;
/// Stripes of one upload that may be under way at once.
pub const STRIPES_IN_FLIGHT_PER_UPLOAD: usize = 4;
/// A deleted extent is kept this long, so that a reader that has just looked it up still finds it.
pub const RECLAIM_GRACE: Duration = Duration::from_secs(10);

/// Rows of garbage, or of a walk over all extents, that upkeep takes at a time.
pub const UPKEEP_ROWS_MAX: usize = 256;
/// Upkeep looks at the drives, at garbage and at the heal queue this often, also in the middle of a walk.
pub const UPKEEP_TICK: Duration = Duration::from_secs(1);
/// Progress of a walk is stored this often: a restart repeats no more than this.
pub const UPKEEP_SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// A rebuild that a census did not find complete (a full drive, say) is tried again after this time.
pub const REBUILD_RETRY: Duration = Duration::from_secs(60);

/// Requests in flight get this long to finish after SIGTERM.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

const _: () = assert!(STRIPE_BYTES.is_multiple_of(BLOCK_ALIGN_BYTES));
const _: () = assert!(BLOCK_HEADER_BYTES.is_multiple_of(BLOCK_ALIGN_BYTES));
const _: () = assert!(SEGMENT_BYTES / (BLOCK_ALIGN_BYTES as u64) <= u32::MAX as u64);
const _: () =
    assert!(SEGMENT_BYTES_MIN >= (STRIPE_BYTES + BLOCK_HEADER_BYTES) as u64 && SEGMENT_BYTES_MIN <= SEGMENT_BYTES);
const _: () = assert!(INLINE_BYTES_MAX < STRIPE_BYTES);
const _: () = assert!(SHARDS_MAX <= 64);
