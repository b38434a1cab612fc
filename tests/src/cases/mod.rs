//! Every row of the case table.

mod attention;
mod elementwise;
mod fused;
mod graphs;
mod norms;
mod products;
mod reductions;

use crate::Case;

/// Every row.
pub fn all() -> Vec<Case> {
    #[rustfmt::skip] // one line a file
    let files = [
        attention::rows(),
        elementwise::rows(),
        fused::rows(),
        graphs::rows(),
        norms::rows(),
        products::rows(),
        reductions::rows(),
    ];
    files.into_iter().flatten().collect()
}
