//! An optimiser whose state is shared out among the ranks (ZeRO stage 1, Rajbhandari et al. 2020, arXiv 1910.02054).
//!
//! All trained weights stand in a few long rows, the blocks of [`Tensor::laid_in_blocks`]. A rank adds the gradients of all ranks for its share of each row alone, keeps
//! the optimiser's means for that share, updates it, and is given the updated weights of the others. That sends as many bytes as adding all gradients everywhere does, weights in place of
//! the second half of the gradients, and gives the same bits.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::Path;

use percept_engine::{AdamW, DType, Error, FlatRow, Gradients, ParamGroup, Result, Tensor, no_grad};

use super::optimise::adamw;
use super::reduce::{collected, pieces, present, scattered, share_of};
use super::tensors::{bytes_of, write_bytes};
use super::world::World;
use crate::config::OptimConfig;

/// The optimiser of one rank.
pub struct Sharded {
    world: World,
    /// Over this rank's stretches.
    optimizer: AdamW,
    parameters: Vec<(String, Tensor)>,
    rows: Vec<Row>,
    /// A whole state that was read, until the ranks are given their part of it.
    read: Option<BTreeMap<String, Tensor>>,
}

/// A row of weights, cut into pieces that are exchanged one after the other.
struct Row {
    /// `[elements]`
    weights: Tensor,
    /// Numbers of the parameters in it, and where they stand.
    members: Vec<(usize, Range<usize>)>,
    pieces: Vec<Piece>,
}

/// A piece, which the ranks share.
struct Piece {
    place: Range<usize>,
    /// Elements of a rank's share; the last ones may have less or nothing.
    share: usize,
    own: Range<usize>,
    /// What this rank updates: as much of a parameter as is in its share.
    stretches: Vec<Stretch>,
}

struct Stretch {
    parameter: usize,
    /// In the row.
    place: Range<usize>,
    weights: Tensor,
}

/// Shares begin at a multiple of this: the squares of gradients are added up to parts of 64, on a GPU in stretches of so many, wherever a rank's share begins and ends.
fn unit(tensor: &Tensor) -> usize {
    if tensor.device().is_cpu() || tensor.device().is_meta() { 64 } else { 1 << 14 }
}

/// Numbers whose squares are one part of the sum.
const PART: usize = 64;

impl Sharded {
    /// The optimiser of this rank for `groups`, which lie in blocks.
    ///
    /// # Errors
    /// How many ranks are too many for so few weights, in words.
    pub fn new(groups: Vec<ParamGroup>, optim: &OptimConfig, world: &World) -> std::result::Result<Sharded, String> {
        let parameters: Vec<(String, Tensor)> = groups.iter().flat_map(|group| group.parameters.iter().cloned()).collect();
        let all: Vec<&Tensor> = parameters.iter().map(|(_, parameter)| parameter).collect();
        let rows: Vec<Row> = Gradients::flat_parameters(&all)
            .into_iter()
            .map(|FlatRow { values: weights, members }| {
                let pieces = pieces(weights.len()).map(|place| {
                    let share = place.len().div_ceil(world.size()).next_multiple_of(unit(&weights));
                    let own = own_range(&place, share, share_of(world.rank(), world.size()));
                    let stretches = cut(&members, &own).map(|(parameter, place)| Stretch {
                        parameter,
                        weights: weights.slice(0, place.start, place.len()).parameter(),
                        place,
                    });
                    Piece { stretches: stretches.collect(), place, share, own }
                });
                Row { pieces: pieces.collect(), weights, members }
            })
            .collect();
        let mut first = 0;
        let mut own = Vec::new();
        for group in &groups {
            let numbers = first..first + group.parameters.len();
            first = numbers.end;
            let stretches = stretches(&rows).enumerate().filter(|(_, stretch)| numbers.contains(&stretch.parameter));
            let parameters = stretches.map(|(number, stretch)| (number.to_string(), stretch.weights.clone())).collect();
            own.push(ParamGroup { parameters, ..*group });
        }
        let pieces = || rows.iter().flat_map(|row| &row.pieces);
        let is_left_out = |share: usize| pieces().all(|piece| own_range(&piece.place, piece.share, share).is_empty());
        if (0..world.size()).any(is_left_out) {
            let elements: usize = rows.iter().map(|row| row.weights.len()).sum();
            let fewer = "use fewer ranks, or optim.shard=false";
            return Err(format!("optim.shard: {elements} trained weights leave nothing for one of {} ranks; {fewer}", world.size()));
        }
        Ok(Sharded { world: world.clone(), optimizer: adamw(own, optim), parameters, rows, read: None })
    }

    /// Moves the weights of all ranks along the sum of their gradients, and returns the numbers of [`AdamW::unread_report`]; none if no rank has a gradient.
    ///
    /// # Errors
    /// Those of the device.
    pub fn step(&mut self, mut gradients: Gradients, learning_rate: f64) -> Result<Option<&Tensor>> {
        let there: HashSet<usize> = present(&self.world, &gradients, &self.parameters).into_iter().collect();
        if there.is_empty() {
            return Ok(None);
        }
        let mut own = Gradients::new();
        let mut shares = Vec::new();
        for row in &self.rows {
            if !row.members.iter().any(|(parameter, _)| there.contains(parameter)) {
                continue;
            }
            let whole = gradients.take_flat(&row.members.iter().map(|(parameter, _)| &self.parameters[*parameter].1).collect::<Vec<_>>());
            for piece in &row.pieces {
                let sum = scattered(&self.world, &whole.slice(0, piece.place.start, piece.place.len()), piece.share)?;
                let sum = sum.slice(0, 0, piece.own.len());
                for stretch in piece.stretches.iter().filter(|stretch| there.contains(&stretch.parameter)) {
                    own.set(&stretch.weights, &sum.slice(0, stretch.place.start - piece.own.start, stretch.place.len()));
                }
                shares.push((piece, sum));
            }
        }
        let norm = self.norm(&shares)?;
        self.optimizer.set_lr(learning_rate);
        self.optimizer.step_by(&own, &norm);
        drop((shares, own));
        for row in &self.rows {
            for piece in &row.pieces {
                let mut bytes = bytes_of(&row.weights.slice(0, piece.own.start, piece.own.len()))?;
                bytes.resize(piece.share * row.weights.dtype().size_bytes(), 0);
                let all = collected(&self.world, bytes);
                let weights = row.weights.slice(0, piece.place.start, piece.place.len());
                write_bytes(&weights, &all[..piece.place.len() * row.weights.dtype().size_bytes()]);
            }
        }
        Ok(Some(self.optimizer.unread_report()))
    }

    /// The norm of all gradients, of which this rank has some: the sums of squares of all, put together in their order and added as one rank adds them. `-> []`
    fn norm(&self, shares: &[(&Piece, Tensor)]) -> Result<Tensor> {
        let own: Vec<Tensor> = shares.iter().map(|(_, sum)| sum).filter(|sum| !sum.is_empty()).cloned().collect();
        let squares = if own.is_empty() { Vec::new() } else { Gradients::partial_squares(&own).to_vec::<f32>()? };
        let all = self.world.gather("the norm of the gradients", bytemuck::cast_slice(&squares).to_vec());
        let mut all: Vec<std::vec::IntoIter<f32>> =
            all.iter().map(|bytes| bytemuck::pod_collect_to_vec::<u8, f32>(bytes).into_iter()).collect();
        let mut in_order: Vec<f32> = Vec::new();
        for (piece, _) in shares {
            let mut of_piece: Vec<(usize, Vec<f32>)> = Vec::new();
            for (rank, rest) in all.iter_mut().enumerate() {
                let share = share_of(rank, self.world.size());
                let parts = own_range(&piece.place, piece.share, share).len().div_ceil(PART);
                of_piece.push((share, rest.take(parts).collect()));
            }
            of_piece.sort_by_key(|(share, _)| *share);
            in_order.extend(of_piece.into_iter().flat_map(|(_, parts)| parts));
        }
        let device = self.rows[0].weights.device();
        Ok(no_grad(|| Tensor::from_slice(device, &in_order, &[in_order.len()]).sum_all().sqrt()))
    }

    /// What is updated, by the names of the groups.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        self.parameters.clone()
    }

    /// The names, shapes and types of the whole state, as [`AdamW::state`] has them of an optimiser that is not shared.
    pub fn state_shapes(&self) -> BTreeMap<String, (Vec<usize>, DType)> {
        let control = &self.optimizer.state()["control"];
        let mut shapes = BTreeMap::from([("control".to_owned(), (control.shape().to_vec(), control.dtype()))]);
        for (name, parameter) in &self.parameters {
            let kinds = kinds_of(parameter).iter().map(|kind| format!("{name}.{kind}"));
            shapes.extend(kinds.map(|name| (name, (parameter.shape().to_vec(), DType::F32))));
        }
        shapes
    }

    /// The whole state, gathered from all ranks; the first has it then, in memory of the host.
    ///
    /// # Errors
    /// Those of the device.
    pub fn whole_state(&self) -> Result<BTreeMap<String, Tensor>> {
        let own = self.optimizer.state();
        let host = percept_engine::Device::cpu();
        let mut state = BTreeMap::from([("control".to_owned(), own["control"].to_device(&host)?)]);
        for (number, (name, parameter)) in self.parameters.iter().enumerate() {
            for kind in kinds_of(parameter) {
                let mut bytes = Vec::new();
                for (stretch, _) in stretches(&self.rows).enumerate().filter(|(_, stretch)| stretch.parameter == number) {
                    bytes.extend(bytes_of(&own[&format!("{stretch}.{kind}")])?);
                }
                let all = self.world.gather("the state of the optimiser", bytes);
                if self.world.is_first() {
                    let whole = Tensor::zeros(&host, &[parameter.len()], DType::F32);
                    for (rank, bytes) in all.iter().enumerate() {
                        let mut rest = bytes.as_slice();
                        for place in self.places(number, rank) {
                            let (these, behind) = rest.split_at(place.len() * DType::F32.size_bytes());
                            write_bytes(&whole.slice(0, place.start, place.len()), these);
                            rest = behind;
                        }
                    }
                    state.insert(format!("{name}.{kind}"), whole.reshape(parameter.shape()));
                }
            }
        }
        Ok(state)
    }

    /// Takes a whole state that was read from `path`; [`share`](Sharded::share) gives the ranks their part of it.
    ///
    /// # Errors
    /// [`Error::Content`] if a tensor is missing, left over or of another shape; then nothing has changed.
    pub fn load_state(&mut self, path: &Path, state: BTreeMap<String, Tensor>) -> Result<()> {
        let shapes = self.state_shapes();
        let content = |field: &str, expected: &str, got: &str| Error::Content {
            path: path.into(),
            field: field.into(),
            expected: expected.into(),
            got: got.into(),
        };
        if let Some(surplus) = state.keys().find(|name| !shapes.contains_key(*name)) {
            return Err(content(surplus, "no such tensor in the optimiser's state", "one"));
        }
        for (name, (shape, dtype)) in &shapes {
            let expected = format!("{dtype} {shape:?}");
            let got = state.get(name).map_or("no such tensor".into(), |saved| format!("{} {:?}", saved.dtype(), saved.shape()));
            if expected != got {
                return Err(content(name, &expected, &got));
            }
        }
        self.read = Some(state);
        Ok(())
    }

    /// Gives each rank its part of the state that the first has read, if it has read one.
    ///
    /// # Errors
    /// Those of the device.
    pub fn share(&mut self) -> Result<()> {
        let read = self.read.take();
        let is_there = self.world.from_first("whether a state was read", || vec![u8::from(read.is_some())]);
        if is_there != [1] {
            return Ok(());
        }
        let first = |name: &str| -> Result<Vec<u8>> {
            let own = read.as_ref().map_or(Ok(Vec::new()), |state| bytes_of(&state[name]))?;
            Ok(self.world.from_first("the state of the run", || own))
        };
        let own = self.optimizer.state();
        write_bytes(&own["control"], &first("control")?);
        for (number, (name, parameter)) in self.parameters.iter().enumerate() {
            for kind in kinds_of(parameter) {
                let whole = first(&format!("{name}.{kind}"))?;
                let numbers = stretches(&self.rows).enumerate().filter(|(_, stretch)| stretch.parameter == number);
                for ((stretch, _), place) in numbers.zip(self.places(number, self.world.rank())) {
                    let size = DType::F32.size_bytes();
                    write_bytes(&own[&format!("{stretch}.{kind}")], &whole[place.start * size..place.end * size]);
                }
            }
        }
        Ok(())
    }

    /// Which elements of a parameter a rank has, ascending.
    fn places(&self, parameter: usize, rank: usize) -> Vec<Range<usize>> {
        let share = share_of(rank, self.world.size());
        let mut places = Vec::new();
        for row in &self.rows {
            let Some((_, member)) = row.members.iter().find(|(number, _)| *number == parameter) else { continue };
            for piece in &row.pieces {
                let own = own_range(&piece.place, piece.share, share);
                let both = own.start.max(member.start)..own.end.min(member.end);
                if !both.is_empty() {
                    places.push(both.start - member.start..both.end - member.start);
                }
            }
        }
        places
    }
}

/// What AdamW keeps of a parameter.
fn kinds_of(parameter: &Tensor) -> &'static [&'static str] {
    if parameter.dtype().is_half() { &["m", "v", "master"] } else { &["m", "v"] }
}

/// The stretches of all rows, in the order of their numbers.
fn stretches(rows: &[Row]) -> impl Iterator<Item = &Stretch> {
    rows.iter().flat_map(|row| row.pieces.iter().flat_map(|piece| &piece.stretches))
}

/// Where in a row share number `number` of a piece is.
fn own_range(piece: &Range<usize>, share: usize, number: usize) -> Range<usize> {
    let at = |number: usize| (piece.start + number * share).min(piece.end);
    at(number)..at(number + 1)
}

/// As much of each parameter as lies in a range of its row.
fn cut<'a>(members: &'a [(usize, Range<usize>)], range: &'a Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
    let both = |(number, member): &(usize, Range<usize>)| (*number, range.start.max(member.start)..range.end.min(member.end));
    members.iter().map(both).filter(|(_, both)| !both.is_empty())
}
