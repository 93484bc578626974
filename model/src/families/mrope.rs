//! Rotary positions in several dimensions (M-RoPE), as in Qwen2-VL (Wang et al. 2024, arXiv 2409.12191): a token stands at a time, a height and a
//! width, and each turns a section of the angles.

use crate::config::ModelConfig;
use crate::image::{Grid, Patches};
use crate::positions::{Positions, PromptPositions};
use percept_engine::{Device, RopeTable};

/// Rows of positions: time, height, width.
pub(super) const ROWS: usize = 3;

/// Text counts on in every row. A picture stands at one time and spreads over heights and widths; what follows it goes on after its longer side.
/// `grids` are those of visual tokens, one for each picture in the order of the prompt.
pub(super) fn positions(image_token_id: u32, tokens: &[u32], grids: impl IntoIterator<Item = Grid>) -> PromptPositions {
    let (mut rows, mut next, mut at) = (vec![Vec::new(); ROWS], 0, 0);
    let mut grids = grids.into_iter();
    while at < tokens.len() {
        let grid = if tokens[at] == image_token_id { grids.next() } else { None };
        let [height, width] = grid.unwrap_or([1, 1]);
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            [0, y, x].into_iter().zip(&mut rows).for_each(|(along, row)| row.push(next + along as u32));
        }
        next += height.max(width) as u32;
        at += height * width;
    }
    PromptPositions { positions: Positions::new(rows), next }
}

/// The grids of visual tokens of some pictures.
pub(super) fn visual_grids(pictures: &[Patches], merge: usize) -> impl Iterator<Item = Grid> {
    pictures.iter().flat_map(Patches::grids).map(move |[rows, cols]| [rows / merge, cols / merge])
}

/// The rotations of tokens: of `sections`, the first angles turn by time, the next by height, the last by width. They are half as many as a head is wide.
pub(super) fn rope(config: &ModelConfig, sections: [usize; ROWS], device: &Device, positions: &Positions) -> RopeTable {
    let half = config.text.head_dim / 2;
    let row: Vec<usize> = sections.iter().enumerate().flat_map(|(row, &count)| std::iter::repeat_n(row, count)).collect();
    let frequencies: Vec<f64> = (0..half).map(|j| config.text.rope_theta.powf(-2.0 * j as f64 / config.text.head_dim as f64)).collect();
    let angle = |token: usize, j: usize| f64::from(positions.rows()[row[j]][token]) * frequencies[j];
    let angles: Vec<f64> =
        (0..positions.tokens()).flat_map(|token| (0..half).map(move |j| (token, j))).map(|(token, j)| angle(token, j)).collect();
    RopeTable::from_angles(device, &angles, [positions.tokens(), half])
}
