//! Parameters one behind the other in few blocks of memory, so that their gradients can lie alike.
//!
//! What a step does with all gradients (adding those of micro-batches, adding those of ranks, their norm, the optimiser's update) then takes a launch for each
//! block instead of one for each parameter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::Device;
use crate::dtype::DType;
use crate::layout::Layout;
use crate::tensor::Tensor;

/// The gradients of a block of parameters, before there are any: what their memory will be.
pub(crate) struct Block {
    pub(super) id: u64,
    pub(super) device: Device,
    pub(super) elements: usize,
    pub(super) dtype: DType,
}

/// Where in the gradients of a block that of a parameter belongs, or that of a view of one.
#[derive(Clone)]
pub(crate) struct Home {
    pub(super) block: Arc<Block>,
    pub(super) layout: Layout,
}

impl Home {
    /// That of tensors one behind the other, as one; none if they do not lie so.
    pub(super) fn of_all(homes: &[Home]) -> Option<Home> {
        let [first, .., last] = homes else { return homes.first().cloned() };
        let follows = |pair: &[Home]| {
            Arc::ptr_eq(&pair[0].block, &pair[1].block) && pair[0].layout.offset + pair[0].layout.len() == pair[1].layout.offset
        };
        let are_in_order = homes.iter().all(|home| home.layout.is_contiguous()) && homes.windows(2).all(follows);
        are_in_order.then(|| {
            let (offset, end) = (first.layout.offset, last.layout.offset + last.layout.len());
            Home { block: first.block.clone(), layout: Layout { offset, ..Layout::contiguous(&[end - offset]) } }
        })
    }
}

/// The most elements of a block of several parameters: 512 MiB of gradients.
const MOST_ELEMENTS: usize = 1 << 27;

impl Tensor {
    /// Copies of parameters that lie one behind the other in few blocks of memory, in the order given, each with its tensor's place in the graph: it stays the same
    /// parameter. Their gradients will lie alike. Those of a group are in one block, if it can be bound as a whole.
    ///
    /// # Panics
    /// If one is not a parameter ([`Tensor::parameter`]).
    #[track_caller]
    pub fn laid_in_blocks(groups: &[Vec<&Tensor>]) -> Vec<Vec<Tensor>> {
        let mut laid: Vec<Vec<Tensor>> = groups.iter().map(|_| Vec::new()).collect();
        let mut open = Vec::new();
        let runs = groups.iter().enumerate().flat_map(|(number, group)| {
            let runs: Vec<Vec<&Tensor>> = match Plan::of(group) {
                Some(_) => vec![group.clone()],
                None => group.iter().map(|&x| vec![x]).collect(),
            };
            runs.into_iter().map(move |run| (number, run))
        });
        for (number, run) in runs {
            let candidate: Vec<&Tensor> = open.iter().map(|(_, x)| *x).chain(run.iter().copied()).collect();
            if !open.is_empty() && Plan::of(&candidate).is_none() {
                close(&mut open, &mut laid);
            }
            open.extend(run.into_iter().map(|x| (number, x)));
        }
        close(&mut open, &mut laid);
        laid
    }
}

/// Makes a block of what is open, and hands its tensors out to their groups.
#[track_caller]
fn close(open: &mut Vec<(usize, &Tensor)>, laid: &mut [Vec<Tensor>]) {
    let parts: Vec<&Tensor> = open.iter().map(|(_, x)| *x).collect();
    let Some(first) = parts.first() else { return };
    let (device, dtype, Plan { starts, elements }) = (first.device(), first.dtype(), Plan::unbounded(&parts));
    // zeros between them, where there are gaps
    let all = Tensor::zeros(device, &[elements], dtype);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let block = Arc::new(Block { id, device: device.clone(), elements, dtype: dtype.of_gradients() });
    for ((number, x), offset) in open.drain(..).zip(starts) {
        let Some(edge) = x.edge().filter(|edge| edge.is_leaf()) else {
            panic!("laid_in_blocks: the tensor {:?} is not a parameter; make it one with .parameter()", x.shape())
        };
        let layout = Layout { offset, ..Layout::contiguous(x.shape()) };
        let place = all.view(layout.clone());
        place.copy_packed_(x);
        edge.settle_at(Home { block: block.clone(), layout });
        laid[number].push(place.with_edge(Some(edge.clone())));
    }
}

/// Where tensors begin in a block, and how long it is.
struct Plan {
    starts: Vec<usize>,
    elements: usize,
}

impl Plan {
    /// None if they are of several types or devices, or more than a kernel can bind or a block may have.
    fn of(parts: &[&Tensor]) -> Option<Plan> {
        let first = parts.first()?;
        let plan = Plan::unbounded(parts);
        let bindable = first.device().adapter().map_or(u64::MAX, |adapter| adapter.max_binding_bytes);
        let bytes = (plan.elements * first.dtype().of_gradients().size_bytes()) as u64;
        let is_one_kind = parts.iter().all(|x| x.dtype() == first.dtype() && x.device() == first.device());
        (is_one_kind && plan.elements <= MOST_ELEMENTS && bytes <= bindable).then_some(plan)
    }

    fn unbounded(parts: &[&Tensor]) -> Plan {
        let first = parts[0];
        let alignment = first.device().offset_alignment_bytes().div_ceil(first.dtype().size_bytes());
        let (mut starts, mut elements) = (Vec::new(), 0usize);
        for x in parts {
            starts.push(elements.next_multiple_of(alignment));
            elements = starts[starts.len() - 1] + x.len();
        }
        Plan { starts, elements }
    }
}
