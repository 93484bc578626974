//! The numbers of a step, in the order they were set.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The numbers of a step, in the order they were set. As JSON: `{"step": 1, "reward": 0.31, …}`; NaN and infinities are `null`.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    step: u64,
    values: Vec<(String, f64)>,
}

impl Metrics {
    /// No numbers yet.
    pub fn new(step: u64) -> Metrics {
        Metrics { step, values: Vec::new() }
    }

    /// The numbers of `step`, in this order.
    ///
    /// # Panics
    /// As [`Metrics::set`].
    #[track_caller]
    pub fn of(step: u64, values: &[(&str, f64)]) -> Metrics {
        let mut metrics = Metrics::new(step);
        for (name, value) in values {
            metrics.set(name, *value);
        }
        metrics
    }

    /// The step, counted from 1; 0 is before the first.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Sets a number. Names are those of [`super::metric_names`] where it has one that fits.
    ///
    /// # Panics
    /// If it is set already, or the name is `step`.
    #[track_caller]
    pub fn set(&mut self, name: &str, value: f64) {
        assert!(name != STEP && self.get(name).is_none(), "metrics: {name} is set already, in step {}", self.step);
        self.values.push((name.to_owned(), value));
    }

    /// A number, if it is set.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Names and numbers, in order.
    pub fn values(&self) -> &[(String, f64)] {
        &self.values
    }
}

const STEP: &str = "step";

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + self.values.len()))?;
        map.serialize_entry(STEP, &self.step)?;
        for (name, value) in &self.values {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Metrics, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

/// A map of serde_json's would sort its keys.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Metrics;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the numbers of a step")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Metrics, M::Error> {
        let (mut step, mut values) = (None, Vec::new());
        while let Some(name) = map.next_key::<String>()? {
            if name == STEP {
                step = Some(map.next_value()?);
            } else {
                values.push((name, map.next_value::<Option<f64>>()?.unwrap_or(f64::NAN)));
            }
        }
        Ok(Metrics { step: step.ok_or_else(|| M::Error::missing_field(STEP))?, values })
    }
}
