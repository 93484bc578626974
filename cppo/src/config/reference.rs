//! Every setting with its default, what it accepts and what it means.
//!
//! The meaning is the doc comment of the field (`documented.rs`), the default is that of the program, and what is accepted is found out by trying: values that are far too
//! small or too large are refused, and the refusal says what was expected. So nothing here can say anything else than what the program does.

use toml::{Table, Value};

use super::compare::CompareSection;
use super::documented::{Item, Part, item, item_in};
use super::load::{ConfigError, Settings};
use crate::methods::AnyMethod;

/// A table of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Its dotted name; empty for what stands above all tables.
    pub key: String,
    /// What it is about.
    pub about: String,
    /// Whether it is left out by default.
    pub is_optional: bool,
    /// Whether there may be several of it (`[[key]]`).
    pub is_list: bool,
    /// Its settings, without those of tables inside it.
    pub settings: Vec<Setting>,
}

/// A field of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its dotted name.
    pub key: String,
    /// What kind of value it has, in words.
    pub kind: String,
    /// Its value where it is not given, if it then has one.
    pub default: Option<Value>,
    /// What it means, with its unit.
    pub about: String,
    /// Which values are accepted, in words; empty if the kind says it.
    pub accepts: Vec<String>,
    /// The names that it can have and what each means; empty if it is no name.
    pub choices: Vec<(String, String)>,
}

impl Setting {
    /// The last part of its key.
    pub fn name(&self) -> &str {
        self.key.rsplit('.').next().unwrap_or_default()
    }
}

/// All settings of a file, section by section.
pub fn reference<S: Settings>() -> Vec<Section> {
    let name = std::any::type_name::<S>().rsplit("::").next().unwrap_or_default();
    let defaults = Table::try_from(S::default()).expect("a configuration is a table");
    let mut walk = Walk { defaults, every: S::every_key(), sections: Vec::new() };
    let root = item(name, None).expect("the build collects every struct that serde reads");
    walk.section(Level { key: String::new(), about: root.first_paragraph(), item: root, is_optional: false, is_list: false });
    for setting in walk.sections.iter_mut().filter(|section| !section.is_list).flat_map(|section| &mut section.settings) {
        setting.accepts = accepted::<S>(setting);
    }
    walk.sections
}

/// The section of a comparison; what follows it in the file are the settings of a run.
pub fn compare_reference() -> Vec<Section> {
    let defaults = Table::from_iter([("compare".to_owned(), Value::try_from(CompareSection::default()).expect("a section is a table"))]);
    let mut walk = Walk { every: defaults.clone(), defaults, sections: Vec::new() };
    let root = item("CompareSection", None).expect("the build collects every struct that serde reads");
    walk.section(Level {
        key: "compare".into(),
        about: "What is compared, and how it is measured.".into(),
        item: root,
        is_optional: false,
        is_list: false,
    });
    walk.sections
}

struct Walk {
    defaults: Table,
    every: Table,
    sections: Vec<Section>,
}

/// A table that is yet to be looked at.
struct Level {
    key: String,
    about: String,
    item: &'static Item,
    is_optional: bool,
    is_list: bool,
}

impl Walk {
    fn section(&mut self, level: Level) {
        let (mut settings, mut inside) = (Vec::new(), Vec::new());
        self.fields(&level, level.item, &mut settings, &mut inside);
        let Level { key, about, is_optional, is_list, .. } = level;
        if !settings.is_empty() {
            self.sections.push(Section { key, about, is_optional, is_list, settings });
        }
        inside.into_iter().for_each(|level| self.section(level));
    }

    fn fields(&self, level: &Level, item: &'static Item, settings: &mut Vec<Setting>, inside: &mut Vec<Level>) {
        let is_method = item.name == "MethodConfig";
        for part in item.parts.iter().filter(|part| !part.is_skipped()) {
            let behind = item.behind(part);
            match behind {
                // the method with its settings: its name, and tables of their own
                _ if is_method && part.name == "own" => {
                    let choices =
                        AnyMethod::NAMES.iter().zip(AnyMethod::ABOUT).map(|(name, about)| ((*name).to_owned(), about.trim().to_owned()));
                    settings.push(self.setting(level, "name", part, choices.collect()));
                    inside.extend(AnyMethod::NAMES.iter().filter_map(|name| method_table(name)));
                }
                Some(of) if part.is_flat() || (is_method && part.name == "policy") => self.fields(level, of, settings, inside),
                Some(of) if !of.is_enum => {
                    let (key, is_list) = (join(&level.key, part.name), part.is_list());
                    if is_list {
                        settings.push(self.setting(level, part.name, part, Vec::new()));
                    }
                    let is_optional = level.is_optional || part.is_optional() || is_list;
                    inside.push(Level { key, about: part.about(), item: of, is_optional, is_list });
                }
                Some(of) => {
                    let choices =
                        of.parts.iter().filter(|part| !part.is_skipped()).map(|variant| (variant.name_of_variant(), variant.about()));
                    settings.push(self.setting(level, part.name, part, choices.collect()));
                }
                None => settings.push(self.setting(level, part.name, part, Vec::new())),
            }
        }
    }

    fn setting(&self, level: &Level, name: &str, part: &Part, choices: Vec<(String, String)>) -> Setting {
        let key = join(&level.key, name);
        let of_section = || value_at(&self.every, &key).filter(|_| !part.is_optional());
        let default = value_at(&self.defaults, &key).or_else(of_section).filter(|_| !part.about().contains("No default")).cloned();
        Setting { key, kind: part.kind_in_words(), default, about: part.about(), accepts: Vec::new(), choices }
    }
}

fn method_table(name: &str) -> Option<Level> {
    let type_name: String = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
    let item = item_in(&format!("methods/{name}.rs"), &type_name)?;
    let about = AnyMethod::NAMES.iter().zip(AnyMethod::ABOUT).find(|(known, _)| **known == name)?.1.trim().to_owned();
    Some(Level { key: format!("method.{name}"), about, item, is_optional: false, is_list: false })
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// The value of a dotted key.
pub(super) fn value_at<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((first, rest)) => value_at(table.get(first)?.as_table()?, rest),
    }
}

/// What the program expects where it refuses values that are too small, too large, or not numbers.
fn accepted<S: Settings>(setting: &Setting) -> Vec<String> {
    let tried: &[&str] = match setting.kind.as_str() {
        "whole number" => &["0", "255", "9223372036854775807"],
        "number" => &["-1e30", "0.0", "1e30", "nan"],
        "two numbers" => &["[-1e30, -1e30]", "[1e30, 1e30]", "[nan, nan]"],
        _ => &[],
    };
    let of_method =
        setting.key.strip_prefix("method.").and_then(|rest| rest.split_once('.')).map(|(name, _)| format!("method.name={name}"));
    let mut expected: Vec<String> = Vec::new();
    for value in tried {
        let overrides: Vec<String> = of_method.iter().cloned().chain([format!("{}={value}", setting.key)]).collect();
        let Err(ConfigError::Range { problem, .. }) = S::parse("", "defaults", &overrides) else { continue };
        let Some(words) = problem.strip_prefix(&format!("{}: expected ", setting.key)) else { continue };
        let words = words.split(", got").next().unwrap_or(words).split("; got").next().unwrap_or(words).to_owned();
        if !expected.contains(&words) {
            expected.push(words);
        }
    }
    expected
}
