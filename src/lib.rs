//! Aerie: an edge-first S3 object store that runs hooks where the data lands.
//!
//! Data flows one way. A layer may use the layers to its right and the leaves, never one to its left:
//!
//! ```text
//! cli ─▶ server ─▶ wire ─▶ engine ─▶ pool ─▶ drive          (uploads go down; `config` is data for cli and server)
//!                            └─────▶ meta                    (the commit: version row + change row)
//!        server, wire ─▶ access ─▶ meta                       (who asks, and what policies allow)
//!        server ─▶ outbox ─▶ hook ─▶ engine, inference       (facts come up: a reader of the change log)
//!                    └─────▶ mqtt                            (publications, until acknowledged)
//!        server ─▶ upkeep ─▶ engine                          (reclaim, scrub, heal, rebuild, lifecycle)
//! leaves: limits · seam (clock, entropy, storage) · codec · hash · tls · xml · notification · acl · lifecycle · audit · crypt
//! ```
//!
//! `tests/tidy.rs` holds the imports of every file against this table.

pub mod access;
pub mod acl;
pub mod audit;
pub mod cli;
pub mod codec;
pub mod config;
pub mod crypt;
pub mod drive;
pub mod engine;
pub mod hash;
pub mod hook;
pub mod inference;
pub mod lifecycle;
pub mod limits;
pub mod meta;
pub mod mqtt;
pub mod notification;
pub mod outbox;
pub mod pool;
pub mod seam;
pub mod server;
pub mod tls;
pub mod upkeep;
pub mod wire;
pub mod xml;
