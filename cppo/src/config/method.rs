//! The section `method`: the algorithm, the fields that all algorithms share, and the algorithm's own table.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::methods::policy::{Base, PolicyConfig};
use crate::methods::selection::SelectionConfig;
use crate::methods::{AnyMethod, DEFAULT, Method, Preset};

/// The algorithm and its settings.
///
/// ```toml
/// [method]
/// name = "cppo"            # one of the files in cppo/src/methods/
/// group_size = 8           # shared fields
/// kl_coef = 0.01
///
/// [method.cppo]            # the method's own
/// cpl_coef = 0.01
/// ```
///
/// Fields that are left out, shared or the method's own, take the values of the `preset`: `default`, `paper` or `code`. Tables of other methods are checked but not used, so one file can serve several methods.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodConfig {
    /// The method with its own settings: the key `name`, and the table of that name. Default `cppo`.
    pub own: AnyMethod,
    /// Where the values of fields come from that are not given. Default `default`.
    pub preset: Preset,
    /// Responses per prompt (G), at least 2. Default 8.
    pub group_size: usize,
    /// Limits on how far the policy may change: `base`, `clip_low`, `clip_high`, `dual_clip`, `kl_coef`.
    pub policy: PolicyConfig,
}

/// The fields of `[method]` that every method has, as they stand in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    preset: Preset,
    group_size: usize,
    base: Base,
    longest_length: usize,
    clip_low: f64,
    clip_high: f64,
    dual_clip: f64,
    kl_coef: f64,
}

const GROUP_SIZE: usize = 8;

impl MethodConfig {
    /// A method with its defaults.
    ///
    /// # Panics
    /// If there is no method called `name`.
    #[track_caller]
    pub fn named(name: &str) -> MethodConfig {
        let Some(own) = AnyMethod::named(name) else { panic!("MethodConfig::named: {name}: expected one of {:?}", AnyMethod::NAMES) };
        let policy = own.as_method().policy_defaults();
        MethodConfig { own, preset: Preset::Default, group_size: GROUP_SIZE, policy }
    }

    /// What the method does.
    pub fn method(&self) -> &dyn Method {
        self.own.as_method()
    }

    /// How perception tokens are chosen: the method's settings, or the defaults if it chooses none.
    pub fn selection(&self) -> SelectionConfig {
        self.method().selection().cloned().unwrap_or_default()
    }

    /// The first field that is out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.group_size < 2 {
            return Err(format!("group_size: expected at least 2, got {}", self.group_size));
        }
        self.policy.check()?;
        self.method().check().map_err(|problem| format!("{}.{problem}", self.own.name()))
    }

    fn shared(&self) -> Shared {
        let PolicyConfig { base, longest_length, clip_low, clip_high, dual_clip, kl_coef } = self.policy;
        Shared { preset: self.preset, group_size: self.group_size, base, longest_length, clip_low, clip_high, dual_clip, kl_coef }
    }

    /// The tables of all methods, for the list of keys that exist.
    pub(super) fn every_table() -> impl Iterator<Item = (&'static str, Map<String, Value>)> {
        AnyMethod::NAMES.iter().filter_map(|name| Some((*name, AnyMethod::named(name)?.table())))
    }
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self::named(DEFAULT)
    }
}

impl Serialize for MethodConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let Value::Object(shared) = serde_json::to_value(self.shared()).map_err(S::Error::custom)? else {
            return Err(S::Error::custom("the shared fields are a table"));
        };
        let mut whole = Map::from_iter([("name".to_owned(), Value::from(self.own.name()))]);
        whole.extend(shared);
        let own = self.own.table();
        if !own.is_empty() {
            whole.insert(self.own.name().to_owned(), Value::Object(own));
        }
        whole.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MethodConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut given = Map::<String, Value>::deserialize(deserializer)?;
        let name = match given.remove("name") {
            None => DEFAULT.to_owned(),
            Some(Value::String(name)) => name,
            Some(other) => return Err(D::Error::custom(format!("expected one of {}, got {other}", AnyMethod::NAMES.join(", ")))),
        };
        let preset = match given.get("preset") {
            Some(preset) => Preset::deserialize(preset).map_err(|e| D::Error::custom(format!("preset: {e}")))?,
            None => Preset::Default,
        };
        let mut of_preset = AnyMethod::preset(&name, preset);
        let own_of_preset = match of_preset.remove(&name) {
            Some(Value::Object(table)) => table,
            _ => Map::new(),
        };
        let mut own = AnyMethod::read(&name, own_of_preset.clone()).map_err(D::Error::custom)?;
        for known in AnyMethod::NAMES {
            let table = match given.remove(*known) {
                None => continue,
                Some(Value::Object(table)) => table,
                Some(other) => return Err(D::Error::custom(format!("{known}: expected a table, got {other}"))),
            };
            let read = AnyMethod::read(known, table.clone()).map_err(D::Error::custom)?;
            if *known == name {
                let mut whole = own_of_preset.clone();
                whole.extend(table);
                own = if whole.is_empty() { read } else { AnyMethod::read(known, whole).map_err(D::Error::custom)? };
            }
        }
        let defaults = MethodConfig { policy: own.as_method().policy_defaults(), preset, group_size: GROUP_SIZE, own };
        let mut shared = serde_json::to_value(defaults.shared()).map_err(D::Error::custom)?;
        for (field, value) in of_preset.into_iter().chain(given) {
            shared[field] = value;
        }
        let Shared { preset: _, group_size, base, longest_length, clip_low, clip_high, dual_clip, kl_coef } =
            Shared::deserialize(shared).map_err(D::Error::custom)?;
        Ok(MethodConfig { group_size, policy: PolicyConfig { base, longest_length, clip_low, clip_high, dual_clip, kl_coef }, ..defaults })
    }
}
