//! Opening the metadata of a pool: labels and copies are told of each other.

use std::sync::Arc;

use crate::meta::{Copy, Meta, MetaError};
use crate::pool::Pool;
use crate::seam::World;

/// Opens, repairs or creates the pool's metadata. Afterwards, and whenever a copy fails, the labels say which copies
/// have every acknowledged commit; and the pool gives out no address that the metadata has seen.
pub fn open_meta(pool: &Arc<Pool>, world: World) -> Result<Meta, MetaError> {
    let copy = |(slot, storage, current)| Copy { slot, storage, current };
    let copies = pool.copies().into_iter().map(copy).collect();
    let of_pool = pool.clone();
    let on_copy_failed = Arc::new(move |slot: usize| {
        let told = of_pool.drop_copy(slot);
        let told = told.inspect_err(|error| {
            tracing::error!(slot, %error, "the labels could not be told that a copy of the metadata failed");
        });
        told.is_ok()
    });
    let meta = Meta::open(copies, &pool.id(), on_copy_failed, world)?;
    pool.set_copies(meta.current_copies()).map_err(|error| MetaError::Unavailable(error.to_string()))?;
    pool.reserve_segments(meta.reader()?.last_segment()?);
    Ok(meta)
}
