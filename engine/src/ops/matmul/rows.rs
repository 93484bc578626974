//! Which kernel a product of few rows takes, where that must not depend on how many there are.

use std::cell::Cell;

use crate::cpu::gemm::Order;
use crate::tune::THIN_ROWS;

/// How the kernel of a matrix product is chosen by the rows of its left side. Kernels add in different orders, so the choice decides the last bits of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowRule {
    /// By their number, for speed: up to 8 rows are few, and so are more where tiles would leave most of the device idle. The rule outside of [`with_row_rule`].
    Count,
    /// Up to [`FEW_ROWS`] rows are few: one token of each of some sequences. A row has the same bits whatever stands beside it.
    Few,
    /// No number is few: prompts, which are long together. A row has the same bits whatever stands beside it.
    Many,
}

/// The most rows that [`RowRule::Few`] takes as few.
pub const FEW_ROWS: usize = 512;

thread_local! {
    static RULE: Cell<RowRule> = const { Cell::new(RowRule::Count) };
    static ORDER: Cell<Order> = const { Cell::new(Order::Fastest) };
}

/// Runs `f` with another rule for the products in it. Nothing changes on the CPU.
pub fn with_row_rule<T>(rule: RowRule, f: impl FnOnce() -> T) -> T {
    struct Restore(RowRule);
    impl Drop for Restore {
        fn drop(&mut self) {
            RULE.set(self.0);
        }
    }
    let _restore = Restore(RULE.replace(rule));
    f()
}

/// Runs `f` with products on the CPU that give a row the same bits whatever stands beside it: few rows are then computed as many are, which is slower. Nothing
/// changes on a GPU, where [`with_row_rule`] decides, nor on processors for which there are no kernels of ours.
pub fn with_rows_alike<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(Order);
    impl Drop for Restore {
        fn drop(&mut self) {
            ORDER.set(self.0);
        }
    }
    let _restore = Restore(ORDER.replace(Order::OfRow));
    f()
}

/// The order in force on the CPU.
pub(crate) fn order() -> Order {
    ORDER.get()
}

/// The rule in force.
pub(super) fn rule() -> RowRule {
    RULE.get()
}

/// Whether a product of `rows` rows takes the kernel for few, by its number of rows.
pub(super) fn are_few_by(rule: RowRule, rows: usize) -> bool {
    match rule {
        RowRule::Count => rows <= THIN_ROWS,
        RowRule::Few => rows <= FEW_ROWS,
        RowRule::Many => false,
    }
}
