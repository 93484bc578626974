//! Reading and writing safetensors files (<https://github.com/huggingface/safetensors>).
//!
//! Reading maps the file into memory: a tensor's bytes go from the page cache to the device without a copy of the whole file. Writing goes to a
//! temporary file beside the target, is flushed to the disk and then renamed, so a crash or a full disk leaves the old file as it was.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use safetensors::{Dtype, SafeTensors, View};

use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// One safetensors file, or the shards that an index file names, mapped into memory.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    shards: Vec<Shard>,
    entries: BTreeMap<String, Entry>,
    metadata: HashMap<String, String>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Mmap,
}

impl Shard {
    /// Lets the pages of a tensor that was read leave this process: its weights are then in memory once, on the device. They are read again if they are asked for.
    #[allow(unsafe_code)]
    fn forget(&self, entry: &Entry) {
        #[cfg(unix)]
        // SAFETY: of a read-only map of a file, a page that is dropped comes back from the file with the same bytes.
        // An error means that nothing was dropped.
        let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, entry.start, entry.end - entry.start) };
        #[cfg(not(unix))]
        let _ = entry;
    }
}

#[derive(Debug, Clone)]
struct Entry {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Byte range in the file.
    start: usize,
    end: usize,
}

impl Checkpoint {
    /// Opens a `.safetensors` file, or a sharded checkpoint by its `.safetensors.index.json`.
    ///
    /// # Errors
    /// If a file is missing, unreadable, truncated or not safetensors, or if index and shards disagree.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        if path.extension().is_some_and(|extension| extension == "json") {
            return Checkpoint::open_sharded(path);
        }
        let mut checkpoint =
            Checkpoint { path: path.to_path_buf(), shards: Vec::new(), entries: BTreeMap::new(), metadata: HashMap::new() };
        checkpoint.add_shard(path)?;
        Ok(checkpoint)
    }

    fn open_sharded(index_path: &Path) -> Result<Checkpoint> {
        let (mut file, mut text) = (open_file(index_path)?.take(MAX_HEADER + 1), String::new());
        file.read_to_string(&mut text).map_err(|e| file_error(index_path, &e))?;
        if text.len() as u64 > MAX_HEADER {
            return Err(content(index_path, "length", &format!("at most {MAX_HEADER} bytes"), "more"));
        }
        let index: serde_json::Value = serde_json::from_str(&text).map_err(|e| content(index_path, "JSON", "an index", &e.to_string()))?;
        let map = index.get("weight_map").and_then(|map| map.as_object());
        let map = map.ok_or_else(|| content(index_path, "weight_map", "an object of tensor name to file name", "nothing of the kind"))?;
        let mut checkpoint =
            Checkpoint { path: index_path.to_path_buf(), shards: Vec::new(), entries: BTreeMap::new(), metadata: HashMap::new() };
        let folder = index_path.parent().unwrap_or(Path::new("."));
        let mut files: Vec<&str> = Vec::new();
        for (name, file) in map {
            let file = file.as_str().ok_or_else(|| content(index_path, name, "a file name", &file.to_string()))?;
            // an index must not reach outside its folder
            if Path::new(file).components().count() != 1 || file.contains("..") {
                return Err(content(index_path, name, "a file name without folders", file));
            }
            files.push(file);
        }
        files.sort_unstable();
        files.dedup();
        for file in files {
            checkpoint.add_shard(&folder.join(file))?;
        }
        for (name, file) in map {
            let found = checkpoint.entries.get(name).map(|entry| checkpoint.shards[entry.shard].path.clone());
            let expected = folder.join(file.as_str().unwrap_or_default());
            if found.as_ref() != Some(&expected) {
                let got = found.map_or("no such tensor".to_string(), |path| format!("it in {}", path.display()));
                return Err(content(index_path, name, &format!("the tensor in {}", expected.display()), &got));
            }
        }
        Ok(checkpoint)
    }

    #[allow(unsafe_code)]
    fn add_shard(&mut self, path: &Path) -> Result<()> {
        let file = open_file(path)?;
        // SAFETY: the map is read-only. As with any mapped file, another process that truncates it while it is read can end this one with a bus
        // error; it cannot make us write or leak memory. Our own writers never change a file in place: they rename a new one over it.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| file_error(path, &e))?;
        let header = map.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if header > MAX_HEADER {
            return Err(content(path, "header", &format!("at most {MAX_HEADER} bytes"), &header.to_string()));
        }
        let (header_len, metadata) =
            SafeTensors::read_metadata(&map).map_err(|e| content(path, "header", "a valid safetensors header", &e.to_string()))?;
        let data_start = 8 + header_len;
        let needed = data_start + metadata.data_len();
        if map.len() < needed {
            return Err(content(path, "length", &format!("{needed} bytes"), &format!("{} (truncated)", map.len())));
        }
        let shard = self.shards.len();
        for (name, info) in metadata.tensors() {
            let entry = Entry {
                shard,
                dtype: info.dtype,
                shape: info.shape.clone(),
                start: data_start + info.data_offsets.0,
                end: data_start + info.data_offsets.1,
            };
            if let Some(other) = self.entries.insert(name.clone(), entry) {
                let other = self.shards[other.shard].path.display().to_string();
                return Err(content(path, &name, "each tensor in one shard", &format!("it here and in {other}")));
            }
        }
        self.metadata.extend(metadata.metadata().clone().unwrap_or_default());
        self.shards.push(Shard { path: path.to_path_buf(), map });
        Ok(())
    }

    /// The file, or index file, that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Gives tensors other names. One whose new name another has keeps its own.
    pub fn rename(&mut self, new_name: impl Fn(&str) -> Option<String>) {
        let renamed: Vec<(String, String)> = self.names().filter_map(|name| Some((name.to_owned(), new_name(name)?))).collect();
        for (old, new) in renamed {
            if !self.entries.contains_key(&new)
                && let Some(entry) = self.entries.remove(&old)
            {
                self.entries.insert(new, entry);
            }
        }
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.entries.get(name)?.shape)
    }

    /// The texts that the file's header keeps under `__metadata__`.
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    /// Whether a tensor holds neither NaN nor infinity. One that is not there holds none, nor does one of whole numbers.
    pub fn is_finite(&self, name: &str) -> bool {
        // chunk by chunk without a branch within one, so that a chunk is a few vector instructions
        fn any<const N: usize>(bytes: &[u8], is_not: impl Fn([u8; N]) -> bool) -> bool {
            bytes.as_chunks::<N>().0.chunks(1 << 12).any(|chunk| chunk.iter().fold(false, |any, number| any | is_not(*number)))
        }
        let Some(entry) = self.entries.get(name) else { return true };
        let bytes = &self.shards[entry.shard].map[entry.start..entry.end];
        let is_finite = !match entry.dtype {
            // all ones in the exponent
            Dtype::F16 => any(bytes, |number| u16::from_le_bytes(number) & 0x7c00 == 0x7c00),
            Dtype::BF16 => any(bytes, |number| u16::from_le_bytes(number) & 0x7f80 == 0x7f80),
            Dtype::F32 => any(bytes, |number| u32::from_le_bytes(number) & 0x7f80_0000 == 0x7f80_0000),
            Dtype::F64 => any(bytes, |number: [u8; 8]| !f64::from_le_bytes(number).is_finite()),
            _ => false,
        };
        self.shards[entry.shard].forget(entry);
        is_finite
    }

    /// Whether two tensors have the same shape and the same numbers, perhaps in different types. Two that are not there are not equal.
    ///
    /// # Errors
    /// If one has a type that the engine does not have.
    pub fn are_equal(&self, names: [&str; 2]) -> Result<bool> {
        let [Some(a), Some(b)] = names.map(|name| self.entries.get(name)) else { return Ok(false) };
        let bytes = |entry: &Entry| &self.shards[entry.shard].map[entry.start..entry.end];
        if a.shape != b.shape || (a.dtype == b.dtype && bytes(a) == bytes(b)) {
            return Ok(a.shape == b.shape);
        }
        let [a, b] = names.map(|name| self.load(name, &a.shape, &Device::cpu()));
        Ok(a?.to_f64_vec()? == b?.to_f64_vec()?)
    }

    /// Loads a tensor in the type it is stored in.
    ///
    /// # Errors
    /// If it is missing, has another shape than `expected_shape`, or a type that the engine does not have.
    pub fn load(&self, name: &str, expected_shape: &[usize], device: &Device) -> Result<Tensor> {
        let entry = self.entries.get(name);
        let entry = entry.ok_or_else(|| content(&self.path, name, &format!("a tensor {expected_shape:?}"), "no such tensor"))?;
        let shard = &self.shards[entry.shard];
        if entry.shape != expected_shape {
            return Err(content(&shard.path, name, &format!("{expected_shape:?}"), &format!("{:?}", entry.shape)));
        }
        let dtype = match entry.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::U32 => DType::U32,
            Dtype::F64 if device.is_cpu() => DType::F64,
            other => return Err(content(&shard.path, name, "F32, F16, BF16 or U32", &format!("{other:?}"))),
        };
        let tensor = Tensor::from_bytes(device, &shard.map[entry.start..entry.end], &entry.shape, dtype);
        shard.forget(entry);
        Ok(tensor)
    }
}

/// Bytes of the largest header or index accepted: enough for 100,000 tensors.
const MAX_HEADER: u64 = 16 << 20;

/// Opens a regular file: a pipe would wait for ever, and a device has no end.
fn open_file(path: &Path) -> Result<File> {
    let metadata = std::fs::metadata(path).map_err(|e| file_error(path, &e))?;
    if !metadata.is_file() {
        let got = if metadata.is_dir() { "a directory" } else { "a pipe, a device or the like" };
        return Err(content(path, "(whole file)", "a file", got));
    }
    File::open(path).map_err(|e| file_error(path, &e))
}

/// Writes tensors to one safetensors file, atomically.
///
/// # Errors
/// If the folder cannot be written, the disk is full, or a tensor cannot be read from its device. The old file, if any, is untouched.
pub fn save(path: &Path, tensors: &[(String, Tensor)], metadata: HashMap<String, String>) -> Result<()> {
    let to_write = |(name, tensor): &(String, Tensor)| {
        let (shape, of) = (tensor.shape().to_vec(), tensor.clone());
        ToWrite { name: name.clone(), dtype: tensor.dtype(), shape, tensor: Box::new(move || Ok(of.clone())) }
    };
    save_each(path, tensors.iter().map(to_write).collect(), metadata)
}

/// A tensor whose type and shape are known before its numbers are.
pub struct ToWrite<'a> {
    /// Its name in the file.
    pub name: String,
    /// The type in which it is stored.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Makes it, of this type and shape.
    pub tensor: Box<dyn Fn() -> Result<Tensor> + 'a>,
}

/// [`save`] of tensors that are made one by one, as they are written: only one is in the host's memory at a time.
///
/// # Errors
/// As [`save`], and those of the functions that make them.
///
/// # Panics
/// If one is made with another type or shape than it was said to have.
pub fn save_each(path: &Path, tensors: Vec<ToWrite<'_>>, metadata: HashMap<String, String>) -> Result<()> {
    let failure = RefCell::new(None);
    let views = tensors.into_iter().map(|tensor| (tensor.name.clone(), Bytes { tensor, failure: &failure }));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder).map_err(|e| file_error(path, &e))?;
    safetensors::serialize_to_file(views, Some(metadata), temporary.path()).map_err(|e| file_error(path, &e))?;
    if let Some(error) = failure.take() {
        return Err(error);
    }
    // the crate renamed a file of its own over ours: our handle is that of the empty one
    let written = File::open(temporary.path()).map_err(|e| file_error(path, &e))?;
    make_readable(&written, path)?;
    written.sync_all().map_err(|e| file_error(path, &e))?;
    temporary.persist(path).map_err(|e| file_error(path, &e.error))?;
    Ok(())
}

/// Temporary files are private; a checkpoint is not.
#[cfg(unix)]
fn make_readable(file: &File, path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(|e| file_error(path, &e))
}

#[cfg(not(unix))]
fn make_readable(_: &File, _: &Path) -> Result<()> {
    Ok(())
}

/// The bytes of a tensor, read from its device when they are asked for.
struct Bytes<'a> {
    tensor: ToWrite<'a>,
    /// Where an error waits until the file is written: the crate's interface has no room for one.
    failure: &'a RefCell<Option<Error>>,
}

impl View for Bytes<'_> {
    fn dtype(&self) -> Dtype {
        match self.tensor.dtype {
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            DType::U32 => Dtype::U32,
            DType::F64 => Dtype::F64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let ToWrite { name, dtype, shape, tensor } = &self.tensor;
        let bytes = match self.failure.borrow().is_some() {
            true => Ok(Vec::new()),
            false => tensor().and_then(|tensor| {
                assert!(tensor.dtype() == *dtype && tensor.shape() == shape, "save_each: {name}: {} {:?}", tensor.dtype(), tensor.shape());
                tensor.to_bytes()
            }),
        };
        Cow::Owned(bytes.unwrap_or_else(|error| {
            self.failure.replace(Some(error));
            Vec::new()
        }))
    }

    fn data_len(&self) -> usize {
        self.tensor.shape.iter().product::<usize>() * self.tensor.dtype.size_bytes()
    }
}

fn file_error(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::File { path: path.to_path_buf(), reason: reason.to_string() }
}

fn content(path: &Path, field: &str, expected: &str, got: &str) -> Error {
    Error::Content { path: path.to_path_buf(), field: field.into(), expected: expected.into(), got: got.into() }
}
