//! TensorBoard's events, read back by a parser of their own: framing, checksums, fields.

use std::path::PathBuf;

use percept_cppo::records::run::{Metrics, RunFolder};

#[derive(Debug, Default, PartialEq)]
struct Event {
    wall_time: f64,
    step: u64,
    version: Option<String>,
    scalars: Vec<(String, f32)>,
    texts: Vec<(String, String)>,
    /// Tag; height, width and colour space; PNG.
    pictures: Vec<(String, Vec<u64>, Vec<u8>)>,
    starts: bool,
}

/// Table-driven CRC-32C, most significant bit first on reversed bytes: another way than the writer's.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(byte.reverse_bits()) << 24;
        for _ in 0..8 {
            crc = if crc >> 31 == 1 { (crc << 1) ^ 0x1edc_6f41 } else { crc << 1 };
        }
    }
    !crc.reverse_bits()
}

fn masked(bytes: &[u8]) -> u32 {
    let crc = crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(count);
    *bytes = tail;
    head
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("varint of more than ten bytes")
}

/// Fields of a message: number, and the value as an integer or as bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => (tag >> 3, varint(&mut bytes), &[][..]),
            1 => (tag >> 3, 0, take(&mut bytes, 8)),
            2 => {
                let length = varint(&mut bytes) as usize;
                (tag >> 3, 0, take(&mut bytes, length))
            }
            5 => (tag >> 3, 0, take(&mut bytes, 4)),
            other => panic!("wire type {other}"),
        };
        found.push(field);
    }
    found
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn event(bytes: &[u8]) -> Event {
    let mut event = Event::default();
    for (number, integer, bytes) in fields(bytes) {
        match number {
            1 => event.wall_time = f64::from_le_bytes(bytes.try_into().unwrap()),
            2 => event.step = integer,
            3 => event.version = Some(text(bytes)),
            5 => {
                for (_, _, value) in fields(bytes) {
                    let value = fields(value);
                    assert_eq!(value[0].0, 1);
                    let tag = text(value[0].2);
                    match value[1].0 {
                        2 => event.scalars.push((tag, f32::from_le_bytes(value[1].2.try_into().unwrap()))),
                        4 => event.pictures.push((
                            tag,
                            fields(value[1].2).iter().map(|field| field.1).collect(),
                            fields(value[1].2)[3].2.to_vec(),
                        )),
                        8 => {
                            let plugin = fields(fields(value[2].2)[0].2)[0].2;
                            assert_eq!((value[2].0, plugin), (9, &b"text"[..]));
                            event.texts.push((tag, text(fields(value[1].2)[2].2)));
                        }
                        other => panic!("value of kind {other}"),
                    }
                }
            }
            7 => event.starts = fields(bytes)[0].1 == 1,
            other => panic!("field {other}"),
        }
    }
    event
}

fn read(path: &PathBuf) -> Vec<Event> {
    let file = std::fs::read(path).unwrap();
    let mut bytes = &file[..];
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let length = take(&mut bytes, 8);
        assert_eq!(take(&mut bytes, 4), masked(length).to_le_bytes());
        let data = take(&mut bytes, u64::from_le_bytes(length.try_into().unwrap()) as usize);
        assert_eq!(take(&mut bytes, 4), masked(data).to_le_bytes());
        events.push(event(data));
    }
    events
}

#[test]
fn tensorboard_events_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&super::config(folder.path())).unwrap();
    let files = || {
        let entries = std::fs::read_dir(run.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().contains("tfevents")).collect();
        files.sort();
        files
    };
    let mut recorder = run.record_after(0).unwrap();
    for step in [1, 2, 300] {
        let mut metrics = Metrics::new(step);
        metrics.set("reward", 0.25 * step as f64);
        metrics.set("rewards/accuracy", -1e-3);
        recorder.metrics(&metrics).unwrap();
    }
    drop(recorder);
    let events = read(&files()[0]);
    assert_eq!(events[0].version.as_deref(), Some("brain.Event:2"));
    assert!(events.iter().all(|event| event.wall_time > 1.7e9));
    let scalars: Vec<_> = events[1..].iter().map(|event| (event.step, event.scalars.clone())).collect();
    let expected = |step: u64| (step, vec![("reward".to_owned(), 0.25 * step as f32), ("rewards/accuracy".to_owned(), -1e-3)]);
    assert_eq!(scalars, [expected(1), expected(2), expected(300)]);
    // a further file says from which step on it counts
    drop(run.record_after(2).unwrap());
    let events = read(&files()[1]);
    assert_eq!((events.len(), events[1].starts, events[1].step), (2, true, 3));
}

#[test]
fn tensorboard_gets_evaluations_texts_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let run = super::made_up::run(folder.path(), 4);
    let entries = std::fs::read_dir(run.path()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().contains("tfevents")).collect();
    let events = read(&files[0]);
    let evaluations = run.evaluations().unwrap();
    let accuracy = |step: u64, tag: &str| {
        let of_step = events.iter().filter(|event| event.step == step).flat_map(|event| &event.scalars);
        of_step.filter(|(name, _)| name == tag).map(|(_, value)| *value).collect::<Vec<_>>()
    };
    for evaluation in &evaluations {
        let all = &evaluation.categories[0];
        let right: u32 = all.correct.iter().sum();
        let rate = f64::from(right) / (all.problems() * all.samples) as f64;
        let [logged] = accuracy(evaluation.step, &format!("eval/{}/all/accuracy", evaluation.decoding))[..] else {
            panic!("{evaluation:?}")
        };
        assert!((f64::from(logged) - rate).abs() < 1e-6);
    }
    assert_eq!(accuracy(4, "eval/sampled/all/pass@4").len(), 1);
    // of the three prompts of a step, the first response and the picture
    for step in 1..=4 {
        let samples: Vec<_> = run.samples().unwrap().into_iter().filter(|sample| sample.step == step).collect();
        let texts: Vec<_> = events.iter().filter(|event| event.step == step).flat_map(|event| &event.texts).collect();
        let pictures: Vec<_> = events.iter().filter(|event| event.step == step).flat_map(|event| &event.pictures).collect();
        assert_eq!((texts.len(), pictures.len()), (3, 3));
        for (number, first) in samples.chunks(4).map(|group| &group[0]).enumerate() {
            assert_eq!(texts[number].0, format!("samples/{}", number + 1));
            assert!(texts[number].1.contains(&first.prompt) && texts[number].1.contains(&first.response), "{:?}", texts[number]);
            let (tag, sizes, png) = pictures[number];
            assert_eq!((tag, &sizes[..3]), (&format!("samples/{}", number + 1), &[64, 64, 3][..]));
            assert!(*png == std::fs::read(run.path().join(&first.image)).unwrap());
        }
    }
}
