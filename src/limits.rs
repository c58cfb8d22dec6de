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
/// A stripe whose k-th part has at least this many bytes is a large one: its shards lie on whole pages, so that they are
/// written past the page cache. Below, the page that goes to waste costs more than the cache.
pub const LARGE_SHARD_BYTES_MIN: usize = 32 << 10;
/// Alignment of a large shard on a drive and in memory: what direct I/O asks for, on any medium and file system in use.
pub const DIRECT_ALIGN_BYTES: usize = 4096;
/// Stripe buffers of large stripes that stay allocated though nobody fills them; those that a second did not need go.
pub const STRIPE_BUFFERS_KEPT: usize = 32;
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
/// Plain bytes of a sealed block: what a ranged read opens beyond its range at most, and 0.02 % of tags.
pub const SEALED_BLOCK_BYTES: usize = 64 << 10;
/// Bytes of the key ring's file: some 15,000 buckets and keys.
pub const RING_BYTES_MAX: u64 = 4 << 20;
/// Changes of the key ring that may wait for its thread: first sealed uploads to new buckets, mostly.
pub const RING_CHANGES_WAITING_MAX: usize = 4096;
/// Pages of a bucket's versions that are looked through after a shredding for those that were never sealed: 100,000.
pub const SHRED_COUNT_PAGES_MAX: usize = 100;
/// Bytes in a key's id or alias (AWS KMS: 256).
pub const KEY_NAME_BYTES_MAX: usize = 256;
/// Bytes of an encryption context in base64 (AWS KMS: 8 KiB of JSON).
pub const ENCRYPTION_CONTEXT_BYTES_MAX: usize = 11 << 10;
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
/// Buckets in one listing page (S3).
pub const LIST_BUCKETS_MAX: usize = 10_000;
/// Keys in one DeleteObjects call (S3).
pub const DELETE_KEYS_MAX: usize = 1000;
/// Keys of one DeleteObjects call that wait for the metadata writer at once: enough to fill a group commit, and far from
/// filling its queue.
pub const DELETE_KEYS_IN_FLIGHT: usize = 128;
/// Bytes of user metadata, names and values together (S3).
pub const USER_METADATA_BYTES_MAX: usize = 2048;
/// Tags on one object (S3).
pub const OBJECT_TAGS_MAX: usize = 10;
/// Tags on one bucket (S3).
pub const BUCKET_TAGS_MAX: usize = 50;
/// Characters in a tag's key (S3).
pub const TAG_KEY_CHARS_MAX: usize = 128;
/// Characters in a tag's value (S3).
pub const TAG_VALUE_CHARS_MAX: usize = 256;
/// Grants of an access control list (S3).
pub const ACL_GRANTS_MAX: usize = 100;
/// Rules in a bucket's cross-origin configuration (S3).
pub const CORS_RULES_MAX: usize = 100;
/// Bytes of a browser form beside its file (S3 takes 20 KB before the file; policies with many conditions need more).
pub const FORM_FIELDS_BYTES_MAX: usize = 64 << 10;
/// Bytes in an XML request body that is kept in memory.
pub const XML_BODY_BYTES_MAX: usize = 2 << 20;
/// Elements inside each other in an XML request. S3's documents have at most six; the bound keeps recursion shallow.
pub const XML_DEPTH_MAX: usize = 32;
/// Elements in an XML request. The largest document names 10,000 parts by eight elements each.
pub const XML_ELEMENTS_MAX: usize = 100_000;

/// Entries in a bucket's notification configuration (S3).
pub const NOTIFICATION_RULES_MAX: usize = 100;
/// Bytes in the id of a notification configuration's entry (S3).
pub const NOTIFICATION_ID_BYTES_MAX: usize = 255;
/// Bytes in the name of a hook or topic that a notification goes to: far beyond use, and small beside MQTT's 65,535.
pub const NOTIFICATION_TARGET_BYTES_MAX: usize = 512;

/// Connections that listen to a bucket's events at once (ListenBucketNotification). Each holds its connection for good.
pub const LISTENERS_MAX: usize = 32;
/// Changes that wait for one listener: two full group commits, so that a burst is no reason to end it. Some 500 bytes each.
pub const LISTENER_CHANGES_MAX: usize = 2 * GROUP_COMMIT_MAX;
/// Bytes of events that go to a listener in one piece.
pub const LISTENER_PIECE_BYTES: usize = 64 << 10;
/// A listener that has heard nothing for this long gets a space: proxies keep the connection, and a peer that is gone is
/// noticed.
pub const LISTENER_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Longest interval of pings that a listener may ask for.
pub const LISTENER_PING_MAX: Duration = Duration::from_secs(3600);

/// Bytes in a request head. S3 clients stay far below; a longer one is answered with 431.
pub const REQUEST_HEAD_BYTES_MAX: usize = 32 << 10;
/// Header fields in a request: the bound that hyper has of itself. Any other costs two allocations of some KiB a request.
pub const REQUEST_HEADERS_MAX: usize = 100;
/// A request head must be complete within this time.
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// A body, or a reader of a response, may stall no longer than this.
pub const BODY_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// An idle keep-alive connection is closed after this time.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);
/// Client addresses that are remembered with what they have taken; those that rest are forgotten beyond.
pub const CLIENTS_MAX: usize = 16_384;
/// Bytes that a connection moves before it tells of them: one look at the shared table for each MiB.
pub const CLIENT_BYTES_UNTOLD_MAX: u64 = 1 << 20;
/// Bytes in one aws-chunked frame head (size, extension, signature).
pub const CHUNK_HEAD_BYTES_MAX: usize = 1024;
/// Bytes of the trailing headers of an aws-chunked body. S3 clients send one checksum and a signature.
pub const TRAILER_BYTES_MAX: usize = 4096;
/// Bytes of an unwanted body that are read and thrown away before the answer, so that the connection can go on; beyond, the
/// answer ends it.
pub const DISCARD_BYTES_MAX: u64 = 4 << 20;
/// A client that sends nothing of an unwanted body for so long gets its answer without it.
pub const DISCARD_PAUSE: Duration = Duration::from_secs(1);
/// After an answer that ends a connection whose client still sends, its bytes are thrown away for so long: most clients
/// read no answer before they have sent all, and to close at once would reset it. 4 GB come over a link of 1 Gbit/s.
pub const LINGER: Duration = Duration::from_secs(30);
/// And no longer than it sends: a pause of so long ends it.
pub const LINGER_PAUSE: Duration = Duration::from_secs(5);
/// Bytes of an administration request's body: a model or a hook.
pub const ADMIN_BODY_BYTES_MAX: usize = 64 << 20;
/// Bytes of a bucket's policy (S3).
pub const BUCKET_POLICY_BYTES_MAX: usize = 20 << 10;
/// Characters of a managed or inline policy, white space not counted (IAM: 6,144 of a managed one; inline ones may have
/// less there, where all of a user's count together).
pub const MANAGED_POLICY_CHARS_MAX: usize = 6144;
/// Characters of a role's trust policy, white space not counted (IAM's quota, raised as far as it can be).
pub const TRUST_POLICY_CHARS_MAX: usize = 4096;
/// Accounts of a store. Every change of an identity copies the tables of pointers, so that all of them stay small.
pub const ACCOUNTS_MAX: usize = 256;
/// Users of an account (IAM).
pub const ACCOUNT_USERS_MAX: usize = 5000;
/// Groups of an account (IAM).
pub const ACCOUNT_GROUPS_MAX: usize = 300;
/// Roles of an account (IAM).
pub const ACCOUNT_ROLES_MAX: usize = 1000;
/// Managed policies of an account (IAM).
pub const ACCOUNT_POLICIES_MAX: usize = 1500;
/// Groups that a user is in (IAM).
pub const GROUPS_OF_USER_MAX: usize = 10;
/// Access keys of a user, or of root. (IAM has two, for rotation; a fleet rotates in waves.)
pub const ACCESS_KEYS_MAX: usize = 8;
/// Keys with a policy of their own, of a user or of root: one for each camera of a site, say.
pub const SERVICE_ACCOUNTS_MAX: usize = 1000;
/// Managed policies that are attached to one user, group or role (IAM: up to 20).
pub const ATTACHED_POLICIES_MAX: usize = 20;
/// Inline policies of one user, group or role. (IAM bounds their characters together.)
pub const INLINE_POLICIES_MAX: usize = 20;
/// Versions of a managed policy (IAM).
pub const POLICY_VERSIONS_MAX: usize = 5;
/// Tags of a user or role (IAM).
pub const IDENTITY_TAGS_MAX: usize = 50;
/// Life of temporary credentials, in seconds (STS: 15 minutes to 36 hours; a role's session has 12 hours at most).
pub const SESSION_SECONDS: std::ops::RangeInclusive<u32> = 900..=43_200;
/// Longest life of GetSessionToken's credentials, in seconds (STS).
pub const SESSION_TOKEN_SECONDS_MAX: u32 = 129_600;
/// Opened session tokens that are remembered; each has some KiB with its policies.
pub const SESSIONS_KNOWN_MAX: usize = 1024;
/// Bytes of a request to IAM or STS, which is read before its signature can be verified.
pub const QUERY_BODY_BYTES_MAX: usize = 256 << 10;
/// Entries in a page of an IAM listing (IAM).
pub const QUERY_ITEMS_MAX: usize = 1000;
/// Changes of identities that wait for each other; more are refused for now.
pub const ACCESS_CHANGES_WAITING_MAX: usize = 256;
/// Buckets whose owner, policy and lists a core remembers: a board has a handful, each takes some KiB with a long policy.
pub const BUCKET_FACTS_MAX: usize = 1024;
/// Derived signing keys that a core remembers: access keys times the days that a presigned URL may live.
pub const SIGNING_KEYS_MAX: usize = 256;
/// Clock skew a signature may have (S3: 15 minutes).
pub const SIGNATURE_SKEW: Duration = Duration::from_secs(15 * 60);
/// Longest life of a presigned URL (S3: seven days).
pub const PRESIGN_EXPIRY_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Mutations in one group commit. Beyond this the latency of the first one grows with no gain in throughput.
pub const GROUP_COMMIT_MAX: usize = 512;
/// A copy of the metadata that comes back when none was left waits this long for those who still read.
pub const META_REVIVE_WAIT: Duration = Duration::from_secs(5);
/// Chunks (1 MiB) of the metadata that a copy which is caught up is given between two looks at the drives.
pub const META_JOIN_CHUNKS: usize = 64;
/// Mutations that may wait for the metadata writer; more than this answers SlowDown.
pub const META_QUEUE_MAX: usize = 8192;
/// Buckets, and documents of buckets, that a reader keeps in memory: more than an edge box has.
pub const BUCKETS_KNOWN_MAX: usize = 256;
/// Bytes of a bucket's document that a reader keeps: policies end at 20 KB, and most are far smaller.
pub const BUCKET_DOCUMENT_KNOWN_BYTES_MAX: usize = 32 << 10;
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
/// Bytes of read buffers that each thread keeps for the next reads: a few stripes, so that steady reading allocates
/// nothing; more would be idle memory on a small board.
pub const READ_BUFFERS_KEPT_BYTES: usize = 4 << 20;
/// Most bytes of the last uploads that are kept in memory for those who read them at once: some thirty large stripes, more
/// than hooks are behind when they keep up.
pub const LATEST_BYTES_MAX: u64 = 64 << 20;
/// What an upload left in memory is let go of after so many seconds: by then its hook has run, or is far behind.
pub const LATEST_TRIMS: u64 = 10;
/// Stripes of one upload that may be under way at once.
pub const STRIPES_IN_FLIGHT_PER_UPLOAD: usize = 3;
/// A transfer waits this long for room before its client is told to slow down.
pub const TRANSFER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Time between two looks for room.
pub const TRANSFER_POLL: Duration = Duration::from_millis(5);
/// A deleted extent is kept this long, so that a reader that has just looked it up still finds it.
pub const RECLAIM_GRACE: Duration = Duration::from_secs(10);
/// Segments of earlier runs whose unused space is given back in one round of upkeep: some 50 µs of each drive for one.
pub const TRIM_SEGMENTS_MAX: usize = 64;

/// Lines that the audit log keeps: some 30 MB of metadata. Older ones go.
pub const AUDIT_LINES_MAX: u64 = 100_000;
/// The audit log is cut once in so many lines.
pub const AUDIT_CUT: u64 = 1000;
/// Rules in a bucket's lifecycle configuration (S3).
pub const LIFECYCLE_RULES_MAX: usize = 1000;
/// Characters in the id of a lifecycle rule (S3).
pub const LIFECYCLE_ID_CHARS_MAX: usize = 255;
/// Most noncurrent versions that a lifecycle rule may keep (S3).
pub const LIFECYCLE_NEWER_VERSIONS_MAX: u32 = 100;
/// The retention clock believes no more time than this that it has not seen pass: a week off the bench, or a weekend and
/// a holiday. What a false clock can gain is bounded by it.
pub const RETENTION_CREDIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The retention clock is stored this often: a crash costs no more of its proven time.
pub const RETENTION_SAVE_INTERVAL: Duration = Duration::from_secs(300);
/// Longest default retention of a bucket, in days (S3: 100 years).
pub const RETENTION_DAYS_MAX: u32 = 36_500;
/// Longest default retention of a bucket, in years (S3).
pub const RETENTION_YEARS_MAX: u32 = 100;
/// An upload that finds the pool full waits this long for what rolling buckets gave up: reclaim's grace, and its tick.
pub const ROLLING_WAIT_MAX: Duration = Duration::from_secs(15);
/// Upkeep lets rolling buckets give way while fewer segments than this fit on the drives, so that uploads find room.
pub const ROLLING_SEGMENTS_FREE: u64 = 4;
/// Versions that one mutation looks at to make room in rolling buckets: what is held costs time and gives nothing.
pub const ROLLING_LOOKS_MAX: usize = 4096;

/// Bytes in an MQTT topic name (its length field has 16 bits).
pub const MQTT_TOPIC_BYTES_MAX: usize = u16::MAX as usize;
/// Bytes in an MQTT packet (the length field of the protocol ends here).
pub const MQTT_PACKET_BYTES_MAX: usize = 268_435_455;
/// Payload bytes that the publisher reads ahead of the broker: enough to fill a window, little on a small board.
pub const PUBLISH_AHEAD_BYTES_MAX: usize = 4 << 20;
/// Acknowledged messages whose removal is under way; the publisher waits beyond this.
pub const PUBLISH_UNSETTLED_MAX: usize = 4096;
/// A message that the broker refuses for now is offered again after this time.
pub const PUBLISH_REFUSED_RETRY: Duration = Duration::from_secs(60);
/// Connections in a row that die on the same message before the next one passes over its topic.
pub const PUBLISH_STUCK_MAX: u32 = 8;
/// A connection to the broker that lasted this long was a good one: the next wait for one is the shortest again. Two
/// publishers of one client id take turns at being thrown out, many times a second without this.
pub const PUBLISH_STEADY: Duration = Duration::from_secs(5);
/// When the publisher stops, what is on its way gets this long to be acknowledged.
pub const PUBLISH_STOP_GRACE: Duration = Duration::from_secs(2);
/// The built-in broker gets this long to say goodbye to its clients.
pub const BROKER_STOP_GRACE: Duration = Duration::from_secs(3);
/// After a failed accept the built-in broker's TLS listener tries again after this time: too many files are open.
pub const BROKER_ACCEPT_RETRY: Duration = Duration::from_millis(200);
/// Sessions of subscribers that the built-in broker finds again after a crash: far more than it takes connections.
pub const BROKER_SESSIONS_MAX: usize = 4096;
/// Bytes of messages that the built-in broker keeps for all subscribers together, each with its own copy in memory: a
/// sixteenth of a small board's. Beyond, each subscriber gets its share.
pub const BROKER_KEPT_BYTES_MAX: u64 = 256 << 20;
/// Bytes that a kept message is counted with beside its own: what the broker needs in memory for it.
pub const BROKER_KEPT_OVERHEAD_BYTES: usize = 640;
/// The same for each of its user properties.
pub const BROKER_KEPT_PROPERTY_BYTES: usize = 48;
/// Bytes of the retained messages that are found again after a crash; they are in memory as well.
pub const BROKER_RETAINED_BYTES_MAX: u64 = 64 << 20;
/// Longest that a SUBSCRIBE waits until it is durable: beyond any commit that works, below any client's patience.
pub const BROKER_SUBSCRIBE_WAIT: Duration = Duration::from_secs(5);
/// Messages queued for a subscriber that is there, above which the publisher waits for it.
pub const BROKER_QUEUE_FULL: usize = 1000;
/// Longest that the publisher waits for one slow subscriber, once: well below the time in which it wants its acknowledgement.
pub const BROKER_ROOM_WAIT: Duration = Duration::from_secs(2);
/// Acknowledgements of a busy subscriber that are looked at together: half the messages that it may have unacknowledged.
pub const BROKER_ACKNOWLEDGED_BATCH: usize = 32;
/// Acknowledged messages that a busy subscriber may get once more after a crash.
pub const BROKER_ADVANCED_UNSAVED_MAX: usize = 256;
/// Rows that are read at once when the broker starts: payloads may be large.
pub const BROKER_RESTORE_PAGE: usize = 16;

/// Changes, finished invocations and commands that go into one transaction of the outbox.
pub const OUTBOX_BATCH_MAX: usize = 256;
/// Without a wake-up the outbox looks at its tables this often: a retry may be due, a commit may have failed.
pub const OUTBOX_IDLE: Duration = Duration::from_secs(1);
/// Changes that no rule asks about wait so long to be taken off the log together: one by one they would give the
/// metadata's writer a second transaction for each of a single client's uploads.
pub const OUTBOX_PASS_DELAY: Duration = Duration::from_millis(20);
/// After a failed transaction of the outbox the same one is tried again after this time.
pub const OUTBOX_COMMIT_RETRY: Duration = Duration::from_millis(200);
/// Rows of an invocation kept in memory beside the index; the others are read again when their turn comes.
pub const INVOCATION_ROWS_MAX: usize = 256;
/// Payload bytes of results that go into one transaction of the outbox.
pub const OUTBOX_BATCH_BYTES_MAX: usize = 4 << 20;
/// Hook threads get this long to finish what they run when the program stops; a hook's deadline is far below.
pub const OUTBOX_STOP_GRACE: Duration = Duration::from_secs(15);
/// An operator's command to the outbox is answered within this time, or not at all.
pub const OUTBOX_COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// Replays under way at once.
pub const REPLAYS_MAX: usize = 16;
/// Keys that a replay looks at in one transaction.
pub const REPLAY_PAGE_KEYS: usize = 128;
/// A replay adds invocations only while fewer than this wait: live events go first, and the outbox stays small.
pub const REPLAY_PENDING_MAX: u64 = 512;
/// Bytes of a failed invocation's error that are kept.
pub const INVOCATION_ERROR_BYTES_MAX: usize = 1024;

/// Rows of garbage, or of a walk over all extents, that upkeep takes at a time.
pub const UPKEEP_ROWS_MAX: usize = 256;
/// Upkeep looks at the drives, at garbage and at the heal queue this often, also in the middle of a walk.
pub const UPKEEP_TICK: Duration = Duration::from_secs(1);
/// Progress of a walk is stored this often: a restart repeats no more than this.
pub const UPKEEP_SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// A rebuild that a census did not find complete (a full drive, say) is tried again after this time.
pub const REBUILD_RETRY: Duration = Duration::from_secs(60);

/// `aerie verify` waits this long for the count; it goes on beyond.
pub const VERIFY_WAIT_MAX: Duration = Duration::from_secs(50);
/// Time between two looks at whether the count is done.
pub const VERIFY_POLL: Duration = Duration::from_millis(50);
/// Time between two looks for new lines of a log that is followed.
pub const LOG_FOLLOW_POLL: Duration = Duration::from_millis(200);

/// A client has this long for its first byte and its TLS handshake. A handshake is two round trips; bad links lose some.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// Certificate files are looked at no more often than this: renewals are days apart, handshakes are not.
pub const TLS_RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// Plain bytes in the TLS records that wait to be written on one connection: 64 records, as many as one system call takes.
/// With rustls' default of 64 KiB a large GET writes, and wakes its reader, 16 times as often.
pub const TLS_WRITE_BUFFER_BYTES: usize = 1 << 20;
/// Bytes read from a socket below TLS at once while much comes in: four records. rustls alone asks for 4 KiB.
pub const TLS_READ_AHEAD_BYTES: usize = 64 << 10;
/// Requests in flight get this long to finish after SIGTERM.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Buckets that metrics have values of their own for: clients make buckets, and each label value costs Prometheus memory.
pub const METRICS_BUCKETS_MAX: usize = 1_000;
/// Log lines from one place in the program within the window; beyond them they are counted.
pub const LOG_LINES_MAX: u64 = 20;
/// Long enough that a flood stays small on an SD card (20 lines a minute), short enough that its end shows.
pub const LOG_LINES_WINDOW: Duration = Duration::from_secs(60);

/// Bytes of memory of a hook instance when its manifest says nothing. A Python guest needs 13 MB, others less.
pub const HOOK_MEMORY_BYTES: u64 = 64 << 20;
/// Most memory in bytes a manifest may grant: each of the pool's slots reserves so much address space.
pub const HOOK_MEMORY_BYTES_MAX: u64 = 512 << 20;
/// Time of an invocation when its manifest says nothing; inference has a time of its own.
pub const HOOK_DEADLINE: Duration = Duration::from_secs(2);
/// Time without a processor that a hook's deadline does not count. A busy server leaves hooks 0.3 % of a processor:
/// this is enough for the 30 ms of the examples' largest hook several times over.
pub const HOOK_STARVED_MAX: Duration = Duration::from_secs(60);
/// Longest deadline a manifest may grant: beyond this one hook would hold up its thread's other hooks.
pub const HOOK_DEADLINE_MAX: Duration = Duration::from_secs(300);
/// Time between two looks at a running hook's deadline: the most by which it is late.
pub const HOOK_TICK: Duration = Duration::from_millis(10);
/// Bytes of results (or of a transformed object) of an invocation when the manifest says nothing.
pub const HOOK_OUTPUT_BYTES: u64 = 1 << 20;
/// Most bytes of results a manifest may grant; they are kept in the metadata until the broker has them.
pub const HOOK_OUTPUT_BYTES_MAX: u64 = 16 << 20;
/// Messages of an invocation. Each is a row in the outbox.
pub const HOOK_MESSAGES_MAX: usize = 256;
/// Bytes of a hook's call stack. CPython needs some 500 KiB for its own depth limit.
pub const HOOK_STACK_BYTES: usize = 1 << 20;
/// Stack in bytes of a thread that runs hooks: the guest's, and below it the host's (picture decoders, SQLite).
pub const HOOK_THREAD_STACK_BYTES: usize = HOOK_STACK_BYTES + (3 << 20);
/// Time of hooks' budget that may be spent ahead: a single event does not wait for the share.
pub const HOOK_BUDGET_BURST: Duration = Duration::from_secs(1);
/// Time between two looks at the board's temperature, which moves slowly.
pub const TEMPERATURE_LOOK: Duration = Duration::from_secs(1);
/// Bytes that a guest may hand over in one host call: the tensors of a run, or a derived object, and their names.
pub const HOOK_CALL_BYTES_MAX: usize = (16 << 20) + (64 << 10);
/// Bytes that one `object.read` or `reader.read` gives (the contract's).
pub const HOOK_READ_BYTES_MAX: u32 = 16 << 20;
/// Readers that one invocation may hold open (the contract's).
pub const HOOK_READERS_OPEN_MAX: usize = 4;
/// The host's memory in bytes for an open reader: the stripe at hand and the one that is read ahead.
pub const HOOK_READER_BYTES: u64 = 2 * STRIPE_BYTES as u64;
/// Bytes beyond those at hand over which a reader skips by reading: the stripe that was read ahead is there already.
pub const HOOK_SKIP_READ_BYTES: u64 = STRIPE_BYTES as u64;
/// Bytes of derived objects of an invocation.
pub const HOOK_DERIVED_BYTES_MAX: u64 = 16 << 20;
/// Derived objects of an invocation.
pub const HOOK_DERIVED_MAX: usize = 16;
/// How many hooks may feed on each other's derived objects before the chain is cut.
pub const HOOK_DERIVED_DEPTH_MAX: u32 = 8;
/// Instances at the same time, over all hooks, when the settings say nothing: more than there are hook threads.
pub const HOOK_INSTANCES: u32 = 16;
/// Bytes of a hook's module. A Python guest has 18 MB.
pub const HOOK_MODULE_BYTES_MAX: u64 = 48 << 20;
/// Bytes of a bundle's header: a line of some 150 bytes for each file.
pub const HOOK_BUNDLE_HEADER_BYTES_MAX: usize = 64 << 10;
/// Core instances in one component. A Python guest has some thirty.
pub const HOOK_CORE_INSTANCES_MAX: u32 = 64;
/// Memories in one component. A QuickJS guest has 3, others have 1; all count towards the hook's bytes.
pub const HOOK_MEMORIES_MAX: u32 = 4;
/// Elements of a guest's table. CPython has some 8,000.
pub const HOOK_TABLE_ELEMENTS_MAX: usize = 20_000;
/// Compiled hooks kept in memory. A compiled Python guest has 40 MB, others some 100 KB.
pub const HOOKS_COMPILED_MAX: usize = 32;
/// Bytes of a compiled hook in the cache. A Python guest has 40 MB.
pub const HOOK_CODE_BYTES_MAX: u64 = 160 << 20;
/// Threads for what takes long and was asked of a core: transforms, and the compilation of hooks.
pub const ERRAND_THREADS: usize = 2;
/// An object lambda waits so long for its share of the processors; then its client is told to come again.
pub const TRANSFORM_WAIT_MAX: Duration = Duration::from_secs(10);
/// Errands that wait for such a thread; more are answered with SlowDown.
pub const ERRANDS_WAITING_MAX: usize = 64;
/// Bytes in the name of a hook or model.
pub const HOOK_NAME_BYTES_MAX: usize = 64;
/// Bytes of one log line of a hook (the contract's).
pub const HOOK_LOG_LINE_BYTES_MAX: usize = 4 << 10;
/// Log lines of one invocation (the contract's).
pub const HOOK_LOG_LINES_MAX: usize = 256;
/// Bytes of a guest's last error line that a trap's message repeats: a panic's text and place, not a dump.
pub const HOOK_TRAP_LINE_BYTES_MAX: usize = 1 << 10;
/// Log lines kept of each hook.
pub const HOOK_LOG_KEPT_LINES: usize = 1000;
/// Bytes of log lines kept of each hook.
pub const HOOK_LOG_KEPT_BYTES: usize = 256 << 10;
/// Attempts of a hook whose end is kept in memory, for whoever waits for one.
pub const HOOK_ENDINGS_KEPT: usize = 64;
/// `aerie hook run` waits this long for the end of its attempt; clients give up on an answer later.
pub const HOOK_RUN_WAIT_MAX: Duration = Duration::from_secs(20);
/// Time between two looks at whether the attempt has ended.
pub const HOOK_RUN_POLL: Duration = Duration::from_millis(20);
/// Bytes in a key of a hook's state (the contract's).
pub const HOOK_STATE_KEY_BYTES_MAX: usize = 256;
/// Bytes in a value of a hook's state (the contract's).
pub const HOOK_STATE_VALUE_BYTES_MAX: usize = 64 << 10;
/// State keys that one invocation may write.
pub const HOOK_STATE_WRITES_MAX: usize = 64;
/// State keys of a hook. With full values that is 16 MiB of metadata.
pub const HOOK_STATE_KEYS_MAX: usize = 256;
/// Pixels of a picture that is decoded for a hook (the contract's); 192 MB as RGB.
pub const PICTURE_PIXELS_MAX: u64 = 64_000_000;
/// Longest side in pixels of a picture, in and out.
pub const PICTURE_SIDE_MAX: u32 = 32_768;
/// Bytes of a picture's file.
pub const PICTURE_FILE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of pixels that a hook gets (the contract's).
pub const PICTURE_OUT_BYTES_MAX: u64 = 16 << 20;

/// Bytes of model files that stay loaded when the settings say nothing.
pub const MODEL_MEMORY_BYTES: u64 = 256 << 20;
/// Bytes of one model file.
pub const MODEL_BYTES_MAX: u64 = 128 << 20;
/// Bytes of a model's label file.
pub const MODEL_LABELS_BYTES_MAX: u64 = 1 << 20;
/// Bytes of all inputs, and of all outputs, of one run: a picture of 1,024 by 1,024 in f32 has 12 MiB.
pub const TENSOR_BYTES_MAX: u64 = 16 << 20;
/// A run of a model takes no longer. The SSD of the examples takes 30 ms on a desk, half a second on a small board.
pub const INFERENCE_RUN_MAX: Duration = Duration::from_secs(10);
/// A caller waits no longer for an inference worker.
pub const INFERENCE_WAIT_MAX: Duration = Duration::from_secs(20);
/// Time in inference that one invocation is given on top of its deadline: beyond it, a loop of runs is a loop.
pub const HOOK_INFERENCE_MAX: Duration = Duration::from_secs(30);
/// Models that one invocation may hold open.
pub const HOOK_MODELS_OPEN_MAX: usize = 16;

const _: () = assert!(STRIPE_BYTES.is_multiple_of(BLOCK_ALIGN_BYTES));
const _: () = assert!(BLOCK_HEADER_BYTES.is_multiple_of(BLOCK_ALIGN_BYTES));
const _: () = assert!(SEGMENT_BYTES / (BLOCK_ALIGN_BYTES as u64) <= u32::MAX as u64);
const _: () =
    assert!(SEGMENT_BYTES_MIN >= (STRIPE_BYTES + DIRECT_ALIGN_BYTES) as u64 && SEGMENT_BYTES_MIN <= SEGMENT_BYTES);
const _: () = assert!(DIRECT_ALIGN_BYTES.is_multiple_of(BLOCK_ALIGN_BYTES) && DIRECT_ALIGN_BYTES > BLOCK_HEADER_BYTES);
// A full stripe is a large one in every geometry.
const _: () = assert!(STRIPE_BYTES / SHARDS_MAX >= LARGE_SHARD_BYTES_MIN);
const _: () = assert!(INLINE_BYTES_MAX < STRIPE_BYTES);
const _: () = assert!(SHARDS_MAX <= 64);
const _: () = assert!(HOOK_MEMORY_BYTES <= HOOK_MEMORY_BYTES_MAX);
const _: () = assert!(HOOK_OUTPUT_BYTES <= HOOK_OUTPUT_BYTES_MAX);
const _: () = assert!(HOOK_DEADLINE.as_millis() <= HOOK_DEADLINE_MAX.as_millis());
const _: () = assert!(HOOK_INFERENCE_MAX.as_millis() >= INFERENCE_RUN_MAX.as_millis() + INFERENCE_WAIT_MAX.as_millis());
const _: () = assert!(HOOK_CALL_BYTES_MAX as u64 > TENSOR_BYTES_MAX);
const _: () = assert!(HOOK_CALL_BYTES_MAX as u64 > HOOK_DERIVED_BYTES_MAX);
const _: () = assert!(HOOK_OUTPUT_BYTES_MAX <= HOOK_CALL_BYTES_MAX as u64);
const _: () = assert!(HOOK_THREAD_STACK_BYTES > HOOK_STACK_BYTES);
