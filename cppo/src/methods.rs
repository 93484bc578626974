//! The methods, one file each, and what they share.
//!
//! A method is *base loss × views × token score × token weight × response factor + auxiliary terms*:
//!
//! | part | where a method says it | shared pieces |
//! |---|---|---|
//! | which other pictures a response is read on | [`Method::views`] | [`view`] |
//! | how good each response of a group was, and which groups are worth an update | [`Method::advantages`], [`Method::filter`] | [`advantages`], [`filter`] |
//! | a score of every token, a weight made from it, and a factor on the response | [`Method::weigh`] | [`signal`], [`selection`] |
//! | the loss, as a sum of terms | [`Method::terms`] | [`term`], [`policy`], [`divergence`], [`micro_batch`] |
//!
//! An update has two phases. First every response is read, and [`Method::weigh`] sees all of them at once, so that quantiles, minima
//! and counts are those of the whole update. Then micro-batches go through the model one by one, and [`Method::terms`] turns each into losses
//! per token. The update divides every term by its count in the whole update, so no result depends on how the update is cut into micro-batches.
//!
//! To add a method, write its file and add a line to the list below; see `docs/adding-a-method.md`.

pub mod advantages;
pub mod divergence;
pub mod filter;
pub mod micro_batch;
pub mod policy;
pub mod selection;
pub mod signal;
pub mod term;
pub mod view;

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use advantages::group_advantages;
use filter::GroupFilter;
use micro_batch::MicroBatch;
use policy::PolicyConfig;
use selection::SelectionConfig;
use signal::{Measure, Signal, Weighing};
use term::Term;
use view::{Moment, RolloutView, ViewUse};

/// Whose settings a method has where none are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Those that the fields' documentation names: the paper's as far as they do not depend on the model and the data.
    #[default]
    Default,
    /// The paper's, with its group size.
    Paper,
    /// Those of the code that the authors have released.
    Code,
}

/// What makes a method different from the others. Every function except [`terms`](Method::terms) does by default what plain policy optimisation does.
pub trait Method {
    /// Checks that every field of the method's own table is in range.
    ///
    /// # Errors
    /// The first field that is out of range, in words.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Defaults of the shared fields for clipping and for the divergence from the reference policy.
    fn policy_defaults(&self) -> PolicyConfig {
        PolicyConfig::default()
    }

    /// Settings of the section `method` that differ from the defaults where it says `preset = "paper"` or `"code"`; none if nothing does.
    fn preset(preset: Preset) -> Option<Value>
    where
        Self: Sized,
    {
        let _ = preset;
        None
    }

    /// The advantages of one group: how much better each response was than the others. `rewards [group_size] -> [group_size]`
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        group_advantages(rewards, rewards.len())
    }

    /// What a response's length of `tokens` adds to its reward before the advantages are computed, where `longest` is the longest that counts.
    fn reward_of_length(&self, tokens: usize, longest: usize) -> f32 {
        let _ = (tokens, longest);
        0.0
    }

    /// Which groups are worth an update, if not all are; the others are replaced with responses to fresh prompts.
    fn filter(&self) -> Option<&GroupFilter> {
        None
    }

    /// The other pictures that responses are read on at this moment of a run, in the order in which they are drawn.
    fn views(&self, moment: Moment) -> Vec<ViewUse> {
        let _ = moment;
        Vec::new()
    }

    /// What [`weigh`](Method::weigh) wants to know of the tokens on the original picture besides probability and entropy.
    fn measures(&self) -> Vec<Measure> {
        Vec::new()
    }

    /// A picture besides the original that some responses of every group are sampled on at this moment of a run.
    fn rollout_view(&self, moment: Moment) -> Option<RolloutView> {
        let _ = moment;
        None
    }

    /// Whether a response has a gradient of its own, apart from those through perturbed pictures and the reference policy. Responses without any
    /// gradient are left out.
    fn trains(&self, response: &Signal) -> bool {
        response.advantage != 0.0
    }

    /// Whether [`weigh`](Method::weigh) wants to see every response of an update before its first gradient.
    fn weighs(&self) -> bool {
        false
    }

    /// A weight for every token and a factor for every response, computed from how the policy reads them. `responses` are all responses of the update,
    /// from every rank, in order. Random draws depend only on `seed` and the response's number.
    fn weigh(&self, responses: &[&Signal], moment: Moment, seed: u64) -> Weighing {
        let _ = (moment, seed);
        Weighing::even(responses.len())
    }

    /// The loss of a micro-batch, as terms per token. A term with no token in this micro-batch has `per_token: None`.
    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term>;

    /// How the method chooses perception tokens, if it does: what `percept inspect` shows.
    fn selection(&self) -> Option<&SelectionConfig> {
        None
    }
}

/// Declares the methods. Each line makes a module, a variant of [`AnyMethod`], and a table of the configuration.
macro_rules! methods {
    ($($(#[doc = $about:literal])* $name:ident: $Type:ident),* $(,)?) => {
        $(pub mod $name;)*

        /// A method with its settings.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyMethod {
            $($(#[doc = $about])* $Type($name::$Type),)*
        }

        impl AnyMethod {
            /// The names of all methods, as configurations write them.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// What each of them is, in a line.
            pub const ABOUT: &[&str] = &[$(concat!($($about),*)),*];

            /// The name of this one.
            pub fn name(&self) -> &'static str {
                match self {
                    $(AnyMethod::$Type(_) => stringify!($name),)*
                }
            }

            /// The method called `name`, with the settings of its `table`.
            ///
            /// # Errors
            /// If there is no such method, or a setting has the wrong type.
            pub fn read(name: &str, table: Map<String, Value>) -> Result<AnyMethod, String> {
                match name {
                    $(stringify!($name) => settings(table).map(AnyMethod::$Type),)*
                    _ => Err(format!("expected one of {}, got {name}", AnyMethod::NAMES.join(", "))),
                }
            }

            /// What the section `method` says with a preset, besides what is written in it.
            pub fn preset(name: &str, preset: Preset) -> Map<String, Value> {
                let settings = match name {
                    $(stringify!($name) => <$name::$Type as Method>::preset(preset),)*
                    _ => None,
                };
                match settings {
                    Some(Value::Object(settings)) => settings,
                    _ => Map::new(),
                }
            }

            /// Its settings, as the table that [`read`](AnyMethod::read) accepts.
            pub fn table(&self) -> Map<String, Value> {
                match self {
                    $(AnyMethod::$Type(method) => table_of(method),)*
                }
            }

            /// What it does.
            pub fn as_method(&self) -> &dyn Method {
                match self {
                    $(AnyMethod::$Type(method) => method,)*
                }
            }
        }
    };
}

methods! {
    /// Group Relative Policy Optimization (arXiv 2402.03300).
    grpo: Grpo,
    /// Contrastive Perception Policy Optimization (arXiv 2601.00501).
    cppo: Cppo,
    /// Perception-Aware Policy Optimization (arXiv 2507.06448).
    papo: Papo,
    /// Decoupled Clip and Dynamic Sampling Policy Optimization (arXiv 2503.14476).
    dapo: Dapo,
    /// Visually-Perceptive Policy Optimization (arXiv 2510.09285).
    vppo: Vppo,
    /// Perception-Grounded Policy Optimization (arXiv 2604.01840).
    pgpo: Pgpo,
    /// Differential Visual Reasoning Policy (arXiv 2601.06801).
    dvrp: Dvrp,
    /// Token Reweighting by reasoning and perception (arXiv 2603.25077).
    tor: Tor,
    /// Visual-Entropy Policy Optimization (arXiv 2606.03937).
    vepo: Vepo,
    /// Perception-Exploration Policy Optimization (arXiv 2603.22847).
    pepo: Pepo,
    /// NoisyRollout (arXiv 2504.13055).
    noisy_rollout: NoisyRollout,
    /// View-Consistent Policy Optimization, a method of this project.
    vcpo: Vcpo,
}

/// The method that runs if a configuration names none.
pub const DEFAULT: &str = "cppo";

impl AnyMethod {
    /// The method called `name` with its defaults, or none.
    pub fn named(name: &str) -> Option<AnyMethod> {
        AnyMethod::read(name, Map::new()).ok()
    }
}

impl fmt::Display for AnyMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn table_of(settings: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(table)) => table,
        other => unreachable!("the settings of a method are a table of plain data: {other:?}"),
    }
}

fn settings<T: DeserializeOwned>(table: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(table)).map_err(|error| error.to_string())
}
