//! Files of models, and pictures.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use percept_engine::safetensors::{Checkpoint, save};
use percept_engine::{Device, Tensor};
use percept_model::image::{DecodeOptions, decode};
use percept_model::{
    ChatTemplate, GenerationPrompt, Message, Model, ModelFiles, ModelPlace, Precision, Question, SpecialTokens, Tokenizer, atomic,
    parameter_shapes,
};

use super::{Reader, Target, Verdict, read, repository, write};

/// Weights, whole or in shards.
pub(super) const SAFETENSORS: Target = Target { name: "safetensors", seeds: weights, open: read_weights };
/// The small files of a model directory together.
pub(super) const MODEL: Target = Target { name: "model", seeds: small_files, open: read_model };
/// `tokenizer.json`, and what it makes of text.
pub(super) const TOKENIZER: Target = Target { name: "tokenizer", seeds: tokenizers, open: read_tokenizer };
/// A chat template, compiled and rendered.
pub(super) const TEMPLATE: Target = Target { name: "template", seeds: templates, open: read_template };
/// A PEFT directory: settings and weights, put beside a model.
pub(super) const ADAPTER: Target = Target { name: "adapter", seeds: adapters, open: read_adapter };
/// Pictures of all formats.
pub(super) const PICTURE: Target = Target { name: "picture", seeds: pictures, open: read_picture };

const TENSORS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

fn weights() -> Vec<(&'static str, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(TENSORS);
    let tensor = |values: &[f32]| Tensor::from_slice(&Device::cpu(), values, &[values.len() / 2, 2]);
    let tensors = vec![("a.weight".to_owned(), tensor(&[1.0, 2.0, 3.0, 4.0])), ("b".to_owned(), tensor(&[0.5; 8]))];
    save(&path, &tensors, HashMap::from([("format".to_owned(), "pt".to_owned())])).expect("weights that can be written");
    let index = format!(r#"{{"metadata": {{"total_size": 48}}, "weight_map": {{"a.weight": "{TENSORS}", "b": "{TENSORS}"}}}}"#);
    vec![(TENSORS, std::fs::read(path).expect("what was written")), (INDEX, index.into_bytes())]
}

fn read_weights(folder: &Path) -> Reader {
    let (folder, good) = (folder.to_owned(), weights());
    good.iter().for_each(|(name, bytes)| write(&folder.join(name), bytes));
    Box::new(move |name, bytes| {
        write(&folder.join(name), bytes);
        let verdict = Verdict::of(load_all(&folder.join(name)), folder.to_str().expect("a folder of ours"));
        let (_, whole) = good.iter().find(|(good, _)| *good == name).expect("one of the seeds");
        write(&folder.join(name), whole);
        verdict
    })
}

fn load_all(path: &Path) -> percept_engine::Result<()> {
    let checkpoint = Checkpoint::open(path)?;
    for name in checkpoint.names() {
        let shape = checkpoint.shape(name).unwrap_or_default().to_vec();
        checkpoint.is_finite(name);
        checkpoint.load(name, &shape, &Device::cpu())?;
    }
    Ok(())
}

const SMALL: &[&str] = &[
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "adapter_config.json",
];
const ADAPTER_CONFIG: &str =
    r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], "base_model_name_or_path": "."}"#;

fn small_files() -> Vec<(&'static str, Vec<u8>)> {
    let file = |name: &&'static str| match *name {
        "adapter_config.json" => (*name, ADAPTER_CONFIG.into()),
        name => (name, read(&format!("assets/tiny-vlm/{name}"))),
    };
    SMALL.iter().map(file).collect()
}

fn read_model(folder: &Path) -> Reader {
    let directory = folder.join("model");
    std::fs::create_dir(&directory).expect("an empty folder");
    for entry in std::fs::read_dir(repository().join("assets/tiny-vlm")).expect("the shipped model").flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "safetensors") {
            write(&directory.join(entry.file_name()), &std::fs::read(entry.path()).expect("a file of it"));
        }
    }
    let picture = RgbImage::from_fn(20, 14, |x, y| Rgb([x as u8, y as u8, 7]));
    Box::new(move |name, bytes| {
        let path = directory.join(name);
        let good = std::fs::read(&path).ok();
        write(&path, bytes);
        let read = || -> anyhow::Result<()> {
            ModelPlace::find(&directory, None)?;
            let files = ModelFiles::read(&directory)?;
            parameter_shapes(&files.config);
            Question::new(&files, &files.image_processor()?, std::slice::from_ref(&picture), "How many?")?;
            Ok(())
        };
        // what does not fit the model as a whole names no file: a prompt longer than its positions
        let verdict = match read() {
            Err(error) if error.to_string().contains("max_position_embeddings") => Verdict::Refused,
            result => Verdict::of(result, ".json"),
        };
        match good {
            Some(good) => write(&path, &good),
            None => std::fs::remove_file(&path).expect("what was written"),
        }
        verdict
    })
}

const ADAPTER_FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];
/// Another whose tensors have the same shapes.
const OTHER_ADAPTER: &str = "rslora";

/// What PEFT wrote for a small random model; of settings, those of three adapters.
fn adapters() -> Vec<(&'static str, Vec<u8>)> {
    let plain = ADAPTER_FILES.map(|name| (name, read(&format!("tests/golden/peft/plain/{name}"))));
    let other = (ADAPTER_FILES[0], read(&format!("tests/golden/peft/{OTHER_ADAPTER}/{}", ADAPTER_FILES[0])));
    plain.into_iter().chain([other]).collect()
}

fn read_adapter(folder: &Path) -> Reader {
    let (folder, good) = (folder.to_owned(), adapters());
    good[..2].iter().for_each(|(name, bytes)| write(&folder.join(name), bytes));
    let base = repository().join("tests/golden/idefics3/tied");
    let mut model = Model::load(&base, &Device::cpu(), Precision::AsStored).expect("the adapters' base");
    Box::new(move |name, bytes| {
        write(&folder.join(name), bytes);
        let verdict = Verdict::of(model.load_adapter(&folder), folder.to_str().expect("a folder of ours"));
        if verdict == Verdict::Read {
            model = model.without_lora();
        }
        let (_, whole) = good.iter().find(|(good, _)| *good == name).expect("one of the seeds");
        write(&folder.join(name), whole);
        verdict
    })
}

fn tokenizers() -> Vec<(&'static str, Vec<u8>)> {
    vec![("tokenizer.json", read("assets/tiny-vlm/tokenizer.json")), ("tokenizer.json", read("assets/tiny-tokenizer/tokenizer.json"))]
}

fn read_tokenizer(_: &Path) -> Reader {
    Box::new(|name, bytes| {
        let path = Path::new("dir").join(name);
        let read = || -> anyhow::Result<()> {
            let text = std::str::from_utf8(bytes).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
            let tokenizer = Tokenizer::from_json(&path, text)?;
            let mut ids = tokenizer.encode("How many <image> are there?\u{301} 12")?;
            ids.extend([0, 1, u32::MAX]);
            tokenizer.decode_with_ranges(&ids, SpecialTokens::Keep)?;
            let mut detokenizer = tokenizer.detokenizer(SpecialTokens::Skip);
            ids.iter().try_for_each(|id| detokenizer.push(*id).map(drop))?;
            detokenizer.finish()?;
            Ok(())
        };
        Verdict::of(read(), "tokenizer.json")
    })
}

const IDEFICS: &str = "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";
const WITH_FILTERS: &str = "{%- macro f(x, n=3) -%}{{ x | trim | replace('a', 'b') | tojson }}{%- endmacro -%}{% set ns = namespace(found=false) %}{% for m in messages %}{% if loop.first and m.role == 'system' %}{% set ns.found = true %}{% endif %}{{ f(m.content | string) }}{% generation %}{{ m['role'].upper().split('s')[0] }}{% endgeneration %}{% endfor %}{{ range(3) | list | length }}{{ strftime_now('%Y') }}{% if ns.found %}{{ raise_exception('no') }}{% endif %}";

fn templates() -> Vec<(&'static str, Vec<u8>)> {
    [IDEFICS, WITH_FILTERS].map(|template| ("chat_template.jinja", template.as_bytes().to_vec())).into()
}

fn read_template(_: &Path) -> Reader {
    Box::new(|name, bytes| {
        let path = Path::new("dir").join(name);
        let source = String::from_utf8_lossy(bytes);
        let render = |template: ChatTemplate| template.render(&[Message::user_with_image("How many?")], GenerationPrompt::Add);
        Verdict::of(ChatTemplate::new(&path, &source, BTreeMap::new()).and_then(render), "chat_template.jinja")
    })
}

fn pictures() -> Vec<(&'static str, Vec<u8>)> {
    let picture = RgbImage::from_fn(23, 17, |x, y| Rgb([(9 * x) as u8, (11 * y) as u8, (x * y) as u8]));
    let kinds = [
        DynamicImage::from(picture.clone()),
        DynamicImage::from(picture.clone()).to_rgba8().into(),
        DynamicImage::from(picture).to_luma16().into(),
    ];
    let formats = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::Tiff];
    let encoded = formats.into_iter().flat_map(|format| kinds.iter().map(move |kind| (format, kind))).filter_map(|(format, kind)| {
        let mut bytes = Cursor::new(Vec::new());
        kind.write_to(&mut bytes, format).ok().map(|()| ("picture", bytes.into_inner())) // not every format has every kind
    });
    encoded.collect()
}

fn read_picture(folder: &Path) -> Reader {
    let path = folder.join("picture");
    // as much as fits into the memory of a target
    let options = DecodeOptions { max_pixels: 1 << 22, ..DecodeOptions::default() };
    Box::new(move |name, bytes| {
        let by_file = || {
            atomic::write_file(&path, bytes).expect("a file that can be written");
            percept_model::image::open_with(&path, options)
        };
        // most go without the disk
        let result = if bytes.len() % 16 == 0 { by_file() } else { decode(bytes, name, options) };
        Verdict::of(result, "picture")
    })
}
