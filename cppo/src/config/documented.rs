//! What the sources say of the types that serde reads: the doc comments of structs and enums, collected when the program is built (`cppo/build.rs`).

/// A struct or an enum.
#[derive(Debug)]
pub(super) struct Item {
    /// Below `cppo/src/`.
    pub(super) file: &'static str,
    pub(super) name: &'static str,
    pub(super) is_enum: bool,
    pub(super) about: &'static str,
    /// The `use` statements of its file.
    imports: &'static [&'static str],
    pub(super) parts: &'static [Part],
}

/// A field or a variant.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    /// The type of a field; empty for a variant.
    pub(super) kind: &'static str,
    attributes: &'static str,
    about: &'static str,
}

static ITEMS: &[Item] = include!(concat!(env!("OUT_DIR"), "/documented.rs"));

/// The item called `name` as seen from `user`: defined in the same file, or in the one that it is imported from.
pub(super) fn item(name: &str, user: Option<&Item>) -> Option<&'static Item> {
    let named: Vec<&Item> = ITEMS.iter().filter(|item| item.name == name).collect();
    let Some(user) = user else { return named.first().copied() };
    let stem = |file: &str| file.trim_end_matches(".rs").rsplit('/').next().unwrap_or_default().to_owned();
    let words = |text: &str| -> Vec<String> { text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect() };
    let is_imported = |item: &&&Item| {
        user.imports
            .iter()
            .map(|statement| words(statement))
            .any(|words| words.iter().any(|word| word == name) && words.contains(&stem(item.file)))
    };
    let same_file = named.iter().find(|item| item.file == user.file);
    same_file.or(named.iter().find(is_imported)).or(named.first()).copied()
}

/// The item in `file` called `name`.
pub(super) fn item_in(file: &str, name: &str) -> Option<&'static Item> {
    ITEMS.iter().find(|item| item.file == file && item.name == name)
}

impl Item {
    /// The item behind a field's type: that of an option or of a list, too.
    pub(super) fn behind(&self, part: &Part) -> Option<&'static Item> {
        let name = inner(part.kind).rsplit("::").next().unwrap_or_default();
        item(name, Some(self))
    }

    /// What it is, in a paragraph.
    pub(super) fn first_paragraph(&self) -> String {
        plain(self.about.lines().next().unwrap_or_default())
    }
}

impl Part {
    /// What the comment says, without links.
    pub(super) fn about(&self) -> String {
        plain(self.about)
    }

    /// Whether its fields stand beside those of the struct that it is in.
    pub(super) fn is_flat(&self) -> bool {
        self.attributes.contains("flatten")
    }

    /// Whether it does not stand in a configuration.
    pub(super) fn is_skipped(&self) -> bool {
        self.attributes.contains("serde(skip)") || !self.name.starts_with(|c: char| c.is_alphabetic())
    }

    /// Whether it may be left out and then has no value.
    pub(super) fn is_optional(&self) -> bool {
        self.kind.starts_with("Option<")
    }

    /// Whether there may be several.
    pub(super) fn is_list(&self) -> bool {
        self.kind.trim_start_matches("Option<").starts_with("Vec<")
    }

    /// A variant's name, as configurations write it.
    pub(super) fn name_of_variant(&self) -> String {
        if let Some((_, rest)) = self.attributes.split_once("rename = \"") {
            return rest.split('"').next().unwrap_or_default().to_owned();
        }
        let mut name = String::new();
        for c in self.name.chars() {
            if c.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.extend(c.to_lowercase());
        }
        name
    }

    /// The type of a field, in words.
    pub(super) fn kind_in_words(&self) -> String {
        let is_list = self.is_list();
        let words = match inner(self.kind) {
            "u8" | "u16" | "u32" | "u64" | "usize" | "i64" | "i32" => "whole number",
            "f32" | "f64" => "number",
            "bool" => "true or false",
            "String" => "text",
            "PathBuf" => "path",
            kind if kind == "Table" || kind == "Value" || kind.contains('<') || (is_list && kind.ends_with("Config")) => "table",
            array if array.starts_with("[f") => "two numbers",
            _ => "name",
        };
        if is_list { format!("list of {words}s") } else { words.to_owned() }
    }
}

/// What an `Option` or a `Vec` holds.
fn inner(kind: &str) -> &str {
    let of = |wrapper: &str| kind.strip_prefix(wrapper).and_then(|rest| rest.strip_suffix('>'));
    of("Option<").or(of("Vec<")).or(of("Box<")).map_or(kind, inner)
}

/// A doc comment without what only rustdoc understands.
fn plain(comment: &str) -> String {
    let mut text = String::new();
    let mut rest = comment;
    // [`name`](target) and [`name`]: the name stays
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else { break };
        let after = match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
        text += &format!("{before}`{}`", name.rsplit("::").next().unwrap_or(name));
        rest = after;
    }
    (text + rest).replace('\n', " ")
}
