//! Reading and writing checkpoints, and refusing bad ones.

use std::collections::HashMap;
use std::path::Path;

use half::{bf16, f16};
use percept_engine::safetensors::{Checkpoint, save};
use percept_engine::{DType, Device, Tensor};

#[test]
fn a_saved_file_loads_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let cpu = Device::cpu();
    let tensors = vec![
        ("a".to_string(), Tensor::from_slice(&cpu, &[1.5f32, -0.0, f32::MIN_POSITIVE], &[3])),
        ("b".to_string(), Tensor::from_slice(&cpu, &[f16::from_f32(0.1), f16::MAX, f16::NEG_ONE], &[1, 3])),
        ("c".to_string(), Tensor::from_slice(&cpu, &[bf16::from_f32(0.1)], &[])),
        ("d".to_string(), Tensor::from_slice(&cpu, &[7u32, u32::MAX], &[2])),
        ("transposed".to_string(), Tensor::from_slice(&cpu, &[1f32, 2.0, 3.0, 4.0], &[2, 2]).t()),
    ];
    save(&path, &tensors, HashMap::from([("format".into(), "pt".into())])).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b", "c", "d", "transposed"]);
    assert_eq!(checkpoint.metadata()["format"], "pt");
    for (name, saved) in &tensors {
        let loaded = checkpoint.load(name, saved.shape(), &cpu).unwrap();
        assert_eq!((loaded.dtype(), loaded.to_f64_vec().unwrap()), (saved.dtype(), saved.to_f64_vec().unwrap()), "{name}");
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "no temporary files stay behind");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "temporary files are private, a checkpoint is not");
    }
}

#[test]
fn shards_are_found_through_their_index() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("1.safetensors"), folder.path().join("2.safetensors"));
    let one = |name: &str, value: f64| vec![(name.to_string(), Tensor::full(&Device::cpu(), &[2], value, DType::F32))];
    save(&first, &one("x", 1.0), HashMap::new()).unwrap();
    save(&second, &one("y", 2.0), HashMap::new()).unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map": {"x": "1.safetensors", "y": "2.safetensors"}}"#).unwrap();
    let checkpoint = Checkpoint::open(&index).unwrap();
    assert_eq!(checkpoint.load("y", &[2], &Device::cpu()).unwrap().to_vec::<f32>().unwrap(), [2.0, 2.0]);

    std::fs::write(&index, r#"{"weight_map": {"x": "2.safetensors", "y": "2.safetensors"}}"#).unwrap();
    refused(&index, "x: expected the tensor in");
    std::fs::write(&index, r#"{"weight_map": {"x": "../1.safetensors"}}"#).unwrap();
    refused(&index, "a file name without folders");
    std::fs::write(&index, r#"{"weight_map": {"x": "3.safetensors"}}"#).unwrap();
    refused(&index, "3.safetensors: No such file");
    std::fs::write(&index, "{").unwrap();
    refused(&index, "index.json: JSON: expected an index");
}

#[test]
fn bad_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save(&path, &[("w".into(), Tensor::zeros(&Device::cpu(), &[4, 3], DType::F32))], HashMap::new()).unwrap();
    let good = std::fs::read(&path).unwrap();
    let error = Checkpoint::open(&path).unwrap().load("w", &[3, 4], &Device::cpu()).unwrap_err().to_string();
    assert!(error.ends_with("model.safetensors: w: expected [3, 4], got [4, 3]"), "{error}");
    let error = Checkpoint::open(&path).unwrap().load("v", &[3, 4], &Device::cpu()).unwrap_err().to_string();
    assert!(error.ends_with("v: expected a tensor [3, 4], got no such tensor"), "{error}");

    let header_len_of = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let with_header = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 48]].concat();
    assert!(header_len_of(&good) > 0);
    for (what, bytes) in [
        ("truncated data", good[..good.len() - 1].to_vec()),
        ("truncated header", good[..20].to_vec()),
        ("empty", vec![]),
        ("huge header length", [&u64::MAX.to_le_bytes()[..], &good[8..]].concat()),
        ("offsets beyond the file", with_header(r#"{"w":{"dtype":"F32","shape":[4,3],"data_offsets":[0,480]}}"#)),
        (
            "offsets that overlap",
            with_header(
                r#"{"v":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"w":{"dtype":"F32","shape":[10],"data_offsets":[8,48]}}"#,
            ),
        ),
        ("shape that overflows", with_header(r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,48]}}"#)),
        ("not JSON", with_header("not json at all")),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let error = Checkpoint::open(&path).map(|_| ()).expect_err(what).to_string();
        assert!(error.contains("model.safetensors"), "{what}: {error}");
    }
}

#[test]
fn an_unwritable_target_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = vec![("w".to_string(), Tensor::zeros(&Device::cpu(), &[2], DType::F32))];
    let error = save(&folder.path().join("missing/model.safetensors"), &tensors, HashMap::new()).unwrap_err().to_string();
    assert!(error.contains("missing/model.safetensors"), "{error}");
}

fn refused(path: &Path, text: &str) {
    let error = Checkpoint::open(path).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(text), "{error:?} does not say {text:?}");
}

#[test]
fn what_is_no_file_or_has_an_absurd_header_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = |name: &str| Checkpoint::open(&folder.path().join(name)).unwrap_err().to_string();
    std::fs::create_dir(folder.path().join("model.safetensors")).unwrap();
    assert!(error("model.safetensors").ends_with("model.safetensors: (whole file): expected a file, got a directory"));
    std::fs::write(folder.path().join("long.safetensors"), (90u64 << 20).to_le_bytes()).unwrap();
    assert!(error("long.safetensors").ends_with("header: expected at most 16777216 bytes, got 94371840"));
    // takes no room on the disk
    std::fs::File::create(folder.path().join("model.safetensors.index.json")).unwrap().set_len(1 << 36).unwrap();
    assert!(error("model.safetensors.index.json").ends_with("length: expected at most 16777216 bytes, got more"));
    #[cfg(unix)]
    {
        // opened, it would wait for somebody who writes
        let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe.safetensors")).status().unwrap();
        assert!(made.success() && error("pipe.safetensors").ends_with("expected a file, got a pipe, a device or the like"));
    }
}
