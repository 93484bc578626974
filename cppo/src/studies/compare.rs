//! Comparing methods: what is measured of every cell, and what follows from all of them.
//!
//! A cell is one training run: a row of the comparison (a method, perhaps with changed settings) with a seed. [`Cell`] is everything that is kept of it; [`summary`] turns cells
//! into means, paired differences and intervals; [`table`], [`figure`] and [`page`] show them.
//!
//! The same seed gives every row the same problems, so rows are compared seed by seed: the difference to the base row is taken for each seed, and its interval is Student's over the
//! seeds. That is the interval of what training again with another seed would give, which is far wider than that of more test problems.

pub mod cell;
pub mod figure;
pub mod page;
pub mod summary;
pub mod table;

pub use cell::{Cell, Training, measure};
pub use summary::{Comparison, Summary};
