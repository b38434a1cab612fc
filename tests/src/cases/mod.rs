//! Every row of the case table.

mod elementwise;
mod fused;
mod products;
mod reductions;

use crate::Case;

/// Every row.
pub fn all() -> Vec<Case> {
    [elementwise::rows(), fused::rows(), products::rows(), reductions::rows()].into_iter().flatten().collect()
}
