//! Every row of the case table.

mod attention;
mod broadcast;
mod elementwise;
mod fused;
mod graphs;
mod losses;
mod norms;
mod products;
mod reductions;
mod shapes;

use crate::Case;

/// Every row.
pub fn all() -> Vec<Case> {
    #[rustfmt::skip] // one line a file
    let files = [
        attention::rows(),
        broadcast::rows(),
        elementwise::rows(),
        fused::rows(),
        graphs::rows(),
        losses::rows(),
        norms::rows(),
        products::rows(),
        reductions::rows(),
        shapes::rows(),
    ];
    files.into_iter().flatten().collect()
}
