//! The reference of all settings as text, as a page, and as a file with every default.

use std::fmt::Write;

use toml::{Table, Value};

use super::keys::{known_keys, nearest};
use super::load::Settings;
use super::other_names::{other_name, other_names};
use super::reference::{Section, Setting, compare_reference, reference, value_at};
use super::sft::SftRunConfig;
use super::train::Config;
use super::wrap::wrapped;

/// All settings, for a terminal of 80 columns.
pub fn text(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        text += &wrapped(&format!("{} ", heading(section)), "    ", &section.about);
        for setting in &section.settings {
            text += &described(setting, "  ");
        }
        text.push('\n');
    }
    text
}

/// A TOML file with every setting at its default and its meaning above it. What has no value unless it is given is commented out. It reads back as the defaults.
pub fn defaults(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        let off = if section.is_optional { "# " } else { "" };
        text += &wrapped("# ", "# ", &section.about);
        if !section.key.is_empty() {
            writeln!(text, "{off}{}", heading(section)).expect("memory");
        }
        for setting in section.settings.iter().filter(|setting| !is_table(setting, sections)) {
            text += &wrapped("# ", "# ", &meaning(setting));
            match &setting.default {
                Some(value) => writeln!(text, "{off}{} = {}", setting.name(), shown(value)).expect("memory"),
                None => writeln!(text, "# {} =", setting.name()).expect("memory"),
            }
        }
        text.push('\n');
    }
    text
}

/// The page `docs/configuration.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         Every setting with its default and its meaning. This page is written by `percept config --markdown`, from the comments in the source; a test holds it to that.\n\n\
         `percept config` prints it, `percept config --explain KEY` one setting, `percept config --defaults` a TOML file with all of them. `--set KEY=VALUE` sets one on the\n\
         command line: the value is TOML, a bare word is text, and where text is expected a number is text, too. What other projects call them:\n\
         [coming-from-trl.md](coming-from-trl.md).\n",
    );
    let train = reference::<Config>();
    page += "\n## Training: `train`, `eval`, `inspect`, `data`, `bench`\n\n";
    page += &tables(&train);
    let same = |section: &Section| train.iter().any(|known| known.key == section.key && known.settings == section.settings);
    let (shared, own): (Vec<Section>, Vec<Section>) = reference::<SftRunConfig>().into_iter().partition(same);
    let names: Vec<String> = shared.iter().map(|section| format!("`{}`", section.key)).collect();
    page += &format!("\n## Supervised training: `sft`\n\nThe same as above: {}. Besides:\n\n", names.join(", "));
    page += &tables(&own);
    page += "\n## Comparisons: `compare`\n\nAll settings of training, which the cells share, and:\n\n";
    page + &tables(&compare_reference())
}

/// The page `docs/coming-from-trl.md`.
pub fn other_names_page() -> String {
    let mut page = String::from(
        "# Coming from TRL, verl or EasyR1\n\n\
         What their settings are called here; an unknown key that is in this list is an error that says so. Names that are the same but for their table (`learning_rate`, `weight_decay`,\n\
         `max_grad_norm`, `seed`, `temperature`, `top_p`) are found, too. This page is written by `percept config --names`.\n",
    );
    let mut project = "";
    for name in other_names() {
        if name.project != project {
            project = name.project;
            let title = if project == "verl" { "verl, EasyR1" } else { project };
            page += &format!("\n## {title}\n\n| there | here | |\n|---|---|---|\n");
        }
        let ours = name.ours.map_or("none".to_owned(), |key| format!("`{key}`"));
        page += format!("| `{}` | {ours} | {}", name.theirs, name.note).trim_end();
        page += " |\n";
    }
    page + "\nWhat each means: [configuration.md](configuration.md).\n"
}

/// One setting, or a section: by its key, or by the end of its key.
///
/// # Errors
/// What was probably meant, if there is none of this name.
pub fn explain(key: &str) -> Result<String, String> {
    let all: Vec<Section> = [reference::<Config>(), reference::<SftRunConfig>(), compare_reference()].concat();
    if let Some(section) = all.iter().find(|section| section.key == key) {
        return Ok(self::text(std::slice::from_ref(section)));
    }
    let settings = || all.iter().flat_map(|section| &section.settings);
    if let Some(setting) = settings().find(|setting| setting.key == key) {
        return Ok(described(setting, ""));
    }
    let mut ends: Vec<&Setting> = Vec::new();
    for setting in settings().filter(|setting| setting.key.ends_with(&format!(".{key}"))) {
        if ends.iter().all(|known| known.key != setting.key) {
            ends.push(setting);
        }
    }
    if !ends.is_empty() {
        return Ok(ends.iter().map(|setting| described(setting, "")).collect());
    }
    if let Some(name) = other_name(key) {
        let own = name.ours.and_then(|ours| settings().find(|setting| setting.key == ours)).map(|setting| described(setting, ""));
        return Ok(format!("{}\n{}", name.in_words(), own.map(|text| format!("\n{text}")).unwrap_or_default()));
    }
    let known: Vec<String> = [Config::every_key(), SftRunConfig::every_key()].iter().flat_map(known_keys).collect();
    let advice = nearest(key, &known).map(|key| format!("; did you mean {key}?"));
    Err(format!("{key}: no such key{}", advice.unwrap_or("; percept config lists them".into())))
}

/// What is in force, as TOML: every value that is not the default has the default beside it.
pub fn in_force<S: Settings>(settings: &S) -> String {
    let table = Table::try_from(settings).expect("a configuration is a table");
    let mut text = String::new();
    for section in reference::<S>() {
        let set: Vec<(&Setting, &Value)> = section
            .settings
            .iter()
            .filter_map(|setting| Some((setting, value_at(&table, &setting.key)?)))
            .filter(|(_, value)| !value.is_table())
            .collect();
        if set.is_empty() {
            continue;
        }
        if !section.key.is_empty() {
            writeln!(text, "[{}]", section.key).expect("memory");
        }
        for (setting, value) in set {
            let line = format!("{} = {}", setting.name(), shown(value));
            match &setting.default {
                Some(default) if default == value => writeln!(text, "{line}"),
                Some(default) => writeln!(text, "{line:<38} # default {}", shown(default)),
                None => writeln!(text, "{line:<38} # default: not set"),
            }
            .expect("memory");
        }
        text.push('\n');
    }
    text
}

fn heading(section: &Section) -> String {
    match (section.key.as_str(), section.is_list) {
        ("", _) => "above all tables".to_owned(),
        (key, true) => format!("[[{key}]]"),
        (key, false) => format!("[{key}]"),
    }
}

/// Whether a setting is a list of tables, which has a section of its own.
fn is_table(setting: &Setting, sections: &[Section]) -> bool {
    sections.iter().any(|section| section.is_list && section.key == setting.key)
}

fn described(setting: &Setting, margin: &str) -> String {
    let value = setting.default.as_ref().map_or("(not set)".to_owned(), |value| format!("= {}", shown(value)));
    let indent = format!("{margin}    ");
    let mut text = wrapped(margin, &indent, &format!("{} {value}", setting.key));
    text += &wrapped(&indent, &indent, &format!("{} ({})", without_default(setting), limits(setting)));
    for (name, about) in &setting.choices {
        text += &wrapped(&format!("{indent}- "), &format!("{indent}  "), &format!("{name}: {about}"));
    }
    text
}

/// Kind and range.
fn limits(setting: &Setting) -> String {
    let kind = match (setting.choices.is_empty(), setting.kind.starts_with("list")) {
        (true, _) => setting.kind.clone(),
        (false, false) => "one of those below".to_owned(),
        (false, true) => "list of those below".to_owned(),
    };
    let new = setting.accepts.iter().filter(|words| !is_said(setting, words)).cloned();
    [kind].into_iter().chain(new).collect::<Vec<_>>().join("; ")
}

/// Whether the comment names this range.
fn is_said(setting: &Setting, range: &str) -> bool {
    setting.about.to_lowercase().contains(&range.to_lowercase())
}

/// Meaning, range and choices in one paragraph.
fn meaning(setting: &Setting) -> String {
    let new = setting.accepts.iter().filter(|words| !is_said(setting, words));
    let accepts: String = new.map(|words| format!(" Accepted: {words}.")).collect();
    let choices: Vec<String> = setting.choices.iter().map(|(name, about)| format!("`{name}`: {about}")).collect();
    let choices = if choices.is_empty() { String::new() } else { format!(" {}", choices.join(" ")) };
    format!("{}{accepts}{choices}", without_default(setting))
}

/// The comment without the sentence `Default X.`, where X stands beside it anyway.
fn without_default(setting: &Setting) -> String {
    let Some((before, rest)) = setting.default.as_ref().and(setting.about.split_once(" Default ")) else { return setting.about.clone() };
    let (said, after) = match rest.split_once(". ") {
        Some((said, after)) => (said, format!(" {after}")),
        None => (rest.trim_end_matches('.'), String::new()),
    };
    if (said.contains([' ', '/']) || said.is_empty()) && !said.starts_with("`[") {
        setting.about.clone()
    } else {
        format!("{before}{after}")
    }
}

/// A value as TOML, with as few digits as it takes: a setting that is held in 32 bits is 0.7, and not 0.699999988.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Float(number) => {
            let narrow = *number as f32;
            if f64::from(narrow) == *number { format!("{narrow:?}") } else { format!("{number:?}") }
        }
        Value::Array(values) => format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(", ")),
        value => value.to_string(),
    }
}

fn tables(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        let title = if section.key.is_empty() { heading(section) } else { format!("`{}`", heading(section)) };
        write!(text, "### {title}\n\n{}\n\n| setting | default | |\n|---|---|---|\n", section.about).expect("memory");
        for setting in section.settings.iter().filter(|setting| !is_table(setting, sections)) {
            let default = setting.default.as_ref().map_or(String::new(), |value| format!("`{}`", shown(value)));
            writeln!(text, "| `{}` | {default} | {} |", setting.name(), meaning(setting).replace('|', "\\|")).expect("memory");
        }
        text.push('\n');
    }
    text
}
