//! Families of models. A family is a folder and a line in the list `FAMILIES`; nothing else in Percept knows its name.

pub(crate) mod family;
mod limits;
mod mrope;
#[cfg(test)]
mod toy;

use crate::config::{Architecture, ModelConfig};
use crate::error::ModelError;
use crate::hf::json::Fields;
use crate::layers::scope::{Declared, Parameter, record};
use family::Family;

/// Declares the families: a module and an entry of `FAMILIES` for each line. The tests have one of their own.
macro_rules! families {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*

        /// Every family.
        const FAMILIES: &[&Family] = &[
            $(&$name::FAMILY,)*
            #[cfg(test)]
            &toy::FAMILY,
        ];
    };
}

families! {
    idefics3,
    qwen2_5_vl,
}

/// The family of a model.
pub(crate) fn of(config: &ModelConfig) -> &'static Family {
    let of = |family: &&&Family| family.architectures.contains(&config.architecture);
    FAMILIES.iter().find(of).unwrap_or_else(|| panic!("no family has {}", config.architecture.class_name))
}

/// The family and class that a `config.json` names, in `architectures` or else in `model_type`.
pub(crate) fn named_in(file: &Fields) -> Result<(&'static Family, Architecture), ModelError> {
    let all = || FAMILIES.iter().flat_map(|family| family.architectures.iter().map(|&architecture| (*family, architecture)));
    let names = |name: fn(Architecture) -> &'static str| all().map(|(_, architecture)| name(architecture)).collect::<Vec<_>>().join(" or ");
    if let Some(classes) = file.map().get("architectures").filter(|value| !value.is_null()) {
        return all()
            .find(|(_, architecture)| *classes == serde_json::json!([architecture.class_name]))
            .ok_or_else(|| file.error("architectures", &names(|architecture| architecture.class_name), classes));
    }
    let model_type = file.text("model_type")?;
    all()
        .find(|(_, architecture)| model_type == Some(architecture.model_type))
        .ok_or_else(|| file.error("model_type", &names(|architecture| architecture.model_type), model_type.unwrap_or("nothing")))
}

/// Every weight of a model, in the order in which its layers declare them. The n-th draws its initial values from stream n.
pub(crate) fn parameters(config: &ModelConfig) -> Vec<Parameter> {
    declared(config).parameters
}

/// What the layers of a model declare.
pub(crate) fn declared(config: &ModelConfig) -> Declared {
    record(|scope| drop((of(config).build)(config, scope)))
}

/// Name and shape of every tensor in a checkpoint of this model, in Hugging Face's names. A tied head has no tensor of its own.
pub fn parameter_shapes(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    parameters(config).into_iter().map(|parameter| (parameter.name, parameter.shape)).collect()
}

/// Number of weights of this model; a tied table counts once.
pub fn parameter_count(config: &ModelConfig) -> usize {
    parameters(config).iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum()
}
