//! The vision tower, as in transformers' `Qwen2_5_VisionTransformerPretrainedModel`.
//!
//! Patches come row by row. They are computed in another order: the patches of a visual token side by side, and the visual tokens of a window side by
//! side, so that a window is a stretch of rows. The merger puts its visual tokens back row by row.

use super::config::VisionConfig;
use crate::config::Bias;
use crate::image::Grid;
use crate::layers::activations::Activations;
use crate::layers::attention::{Attention, AttentionShape, Projections};
use crate::layers::linear::Linear;
use crate::layers::mlp::SwigluMlp;
use crate::layers::norms::RmsNorm;
use crate::layers::patches::PatchBatch;
use crate::layers::scope::Scope;
use crate::layers::still_frames::StillFrames;
use percept_engine::ops::Segments;
use percept_engine::{Device, Indices, RopeTable, Tensor};
use std::sync::{Arc, Mutex, PoisonError};

/// Added to the mean square in every RMSNorm of the tower.
const EPS: f64 = 1e-6;

/// Makes one vector of each patch of a picture, in the order of [`Order`].
pub(super) struct VisionTower {
    config: VisionConfig,
    orders: Arc<Orders>,
    patch_embed: StillFrames,
    blocks: Vec<VisionBlock>,
}

impl VisionTower {
    pub(super) fn new(config: &VisionConfig, orders: &Arc<Orders>, scope: &Scope) -> Self {
        let (hidden, frames, patch) = (config.hidden_size, config.temporal_patch_size, config.patch_size);
        Self {
            config: config.clone(),
            orders: orders.clone(),
            patch_embed: StillFrames::new("patch_embed.proj", [hidden, 3, frames, patch, patch], scope),
            blocks: (0..config.depth).map(|block| VisionBlock::new(config, &scope.at("blocks").at(block))).collect(),
        }
    }

    /// `-> [patches, hidden]`
    pub(super) fn forward(&self, pictures: &PatchBatch, activations: Activations) -> Tensor {
        let order = self.orders.of(pictures.grids());
        let embedded = self.patch_embed.forward(pictures.patches());
        let mut x = embedded.index_select(&indices(embedded.device(), &order.patches));
        let rope = order.rope(&self.config, x.device());
        let (windows, whole) = (Segments::bidirectional(&order.windows), pictures.segments());
        for (number, block) in self.blocks.iter().enumerate() {
            let sees_all = self.config.fullatt_block_indexes.contains(&number);
            let (block, rope, segments) = (block.clone(), rope.clone(), if sees_all { whole.clone() } else { windows.clone() });
            x = activations.run(&x, move |x| block.forward(x, &rope, &segments));
        }
        x
    }
}

/// One block of the tower: attention and SwiGLU, each behind an RMSNorm.
#[derive(Clone)]
struct VisionBlock {
    norm1: RmsNorm,
    attention: Attention,
    norm2: RmsNorm,
    mlp: SwigluMlp,
}

impl VisionBlock {
    fn new(config: &VisionConfig, scope: &Scope) -> Self {
        let (hidden, heads) = (config.hidden_size, config.num_heads);
        let attention = AttentionShape {
            hidden,
            heads,
            kv_heads: heads,
            head_dim: config.head_dim(),
            projections: Projections::Joint("qkv"),
            bias: Bias::Yes,
            out: ("proj", Bias::Yes),
        };
        Self {
            norm1: scope.rms_norm("norm1", hidden, EPS),
            attention: Attention::new(&attention, &scope.at("attn")),
            norm2: scope.rms_norm("norm2", hidden, EPS),
            mlp: SwigluMlp::new(hidden, config.intermediate_size, Bias::Yes, &scope.at("mlp")),
        }
    }

    /// `[patches, hidden] -> [patches, hidden]`
    fn forward(&self, x: &Tensor, rope: &RopeTable, segments: &Segments) -> Tensor {
        let x = x.add(&self.attention.forward(&self.norm1.forward(x), Some(rope), segments));
        x.add(&self.mlp.forward(&self.norm2.forward(&x)))
    }
}

/// Joins squares of patches to visual tokens, and puts these back row by row.
pub(super) struct Merger {
    /// Patches of a visual token.
    of_token: usize,
    orders: Arc<Orders>,
    ln_q: RmsNorm,
    wide: Linear,
    out: Linear,
}

impl Merger {
    pub(super) fn new(config: &VisionConfig, orders: &Arc<Orders>, out: usize, scope: &Scope) -> Self {
        let of_token = config.spatial_merge_size.pow(2);
        let joined = config.hidden_size * of_token;
        Self {
            of_token,
            orders: orders.clone(),
            ln_q: scope.rms_norm("ln_q", config.hidden_size, EPS),
            wide: scope.linear("mlp.0", &[joined, joined], Bias::Yes),
            out: scope.linear("mlp.2", &[out, joined], Bias::Yes),
        }
    }

    /// `[patches, vision hidden] -> [visual tokens, hidden]`
    pub(super) fn forward(&self, patches: &Tensor, pictures: &PatchBatch) -> Tensor {
        let joined = self.ln_q.forward(patches).reshape(&[patches.dim(0) / self.of_token, self.of_token * patches.dim(1)]);
        let tokens = self.out.forward(&self.wide.forward(&joined).gelu_erf());
        tokens.index_select(&indices(tokens.device(), &self.orders.of(pictures.grids()).back))
    }
}

fn indices(device: &Device, rows: &[u32]) -> Indices {
    Indices::new(device, rows, &[rows.len()])
}

/// The orders of pictures: made by the tower, and there for the merger, which puts back what the tower took apart.
pub(super) struct Orders {
    config: VisionConfig,
    last: Mutex<(Vec<Grid>, Arc<Order>)>,
}

impl Orders {
    pub(super) fn new(config: &VisionConfig) -> Arc<Self> {
        Arc::new(Self { config: config.clone(), last: Mutex::default() })
    }

    /// The order of pictures with these grids; that of the last ones is kept.
    fn of(&self, grids: &[Grid]) -> Arc<Order> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != grids {
            *last = (grids.to_vec(), Arc::new(Order::new(grids, &self.config)));
        }
        last.1.clone()
    }
}

/// The order in which patches are computed.
#[derive(Debug, Default, PartialEq)]
struct Order {
    /// The patch, counted row by row through all pictures, that stands in each place.
    patches: Vec<u32>,
    /// Row and column of that patch in its picture.
    places: Vec<[usize; 2]>,
    /// Patches of each window.
    windows: Vec<usize>,
    /// The place among the visual tokens in this order of each visual token, counted row by row: the inverse of the order, which is not the order itself unless windows divide
    /// the picture in a square.
    back: Vec<u32>,
}

impl Order {
    /// # Panics
    /// If visual tokens do not divide a grid: the image processor sees to that.
    fn new(grids: &[Grid], config: &VisionConfig) -> Self {
        let (merge, side) = (config.spatial_merge_size, config.window_side());
        let mut order = Self::default();
        for &[rows, cols] in grids {
            assert!(
                rows.is_multiple_of(merge) && cols.is_multiple_of(merge),
                "a grid of {rows} × {cols} patches, not a multiple of {merge}"
            );
            let (first_patch, first_token) = (order.patches.len(), order.back.len());
            let (height, width) = (rows / merge, cols / merge);
            order.back.resize(first_token + height * width, 0);
            let mut place = first_token as u32;
            for (top, left) in pairs(height.div_ceil(side), width.div_ceil(side)).map(|(y, x)| (y * side, x * side)) {
                let (bottom, right) = ((top + side).min(height), (left + side).min(width));
                for (y, x) in pairs(bottom - top, right - left).map(|(y, x)| (top + y, left + x)) {
                    order.back[first_token + y * width + x] = place;
                    place += 1;
                    for (row, col) in pairs(merge, merge).map(|(dy, dx)| (y * merge + dy, x * merge + dx)) {
                        order.patches.push((first_patch + row * cols + col) as u32);
                        order.places.push([row, col]);
                    }
                }
                order.windows.push((bottom - top) * (right - left) * merge * merge);
            }
        }
        order
    }

    /// Half the angles of a head turn by the row, half by the column. `-> [patches, head_dim / 2]`
    fn rope(&self, config: &VisionConfig, device: &Device) -> RopeTable {
        let quarter = config.head_dim() / 4;
        let frequencies: Vec<f64> = (0..quarter).map(|j| config.rope_theta.powf(-(j as f64) / quarter as f64)).collect();
        let along = |place: usize| frequencies.iter().map(move |frequency| place as f64 * frequency);
        let angles: Vec<f64> = self.places.iter().flat_map(|&[row, col]| along(row).chain(along(col))).collect();
        RopeTable::from_angles(device, &angles, [self.places.len(), 2 * quarter])
    }
}

fn pairs(rows: usize, cols: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |y| (0..cols).map(move |x| (y, x)))
}

#[cfg(test)]
mod tests {
    use super::super::config::VisionConfig;
    use super::{Order, Orders};
    use std::sync::Arc;

    fn config() -> VisionConfig {
        VisionConfig {
            depth: 1,
            hidden_size: 8,
            intermediate_size: 8,
            num_heads: 1,
            patch_size: 14,
            temporal_patch_size: 2,
            spatial_merge_size: 2,
            window_size: 112,
            fullatt_block_indexes: vec![],
            rope_theta: 1e4,
        }
    }

    fn order(grids: &[[usize; 2]]) -> Order {
        Order::new(grids, &config())
    }

    #[test]
    fn the_merger_finds_the_order_that_the_tower_made() {
        let orders = Orders::new(&config());
        let [first, again] = [0, 1].map(|_| orders.of(&[[12, 20], [8, 8]]));
        assert!(Arc::ptr_eq(&first, &again) && *first == order(&[[12, 20], [8, 8]]));
        assert!(*orders.of(&[[8, 8]]) == order(&[[8, 8]]) && *orders.of(&[[12, 20], [8, 8]]) == *first);
    }

    /// Visual tokens in their order.
    fn tokens(order: &Order) -> Vec<usize> {
        let mut tokens = vec![0; order.back.len()];
        order.back.iter().enumerate().for_each(|(token, &place)| tokens[place as usize] = token);
        tokens
    }

    #[test]
    fn a_picture_of_one_window_keeps_its_order() {
        let order = order(&[[8, 8]]);
        assert_eq!(tokens(&order), (0..16).collect::<Vec<_>>());
        assert_eq!(order.windows, [64]);
        // the patches of a visual token stand side by side
        assert_eq!(order.patches[..8], [0, 1, 8, 9, 2, 3, 10, 11]);
        assert_eq!(order.places[..4], [[0, 0], [0, 1], [1, 0], [1, 1]]);
    }

    /// 6 × 10 visual tokens in windows of 4 × 4, of which the last ones are cut off.
    #[test]
    fn windows_that_do_not_divide_the_picture_are_cut_off() {
        let order = order(&[[12, 20]]);
        let expected: [&[usize]; 6] = [
            &[0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33],
            &[4, 5, 6, 7, 14, 15, 16, 17, 24, 25, 26, 27, 34, 35, 36, 37],
            &[8, 9, 18, 19, 28, 29, 38, 39],
            &[40, 41, 42, 43, 50, 51, 52, 53],
            &[44, 45, 46, 47, 54, 55, 56, 57],
            &[48, 49, 58, 59],
        ];
        assert_eq!(tokens(&order), expected.concat());
        assert_eq!(order.windows, [64, 64, 32, 32, 32, 16]);
        assert_eq!(order.back[..12], [0, 1, 2, 3, 16, 17, 18, 19, 32, 33, 4, 5]);
    }

    #[test]
    fn windows_stay_within_their_picture() {
        let (one, both) = (order(&[[24, 24]]), order(&[[12, 20], [24, 24]]));
        assert_eq!(one.windows, [64; 9]);
        assert_eq!(both.windows[6..], one.windows);
        let shifted = |numbers: &[u32], by: u32| numbers.iter().map(|number| number + by).collect::<Vec<_>>();
        assert_eq!(both.patches[240..], shifted(&one.patches, 240));
        assert_eq!(both.back[60..], shifted(&one.back, 60));
    }
}
