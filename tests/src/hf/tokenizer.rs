use super::{ids, tiny_tokenizer_directory, tokenizer_golden};
use percept_model::families::idefics3::tiny_tokenizer_files;
use percept_model::{ModelConfig, SpecialTokens, Tokenizer};
use proptest::prelude::*;
use std::path::Path;

pub(super) fn tiny_tokenizer() -> Tokenizer {
    Tokenizer::from_directory(&tiny_tokenizer_directory()).unwrap()
}

#[test]
fn committed_tiny_tokenizer_is_what_the_builder_writes() {
    for (name, contents) in tiny_tokenizer_files() {
        let committed = std::fs::read_to_string(tiny_tokenizer_directory().join(name)).unwrap();
        assert!(committed == contents, "{name} differs: run the example make_tiny_tokenizer");
    }
}

#[test]
fn tiny_tokenizer_fits_the_presets() {
    let tokenizer = tiny_tokenizer();
    for config in [ModelConfig::tiny(), ModelConfig::small()] {
        tokenizer.check_model(&config).unwrap();
        assert_eq!(tokenizer.vocab_size(), config.text.vocab_size);
        assert_eq!(config.text.bos_token_id, tokenizer.token_to_id("<|im_start|>"));
        assert_eq!(config.text.eos_token_ids, [tokenizer.token_to_id("<end_of_utterance>").unwrap()]);
        assert_eq!(config.text.pad_token_id, tokenizer.token_to_id("<|endoftext|>"));
    }
}

#[test]
fn responses_are_one_token_per_digit_and_piece() {
    let tokenizer = tiny_tokenizer();
    let response = r"<think>I see 3, 8 and 5. 3+8=11. 11+5=16.</think>\boxed{16}";
    let tokens: Vec<String> = (tokenizer.encode(response).unwrap().into_iter()).map(|id| tokenizer.id_to_token(id).unwrap()).collect();
    let expected = [
        "<think>", "I see ", "3", ", ", "8", " and ", "5", ". ", "3", "+", "8", "=", "1", "1", ". ", "1", "1", "+", "5", "=", "1", "6",
        ".", "</think>", r"\boxed{", "1", "6", "}",
    ];
    assert_eq!(tokens, expected);
}

#[test]
fn ids_are_transformers() {
    let tokenizer = tiny_tokenizer();
    let golden = tokenizer_golden();
    let texts = golden["texts"].as_array().unwrap();
    assert!(texts.len() > 15);
    for row in texts {
        let text = row["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text).unwrap(), ids(&row["ids"]), "{text:?}");
    }
}

fn stream(tokenizer: &Tokenizer, ids: &[u32], special_tokens: SpecialTokens) -> (Vec<String>, String) {
    let mut detokenizer = tokenizer.detokenizer(special_tokens);
    let pieces = ids.iter().map(|&id| detokenizer.push(id).unwrap()).collect();
    (pieces, detokenizer.finish().unwrap())
}

#[test]
fn streaming_gives_whole_characters_only() {
    let tokenizer = tiny_tokenizer();
    let ids = tokenizer.encode("a🙂é\u{FFFD}<end_of_utterance>b").unwrap();
    let (pieces, rest) = stream(&tokenizer, &ids, SpecialTokens::Skip);
    // 🙂 has four bytes, é two; a genuine U+FFFD comes out with what follows it
    assert_eq!(pieces, ["a", "", "", "", "🙂", "", "é", "", "", "", "", "\u{FFFD}b"]);
    assert_eq!(rest, "");
    // cut inside a character
    let (pieces, rest) = stream(&tokenizer, &ids[..3], SpecialTokens::Skip);
    assert_eq!((pieces.concat().as_str(), rest.as_str()), ("a", "\u{FFFD}"));
}

proptest! {
    #[test]
    fn decoding_inverts_encoding(text in any::<String>()) {
        let tokenizer = tiny_tokenizer();
        let ids = tokenizer.encode(&text).unwrap();
        prop_assert_eq!(&tokenizer.decode(&ids, SpecialTokens::Keep).unwrap(), &text);
        let (pieces, rest) = stream(&tokenizer, &ids, SpecialTokens::Keep);
        prop_assert_eq!(pieces.concat() + &rest, text);
    }

    #[test]
    fn any_ids_stream_to_their_text(ids in proptest::collection::vec(0_u32..400, 0..60)) {
        let tokenizer = tiny_tokenizer();
        let (pieces, rest) = stream(&tokenizer, &ids, SpecialTokens::Skip);
        prop_assert_eq!(pieces.concat() + &rest, tokenizer.decode(&ids, SpecialTokens::Skip).unwrap());
    }
}

#[test]
fn tokenizers_of_other_models_are_refused() {
    let (_, json) = tiny_tokenizer_files().into_iter().find(|(name, _)| *name == "tokenizer.json").unwrap();
    let path = Path::new("dir/tokenizer.json");
    let error = |json: &str| {
        let checked = Tokenizer::from_json(path, json).and_then(|tokenizer| tokenizer.check_model(&ModelConfig::tiny()));
        checked.unwrap_err().to_string()
    };
    let expected = "expected a token of a vision-language model, got no such token in the vocabulary";
    assert_eq!(error(&json.replace("<image>", "<picture>")), format!("dir/tokenizer.json: <image>: {expected}"));
    let renamed = json.replace("<fake_token_around_image>", "<other>");
    assert_eq!(error(&renamed), format!("dir/tokenizer.json: <fake_token_around_image>: {expected}"));
    assert!(error(&json[..json.len() / 2]).starts_with("dir/tokenizer.json: EOF"), "{}", error(&json[..500]));
    assert!(error("{}").starts_with("dir/tokenizer.json: "));

    let tokenizer = Tokenizer::from_json(path, &json).unwrap();
    let error = |config: &ModelConfig| tokenizer.check_model(config).unwrap_err().to_string();
    assert_eq!(
        error(&ModelConfig::smolvlm_256m()),
        "dir/tokenizer.json: <image>: expected id 49190 (image_token_id of config.json), got id 4"
    );
    let mut config = ModelConfig::tiny();
    config.text.vocab_size = 300;
    assert_eq!(
        error(&config),
        "dir/tokenizer.json: vocabulary: expected ids below 300 (text_config.vocab_size of config.json), got id 383"
    );
}

#[test]
fn ranges_cover_the_text_and_characters_stay_whole() {
    let tokenizer = tiny_tokenizer();
    let ids = tokenizer.encode("I see é7🙂").unwrap();
    let (text, ranges) = tokenizer.decode_with_ranges(&ids[..ids.len() - 1], SpecialTokens::Skip).unwrap();
    assert_eq!(text, "I see é7\u{FFFD}");
    assert_eq!(ranges, [0..6, 6..6, 6..8, 8..9, 9..9, 9..9, 9..12]);
}
