//! What settings are called in TRL and in verl or EasyR1, for those who come from there.

/// A setting by the name of another project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherName {
    /// The project; verl's names are also those of EasyR1, as far as it has them.
    pub project: &'static str,
    /// Its name there; with a table before it, where only that makes it plain.
    pub theirs: &'static str,
    /// The key here, if there is one.
    pub ours: Option<&'static str>,
    /// What is different, or why there is none. May be empty.
    pub note: &'static str,
}

/// All that are known, in the order of the page.
pub fn other_names() -> Vec<OtherName> {
    let line = |line: &'static str| {
        let mut parts = line.split('\t');
        let mut next = || parts.next().unwrap_or_default();
        let (project, theirs, ours, note) = (next(), next(), next(), next());
        OtherName { project, theirs, ours: Some(ours).filter(|key| !key.is_empty()), note }
    };
    include_str!("other_names.tsv").lines().map(line).collect()
}

/// What an unknown key is called here: of the names that it ends with the longest.
pub(super) fn other_name(key: &str) -> Option<OtherName> {
    let ends = |name: &OtherName| key.strip_suffix(name.theirs).is_some_and(|before| before.is_empty() || before.ends_with('.'));
    other_names().into_iter().filter(ends).max_by_key(|name| name.theirs.len())
}

impl OtherName {
    /// For the message that there is no such key: `num_generations is TRL's name; here it is method.group_size`.
    pub(super) fn in_words(&self) -> String {
        let OtherName { project, theirs, note, .. } = self;
        let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
        match self.ours {
            Some(ours) => format!("{theirs} is {project}'s name; here it is {ours}{note}"),
            None => format!("{theirs} is {project}'s name; there is no such setting here: {}", self.note),
        }
    }
}
