//! Files as libFuzzer makes them, for the readers of `percept-fuzz`: the first byte says which of a target's files it is, the rest is what stands in it.

use std::cell::RefCell;

use percept_fuzz::targets::{Reader, TARGETS, Target, Verdict};

/// Reads one file with the target of this name.
///
/// # Panics
/// If the reader does, or refuses the file with an error that does not name it.
pub fn read(target: &str, data: &[u8]) {
    thread_local! { static READER: RefCell<Option<Opened>> = const { RefCell::new(None) } }
    READER.with_borrow_mut(|opened| {
        let Opened { files, reader, .. } = opened.get_or_insert_with(|| Opened::new(target));
        let Some((&which, bytes)) = data.split_first() else { return };
        let verdict = reader(files[which as usize % files.len()], bytes);
        assert!(!matches!(verdict, Verdict::Nameless(_)), "{verdict:?}");
    });
}

/// The target of this name.
///
/// # Panics
/// If there is none.
pub fn find(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target {name}"))
}

struct Opened {
    files: Vec<&'static str>,
    reader: Reader,
    /// Where it reads; removed at the end.
    _folder: percept_fuzz::Folder,
}

impl Opened {
    fn new(name: &str) -> Opened {
        let (target, folder) = (find(name), percept_fuzz::Folder::new());
        let files = (target.seeds)().into_iter().map(|(file, _)| file).collect();
        Opened { files, reader: (target.open)(folder.path()), _folder: folder }
    }
}
