//! Every row of the case table.

mod broadcast;
mod elementwise;
mod losses;
mod products;
mod reductions;
mod shapes;

use crate::Case;

/// Every row.
#[rustfmt::skip] // one line a file
pub fn all() -> Vec<Case> {
    [
        broadcast::rows(),
        elementwise::rows(),
        losses::rows(),
        products::rows(),
        reductions::rows(),
        shapes::rows(),
    ].into_iter().flatten().collect()
}
