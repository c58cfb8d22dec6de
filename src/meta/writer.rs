//! The writer thread and its queue.

/// Sends mutations to the writer thread.
#[derive(Debug, Clone)]
pub struct WriterHandle {}
