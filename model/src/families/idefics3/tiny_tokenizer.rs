//! The tokenizer of the `tiny` and `small` presets, committed in `assets/tiny-tokenizer/`.
//!
//! A byte-level BPE whose only merge is `\n\n` (as in SmolVLM, where it joins the rows of tiles to the global
//! picture), so any text encodes and every digit is a token of its own. What the tasks say often is one token each:
//! these pieces are *added tokens*, which match before anything else, the longest first.

use serde_json::{Map, Value, json};

/// Tokens that carry no text; their ids are their positions, 0 onwards.
const SPECIAL_TOKENS: [&str; 6] =
    ["<|endoftext|>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>"];

/// A picture is cut into at most this many rows and columns of tiles.
const TILES_PER_SIDE: usize = 4;

/// Pieces that are one token each, separated by `|`.
const PIECES: &str = concat!(
    // the template of responses
    r"<think>|</think>|\boxed{|I see |I see a |, |, a | and | and a |. |: |In |Number of |Left of it|",
    "The largest is |The smallest is |The leftmost is a |The rightmost is a |yes|no|",
    // chat
    "User:|Assistant:|System:|",
    // questions
    "What|How|Which|Is|Are|Count|Read| is| are| the| of| in| to| or| than| there| many| more| fewer| all| sum|",
    " difference| total| largest| smallest| larger| smaller| leftmost| rightmost| tallest| shortest| digit| number|",
    " shape| form| colour| value| bar| picture| left| right| top| bottom| above| below| between| minus| plus| first| last|",
    // colours and forms, at the start of an answer and inside a sentence
    "red|green|blue|yellow|orange|purple|black|white|gray|",
    " red| green| blue| yellow| orange| purple| black| white| gray|",
    "circle|square|triangle|star|cross|diamond|",
    " circle| square| triangle| star| cross| diamond|",
    "left|right",
);

/// The names and contents of the files of `assets/tiny-tokenizer/`, always the same bytes.
pub fn tiny_tokenizer_files() -> Vec<(&'static str, String)> {
    let vocabulary = Vocabulary::new();
    vec![
        ("chat_template.jinja", CHAT_TEMPLATE.to_string()),
        ("special_tokens_map.json", pretty(&special_tokens_map())),
        ("tokenizer.json", pretty(&vocabulary.tokenizer_json())),
        ("tokenizer_config.json", pretty(&tokenizer_config(&vocabulary))),
    ]
}

/// The form of SmolVLM's template: `Role:` and, unless a picture comes first, a space; then the content.
const CHAT_TEMPLATE: &str = "\
<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:\
{% if message['content'] is string %}{{ ' ' + message['content'] }}{% else %}\
{% if message['content'][0]['type'] != 'image' %}{{ ' ' }}{% endif %}\
{% for part in message['content'] %}\
{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}\
{% endfor %}{% endif %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}";

/// Tokens by id: special tokens, tile positions, pieces, then the 256 bytes and `\n\n`.
struct Vocabulary {
    special: Vec<String>,
    pieces: Vec<String>,
    bytes: Vec<String>,
}

impl Vocabulary {
    fn new() -> Self {
        let tiles = (1..=TILES_PER_SIDE).flat_map(|row| (1..=TILES_PER_SIDE).map(move |col| format!("<row_{row}_col_{col}>")));
        Self {
            special: SPECIAL_TOKENS.into_iter().map(String::from).chain(tiles).collect(),
            pieces: PIECES.split('|').map(String::from).collect(),
            bytes: (0..=u8::MAX).map(|byte| byte_symbol(byte).to_string()).collect(),
        }
    }

    fn tokenizer_json(&self) -> Value {
        let newline = byte_symbol(b'\n').to_string();
        let pair = newline.repeat(2);
        let vocab: Map<String, Value> = (self.special.iter().chain(&self.pieces).chain(&self.bytes).chain([&pair]))
            .enumerate()
            .map(|(id, token)| (token.clone(), id.into()))
            .collect();
        let byte_level = |add_prefix_space: bool| {
            json!({
                "type": "ByteLevel",
                "add_prefix_space": add_prefix_space,
                "trim_offsets": true,
                "use_regex": true,
            })
        };
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.added_tokens(),
            "normalizer": null,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{ "type": "Digits", "individual_digits": true }, byte_level(false)],
            },
            "post_processor": null,
            "decoder": byte_level(true),
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": false,
                "vocab": vocab,
                "merges": [[newline, newline]],
            },
        })
    }

    fn added_tokens(&self) -> Vec<Value> {
        self.added().map(|(id, token, special)| added_token(Some(id), token, special)).collect()
    }

    /// Id, text and whether it is special, of the special tokens and the pieces.
    fn added(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        let special = self.special.len();
        let texts = self.special.iter().chain(&self.pieces);
        texts.enumerate().map(move |(id, token)| (id, token.as_str(), id < special))
    }
}

fn tokenizer_config(vocabulary: &Vocabulary) -> Value {
    let decoder: Map<String, Value> =
        vocabulary.added().map(|(id, token, special)| (id.to_string(), added_token(None, token, special))).collect();
    let mut config = special_tokens_map();
    config["added_tokens_decoder"] = decoder.into();
    config["clean_up_tokenization_spaces"] = false.into();
    config["model_max_length"] = 2048.into();
    config["processor_class"] = "Idefics3Processor".into();
    config["tokenizer_class"] = "PreTrainedTokenizerFast".into();
    config
}

fn special_tokens_map() -> Value {
    json!({
        "additional_special_tokens": ["<fake_token_around_image>", "<image>", "<end_of_utterance>"],
        "bos_token": "<|im_start|>",
        "eos_token": "<end_of_utterance>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    })
}

fn added_token(id: Option<usize>, content: &str, special: bool) -> Value {
    let mut token = json!({
        "content": content,
        "lstrip": false,
        "normalized": false,
        "rstrip": false,
        "single_word": false,
        "special": special,
    });
    if let Some(id) = id {
        token["id"] = id.into();
    }
    token
}

/// GPT-2's printable stand-in for a byte: itself if it prints, else the n-th character from U+0100.
fn byte_symbol(byte: u8) -> char {
    let prints = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if prints(byte) {
        return byte as char;
    }
    let unprintable_before = (0..byte).filter(|&other| !prints(other)).count() as u32;
    char::from_u32(0x100 + unprintable_before).expect("at most 68 bytes do not print")
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
