//! TensorBoard's event files, written by hand: numbers, texts and pictures.
//!
//! A file is a sequence of records (TFRecord): `u64 length, u32 crc(length), bytes, u32 crc(bytes)`, little-endian, checksums masked.
//! A record is an `Event` of `tensorflow/core/util/event.proto`:
//!
//! | message | field | number, type |
//! |---|---|---|
//! | Event | wall_time | 1, double |
//! | | step | 2, int64 |
//! | | file_version | 3, string: the first record, `brain.Event:2` |
//! | | summary | 5, Summary |
//! | | session_log | 7, SessionLog |
//! | Summary | value | 1, Value, repeated |
//! | Value | tag | 1, string |
//! | | simple_value | 2, float |
//! | | image | 4, Image |
//! | | tensor | 8, TensorProto |
//! | | metadata | 9, SummaryMetadata |
//! | Image | height, width, colorspace (3: RGB) | 1, 2, 3, int32 |
//! | | encoded_image_string | 4, bytes: a PNG |
//! | TensorProto | dtype | 1, enum: DT_STRING = 7 |
//! | | tensor_shape | 2, with dim 2, with size 1 |
//! | | string_val | 8, bytes |
//! | SummaryMetadata | plugin_data | 1, with plugin_name 1 |
//! | SessionLog | status | 1, enum: START = 1 |
//!
//! A resumed run gets another file. Its START tells TensorBoard to forget what older files say about later steps.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::checksums::masked_crc32c;
use super::{EVENTS, Metrics, RunError};

/// Writes a file of events.
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Makes `events.out.tfevents.<seconds>.<process>` in `folder`, for what comes after `step`. `wall_time`: seconds since 1970.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(folder: &Path, wall_time: f64, step: u64) -> Result<EventWriter, RunError> {
        let mut number = 0;
        // two in a second must not share a file, and the later name must sort later
        let (path, file) = loop {
            let path = folder.join(format!("{EVENTS}{:010}.{:07}.{number:04}.percept", wall_time as u64, std::process::id()));
            match OpenOptions::new().create_new(true).append(true).open(&path) {
                Ok(file) => break (path, file),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && number < 9999 => number += 1,
                Err(e) => return Err(RunError::io(&path, e)),
            }
        };
        let mut writer = EventWriter { path, file };
        let mut header = vec![Message::default().double(1, wall_time).bytes(3, b"brain.Event:2")];
        if step > 0 {
            let start = Message::default().integer(1, 1);
            header.push(Message::default().double(1, wall_time).integer(2, step + 1).bytes(7, &start.0));
        }
        match header.iter().try_for_each(|event| writer.write(event)) {
            Ok(()) => Ok(writer),
            Err(error) => {
                // an empty file says nothing
                let _ = std::fs::remove_file(&writer.path);
                Err(error)
            }
        }
    }

    /// Adds the numbers of a step.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn append(&mut self, wall_time: f64, metrics: &Metrics) -> Result<(), RunError> {
        let mut summary = Message::default();
        for (name, value) in metrics.values() {
            let value = Message::default().bytes(1, name.as_bytes()).float(2, *value as f32);
            summary = summary.bytes(1, &value.0);
        }
        self.write(&Message::default().double(1, wall_time).integer(2, metrics.step()).bytes(5, &summary.0))
    }

    /// Adds a text in Markdown.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn append_text(&mut self, wall_time: f64, step: u64, tag: &str, text: &str) -> Result<(), RunError> {
        let shape = Message::default().bytes(2, &Message::default().integer(1, 1).0);
        let tensor = Message::default().integer(1, 7).bytes(2, &shape.0).bytes(8, text.as_bytes());
        let plugin = Message::default().bytes(1, b"text");
        let metadata = Message::default().bytes(1, &plugin.0);
        self.write_value(wall_time, step, Message::default().bytes(1, tag.as_bytes()).bytes(8, &tensor.0).bytes(9, &metadata.0))
    }

    /// Adds a picture, RGB, encoded as a PNG.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn append_picture(&mut self, wall_time: f64, step: u64, tag: &str, png: &[u8], [width, height]: [u32; 2]) -> Result<(), RunError> {
        let image = Message::default().integer(1, height.into()).integer(2, width.into()).integer(3, 3).bytes(4, png);
        self.write_value(wall_time, step, Message::default().bytes(1, tag.as_bytes()).bytes(4, &image.0))
    }

    fn write_value(&mut self, wall_time: f64, step: u64, value: Message) -> Result<(), RunError> {
        let summary = Message::default().bytes(1, &value.0);
        self.write(&Message::default().double(1, wall_time).integer(2, step).bytes(5, &summary.0))
    }

    fn write(&mut self, event: &Message) -> Result<(), RunError> {
        let length = (event.0.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(event.0.len() + 16);
        record.extend(length);
        record.extend(masked_crc32c(&length).to_le_bytes());
        record.extend(&event.0);
        record.extend(masked_crc32c(&event.0).to_le_bytes());
        let length = self.file.metadata().map_err(|e| RunError::io(&self.path, e))?.len();
        self.file.write_all(&record).map_err(|e| {
            // half a record is taken back; if even this fails, readers stop before it
            let _ = self.file.set_len(length);
            RunError::io(&self.path, e)
        })
    }
}

/// A protocol buffer message: fields one after the other, each a tag (`number << 3 | wire type`) and a value.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn integer(mut self, field: u64, value: u64) -> Message {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Message {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Message {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn float(mut self, field: u64, value: f32) -> Message {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Seven bits per byte, the lowest first; the eighth says that more follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
