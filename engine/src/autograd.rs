//! Reverse-mode automatic differentiation.
//!
//! An op attaches its gradient rule to its output with `Tensor::with_grad`. A rule receives the gradient of the output and *returns* the
//! gradients of the inputs; the engine sums. Nodes hold what the rule captured and nothing else, and [`Tensor::backward`] frees each node as soon
//! as its rule has run.

mod blocks;
mod gradients;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::layout::Layout;
use crate::tensor::Tensor;
use blocks::Home;
pub use gradients::{FlatRow, Gradients};

type Rule = Box<dyn FnOnce(&[Option<Tensor>], &mut Places<'_>) -> Vec<Option<Tensor>> + Send>;

/// Where a rule may write its gradients.
pub(crate) struct Places<'a> {
    gradients: &'a mut Gradients,
    inputs: &'a [Option<Edge>],
}

impl Places<'_> {
    /// Memory for the gradient of an input that is a parameter, or a view of one, in its shape, still zeros. A rule that asks for it writes the gradient there and returns it; it need not then be
    /// copied. `None` where the input is something else, or has a gradient already.
    pub(crate) fn of(&mut self, input: usize) -> Option<Tensor> {
        self.of_run(&[input])
    }

    /// The same for several inputs together, whose gradients lie one behind the other.
    pub(crate) fn of_run(&mut self, inputs: &[usize]) -> Option<Tensor> {
        let homes = inputs.iter().map(|&input| self.inputs[input].as_ref()?.home()).collect::<Option<Vec<Home>>>()?;
        self.gradients.place(Home::of_all(&homes)?)
    }
}

/// What a node keeps until its rule has run.
struct Body {
    rule: Rule,
    inputs: Vec<Option<Edge>>,
}

/// An op's place in the graph, or a leaf (a parameter).
pub(crate) struct Node {
    /// Grows with creation, so that descending order is a topological order.
    id: u64,
    op: &'static str,
    is_leaf: bool,
    outputs: usize,
    body: Mutex<Option<Body>>,
    /// Where the gradient of a parameter that lies in a block belongs, or of a view of one.
    home: Mutex<Option<Home>>,
}

/// Output `index` of a node.
#[derive(Clone)]
pub(crate) struct Edge {
    node: Arc<Node>,
    index: usize,
}

impl Edge {
    pub(crate) fn leaf() -> Edge {
        Edge { node: Arc::new(Node::new("parameter", 1, None)), index: 0 }
    }

    fn is_leaf(&self) -> bool {
        self.node.is_leaf
    }

    fn id(&self) -> u64 {
        self.node.id
    }

    fn home(&self) -> Option<Home> {
        self.node.home.lock().unwrap_or_else(|poison| poison.into_inner()).clone()
    }

    fn settle_at(&self, home: Home) {
        *self.node.home.lock().unwrap_or_else(|poison| poison.into_inner()) = Some(home);
    }
}

impl Node {
    fn new(op: &'static str, outputs: usize, body: Option<Body>) -> Node {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Node { id, op, is_leaf: body.is_none(), outputs, body: Mutex::new(body), home: Mutex::new(None) }
    }

    fn take_body(&self) -> Option<Body> {
        self.body.lock().unwrap_or_else(|poison| poison.into_inner()).take()
    }
}

impl Drop for Node {
    /// Drops a chain of nodes without recursion: graphs of thousands of ops would overflow the stack.
    fn drop(&mut self) {
        let mut pending: Vec<Option<Edge>> = self.take_body().map_or_else(Vec::new, |body| body.inputs);
        while let Some(edge) = pending.pop() {
            if let Some(node) = edge.and_then(|edge| Arc::into_inner(edge.node))
                && let Some(body) = node.take_body()
            {
                pending.extend(body.inputs);
            }
        }
    }
}

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(true) };
}

/// Runs `f` without recording: its tensors need no gradient.
pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    with_recording(false, f)
}

/// Whether ops are recorded here, so that what they give has gradients: not inside of [`no_grad`].
pub fn is_grad_enabled() -> bool {
    RECORDING.get()
}

fn with_recording<T>(on: bool, f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            RECORDING.set(self.0);
        }
    }
    let _restore = Restore(RECORDING.replace(on));
    f()
}

/// Runs `f` without keeping what its gradients need, and runs it again during the backward pass (Chen et al. 2016, arXiv 1604.06174). Memory of the
/// inside is paid only while its own backward runs. `f` must compute the same both times; parameters that it captures receive their gradients.
pub fn checkpoint<F>(inputs: &[&Tensor], f: F) -> Tensor
where
    F: Fn(&[Tensor]) -> Tensor + Send + 'static,
{
    let plain: Vec<Tensor> = inputs.iter().map(|x| x.detach()).collect();
    let output = no_grad(|| f(&plain));
    if !RECORDING.get() {
        return output;
    }
    // Parameters inside `f` are not among the inputs, so the node is made even when no input needs a gradient.
    let rule: Rule = Box::new(move |upstream, places| {
        let Some(upstream) = &upstream[0] else {
            return vec![None; plain.len()];
        };
        let leaves: Vec<Tensor> = plain.iter().map(|x| if x.dtype().is_float() { x.parameter() } else { x.clone() }).collect();
        let output = with_recording(true, || f(&leaves));
        // parameters of the inside receive theirs where those of the outside do
        propagate(&[(&output, upstream)], places.gradients);
        leaves.iter().map(|x| if x.requires_grad() { places.gradients.take(x) } else { None }).collect()
    });
    let edges = inputs.iter().map(|x| x.edge().cloned()).collect();
    output.with_node("checkpoint", 1, Body { rule, inputs: edges })
}

impl Tensor {
    /// True if a gradient flows to or through this tensor.
    pub fn requires_grad(&self) -> bool {
        self.edge().is_some()
    }

    /// The same values as a leaf whose gradient [`backward`](Tensor::backward) returns.
    ///
    /// # Panics
    /// If the tensor holds integers.
    #[track_caller]
    pub fn parameter(&self) -> Tensor {
        assert!(self.dtype().is_float(), "parameter: {} {:?} cannot have a gradient", self.dtype(), self.shape());
        self.with_edge(Some(Edge::leaf()))
    }

    /// The same values, cut off from the graph.
    pub fn detach(&self) -> Tensor {
        self.with_edge(None)
    }

    /// Attaches the gradient rule of an op to its output. The rule maps the output's gradient to the inputs' gradients, in order, each in its
    /// input's shape; `None` where an input needs none (ask `requires_grad` before computing it). Dropped unused if nothing needs a gradient.
    pub(crate) fn with_grad<const N: usize>(
        self,
        op: &'static str,
        inputs: [&Tensor; N],
        rule: impl FnOnce(&Tensor) -> [Option<Tensor>; N] + Send + 'static,
    ) -> Tensor {
        let inputs = inputs.to_vec();
        self.with_grads(op, &inputs, move |dy| rule(dy).into())
    }

    /// [`with_grad`](Tensor::with_grad) for a number of inputs known at run time.
    pub(crate) fn with_grads(
        self,
        op: &'static str,
        inputs: &[&Tensor],
        rule: impl FnOnce(&Tensor) -> Vec<Option<Tensor>> + Send + 'static,
    ) -> Tensor {
        self.with_grads_in_place(op, inputs, move |dy, _| rule(dy))
    }

    /// [`with_grads`](Tensor::with_grads) for a rule that can write gradients of parameters where they belong.
    pub(crate) fn with_grads_in_place(
        self,
        op: &'static str,
        inputs: &[&Tensor],
        rule: impl FnOnce(&Tensor, &mut Places<'_>) -> Vec<Option<Tensor>> + Send + 'static,
    ) -> Tensor {
        let [output] = with_grads_of_in_place([self], op, inputs, move |dy, places| {
            let [Some(dy)] = dy else { unreachable!("a node runs only when a gradient arrived") };
            rule(dy, places)
        });
        output
    }

    /// Says that this tensor is a view of parameters which lie one behind the other in a block, so that a gradient of it can be written where theirs belong: `view` is what became of the layout of
    /// them all. Of other tensors, and of views that are not in a graph, it says nothing.
    pub(crate) fn being_view_of(self, parts: &[&Tensor], view: impl FnOnce(&Layout) -> Layout) -> Tensor {
        let homes: Option<Vec<Home>> = parts.iter().map(|part| part.edge()?.home()).collect();
        if let (Some(edge), Some(homes)) = (self.edge(), homes)
            && let Some(home) = Home::of_all(&homes)
        {
            edge.settle_at(Home { layout: view(&home.layout), ..home });
        }
        self
    }

    /// Gradients of this scalar with respect to every parameter it depends on. Frees the graph as it goes: a second call panics.
    ///
    /// # Panics
    /// If the tensor is not a scalar (one element), does not depend on a parameter, or its graph was already used.
    #[track_caller]
    pub fn backward(&self) -> Gradients {
        assert!(self.len() == 1, "backward: the loss must be one number, its shape is {:?}", self.shape());
        assert!(self.requires_grad(), "backward: the loss does not depend on any parameter");
        let one = Tensor::full(self.device(), self.shape(), 1.0, self.dtype());
        run_backward(&[(self, &one)])
    }

    /// Gradients of `sum(self * upstream)`: backward from a tensor whose gradient is known.
    ///
    /// # Panics
    /// If the shapes differ, or as [`backward`](Tensor::backward).
    #[track_caller]
    pub fn backward_from(&self, upstream: &Tensor) -> Gradients {
        assert!(self.shape() == upstream.shape(), "backward_from: gradient {:?} for a tensor {:?}", upstream.shape(), self.shape());
        run_backward(&[(self, upstream)])
    }

    fn with_node(self, op: &'static str, outputs: usize, body: Body) -> Tensor {
        let node = Arc::new(Node::new(op, outputs, Some(body)));
        self.with_edge(Some(Edge { node, index: 0 }))
    }
}

/// Attaches one rule to several outputs of an op. The rule sees `None` for outputs whose gradient is zero.
pub(crate) fn with_grads_of<const M: usize>(
    outputs: [Tensor; M],
    op: &'static str,
    inputs: &[&Tensor],
    rule: impl FnOnce(&[Option<Tensor>]) -> Vec<Option<Tensor>> + Send + 'static,
) -> [Tensor; M] {
    with_grads_of_in_place(outputs, op, inputs, move |upstream, _| rule(upstream))
}

/// [`with_grads_of`] for a rule that can write gradients of parameters where they belong.
pub(crate) fn with_grads_of_in_place<const M: usize>(
    outputs: [Tensor; M],
    op: &'static str,
    inputs: &[&Tensor],
    rule: impl FnOnce(&[Option<Tensor>], &mut Places<'_>) -> Vec<Option<Tensor>> + Send + 'static,
) -> [Tensor; M] {
    if !RECORDING.get() || inputs.iter().all(|x| !x.requires_grad()) {
        return outputs;
    }
    let body = Body { rule: Box::new(rule), inputs: inputs.iter().map(|x| x.edge().cloned()).collect() };
    let node = Arc::new(Node::new(op, M, Some(body)));
    let mut index = 0;
    outputs.map(|output| {
        let edge = Edge { node: node.clone(), index };
        index += 1;
        output.with_edge(Some(edge))
    })
}

/// The op panics at forward when it has no gradient and one would be needed.
#[track_caller]
pub(crate) fn assert_no_grad(op: &'static str, inputs: &[&Tensor]) {
    assert!(
        !RECORDING.get() || inputs.iter().all(|x| !x.requires_grad()),
        "{op}: has no gradient, but an input needs one: detach it, or call inside no_grad"
    );
}

/// One backward pass from several outputs with their gradients.
pub(crate) fn run_backward(roots: &[(&Tensor, &Tensor)]) -> Gradients {
    let mut gradients = Gradients::new();
    propagate(roots, &mut gradients);
    no_grad(|| gradients.settle());
    gradients
}

/// Adds what arrives at parameters to `gradients`.
fn propagate(roots: &[(&Tensor, &Tensor)], gradients: &mut Gradients) {
    // Descending ids: every consumer of a node was made after it.
    let mut pending: BTreeMap<u64, (Arc<Node>, Vec<Option<Tensor>>)> = BTreeMap::new();
    no_grad(|| {
        for (output, upstream) in roots {
            if let Some(edge) = output.edge() {
                deliver(&mut pending, gradients, edge.clone(), upstream.detach());
            }
        }
        while let Some((_, (node, upstream))) = pending.pop_last() {
            let Body { rule, inputs } =
                node.take_body().unwrap_or_else(|| panic!("backward: the graph of {} was already used and freed", node.op));
            let downstream = rule(&upstream, &mut Places { gradients, inputs: &inputs });
            drop(upstream);
            assert_eq!(downstream.len(), inputs.len(), "{}: the rule returns one gradient per input", node.op);
            for (edge, gradient) in inputs.into_iter().zip(downstream) {
                if let (Some(edge), Some(gradient)) = (edge, gradient) {
                    deliver(&mut pending, gradients, edge, gradient);
                }
            }
        }
    });
}

/// Adds a gradient where it belongs: to a parameter, or to a node that waits for its turn.
fn deliver(pending: &mut BTreeMap<u64, (Arc<Node>, Vec<Option<Tensor>>)>, gradients: &mut Gradients, edge: Edge, gradient: Tensor) {
    if edge.is_leaf() {
        return gradients.add(&edge, gradient);
    }
    let Edge { node, index } = edge;
    let (_, slots) = pending.entry(node.id).or_insert_with(|| {
        let slots = vec![None; node.outputs];
        (node, slots)
    });
    slots[index] = Some(match slots[index].take() {
        Some(before) => before.add(&gradient),
        None => gradient,
    });
}
