//! Which responses go through the model together.

use crate::methods::view::ViewUse;
use crate::training::group::Group;
use crate::training::reduce::Adding;

/// How responses are cut into micro-batches, each of at most so many tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Filled up, with the responses of as many groups as fit.
    Packed(usize),
    /// Every group by itself, in parts only if it is longer: what becomes of it then does not depend on other groups.
    ByGroup(usize),
}

impl Cut {
    /// The cut for gradients that are added like this.
    pub fn of(adding: Adding, tokens: usize) -> Cut {
        match adding {
            Adding::Packed => Cut::Packed(tokens),
            Adding::Tree(_) => Cut::ByGroup(tokens),
        }
    }
}

impl From<usize> for Cut {
    fn from(tokens: usize) -> Cut {
        Cut::Packed(tokens)
    }
}

/// The responses of a micro-batch as (group, response), those of a group side by side.
pub(super) type Part = Vec<(usize, usize)>;

/// Cuts the responses that are `wanted` into micro-batches, in order. A single response with its prompts may be longer and is
/// then one by itself.
///
/// # Panics
/// If a response is empty.
#[track_caller]
pub(super) fn micro_batches(groups: &[Group], uses: &[ViewUse], cut: Cut, wanted: impl Fn(&Group, usize) -> bool) -> Vec<Part> {
    let (Cut::Packed(budget) | Cut::ByGroup(budget)) = cut;
    let mut parts: Vec<Part> = Vec::new();
    let mut packed = Packed::default();
    for (number, group) in groups.iter().enumerate() {
        for response in 0..group.responses.len() {
            let length = group.responses[response].tokens().len();
            assert!(length > 0, "a response of group {number} is empty: number {response} of {}", group.responses.len());
            if !wanted(group, response) {
                continue;
            }
            let mut cost = packed.cost(number, group, response, uses);
            let is_of_another = matches!(cut, Cut::ByGroup(_)) && packed.group != Some(number);
            if parts.is_empty() || is_of_another || packed.tokens + cost > budget {
                parts.push(Part::new());
                packed = Packed::default();
                cost = packed.cost(number, group, response, uses);
            }
            packed.add(number, group, response, uses, cost);
            parts.last_mut().expect("there is one").push((number, response));
        }
    }
    parts
}

/// What a micro-batch in the making holds.
#[derive(Default)]
struct Packed {
    tokens: usize,
    /// The group of its last response: only that one's prompts can be shared with what follows.
    group: Option<usize>,
    /// The perturbed pictures with that group's prompt, by their place in the group.
    views: Vec<usize>,
}

impl Packed {
    /// Tokens that a response adds: its own on each picture, and a prompt for each picture on which none of its group has been read yet.
    fn cost(&self, number: usize, group: &Group, response: usize, uses: &[ViewUse]) -> usize {
        let (length, prompt) = (group.responses[response].tokens().len(), group.encoded.tokens.len());
        let is_open = self.group == Some(number);
        let with_prompt = |is_packed: bool| length + if is_packed { 0 } else { prompt };
        let pictures = group.views_of(response, uses).map(|of| group.pictures_of(response, of.view));
        let on_views = pictures.map(|place| with_prompt(is_open && place.is_some_and(|place| self.views.contains(&place))));
        with_prompt(is_open) + on_views.sum::<usize>()
    }

    fn add(&mut self, number: usize, group: &Group, response: usize, uses: &[ViewUse], cost: usize) {
        if self.group != Some(number) {
            (self.group, self.views) = (Some(number), Vec::new());
        }
        self.tokens += cost;
        self.views.extend(group.views_of(response, uses).filter_map(|of| group.pictures_of(response, of.view)));
    }
}
