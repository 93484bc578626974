//! Where tokens stand, for the rotary embedding.

/// Positions of tokens: one row of numbers, or several where the family counts along several axes (time, height and width).
///
/// Text advances by one in every row; what a picture does is the family's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    /// `[rows][tokens]`
    rows: Vec<Vec<u32>>,
}

impl Positions {
    /// From rows of equal length.
    ///
    /// # Panics
    /// If there is no row, or two are not of the same length.
    #[track_caller]
    pub fn new(rows: Vec<Vec<u32>>) -> Self {
        let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
        assert!(lengths.first().is_some_and(|first| lengths.iter().all(|length| length == first)), "positions: rows of {lengths:?} tokens");
        Self { rows }
    }

    /// Positions of text, which are the same in each of `rows` rows.
    ///
    /// # Panics
    /// If `rows` is 0.
    #[track_caller]
    pub fn of_text(rows: usize, positions: impl IntoIterator<Item = u32>) -> Self {
        let row: Vec<u32> = positions.into_iter().collect();
        Self::new(vec![row; rows])
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.rows[0].len()
    }

    /// The positions along each axis. `-> [rows][tokens]`
    pub fn rows(&self) -> &[Vec<u32>] {
        &self.rows
    }

    /// The positions of some of the tokens.
    ///
    /// # Panics
    /// If there is no such token.
    #[track_caller]
    pub fn at(&self, tokens: &[usize]) -> Positions {
        Self { rows: self.rows.iter().map(|row| tokens.iter().map(|&token| row[token]).collect()).collect() }
    }

    /// Puts other tokens behind these.
    ///
    /// # Panics
    /// If they have another number of rows.
    #[track_caller]
    pub fn extend(&mut self, others: &Positions) {
        assert_eq!(self.rows.len(), others.rows.len(), "positions: rows");
        for (row, others) in self.rows.iter_mut().zip(&others.rows) {
            row.extend(others);
        }
    }
}

/// Positions of a prompt, and where what follows it goes on.
pub(crate) struct PromptPositions {
    pub(crate) positions: Positions,
    /// Position of the first token after the prompt, in every row; each later token stands one further.
    pub(crate) next: u32,
}
