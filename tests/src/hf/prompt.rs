use super::{ids, tiny_tokenizer_directory, tokenizer_golden};
use percept_model::families::idefics3::{IMAGE_TOKEN, expand_image_tokens, image_prompt_tokens};
use percept_model::image::Tiling;
use percept_model::{ChatTemplate, GenerationPrompt, Message, Tokenizer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

fn template(source: &str) -> Result<ChatTemplate, percept_model::ModelError> {
    let tokens = [("bos_token", "<|im_start|>"), ("eos_token", "<end_of_utterance>")];
    let tokens = tokens.map(|(name, token)| (name.to_string(), token.to_string()));
    ChatTemplate::new(Path::new("dir/chat_template.jinja"), source, BTreeMap::from(tokens))
}

fn generation_prompt(row: &Value) -> GenerationPrompt {
    match row["add_generation_prompt"].as_bool().unwrap() {
        true => GenerationPrompt::Add,
        false => GenerationPrompt::Omit,
    }
}

#[test]
fn templates_render_as_in_transformers() {
    let golden = tokenizer_golden();
    let rows = golden["templates"].as_array().unwrap();
    assert!(rows.len() > 10);
    for row in rows {
        let template = template(row["template"].as_str().unwrap()).unwrap();
        let messages: Vec<Message> = serde_json::from_value(row["messages"].clone()).unwrap();
        let rendered = template.render(&messages, generation_prompt(row));
        match row["rendered"].as_str() {
            Some(expected) => assert_eq!(rendered.unwrap(), expected, "{row}"),
            None => {
                let error = rendered.unwrap_err().to_string();
                assert!(error.starts_with("dir/chat_template.jinja: chat template: line "), "{error}");
                assert!(error.ends_with("unknown role tool"), "{error}");
            }
        }
    }
}

#[test]
fn string_content_reaches_templates_that_only_take_lists() {
    let source = "{% for m in messages %}{% for part in m['content'] %}[{{ part['text'] }}]{% endfor %}{% endfor %}";
    let messages: Vec<Message> = serde_json::from_value(json!([{ "role": "user", "content": "hello" }])).unwrap();
    let rendered = template(source).unwrap().render(&messages, GenerationPrompt::Omit).unwrap();
    assert_eq!(rendered, "[hello]");
}

#[test]
fn broken_templates_name_file_and_line() {
    let error = template("a\n{% for x in %}").unwrap_err().to_string();
    assert!(error.starts_with("dir/chat_template.jinja: chat template: line 2: "), "{error}");
}

#[test]
fn time_is_available_to_templates() {
    let template = template("{{ strftime_now('%Y') }}").unwrap();
    let year: u32 = template.render(&[], GenerationPrompt::Omit).unwrap().parse().unwrap();
    assert!(year >= 2025);
}

#[test]
fn templates_are_found_in_their_three_places() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, contents: &str| std::fs::write(directory.path().join(name), contents).unwrap();
    let rendered = || {
        let template = ChatTemplate::from_directory(directory.path()).map_err(|error| error.to_string())?;
        Ok::<_, String>(template.render(&[], GenerationPrompt::Omit).unwrap())
    };
    let error = rendered().unwrap_err();
    assert!(error.contains("chat_template.jinja: not found (a chat template; chat_template.json and "), "{error}");

    let bos = json!({ "content": "<s>", "special": true });
    write("special_tokens_map.json", &json!({ "bos_token": "<overruled>", "eos_token": "</s>" }).to_string());
    let several = json!([{ "name": "tools", "template": "no" }, { "name": "default", "template": "{{ bos_token }}1{{ eos_token }}" }]);
    write("tokenizer_config.json", &json!({ "bos_token": bos, "chat_template": several }).to_string());
    assert_eq!(rendered().unwrap(), "<s>1</s>");
    write("chat_template.json", &json!({ "chat_template": "{{ bos_token }}2" }).to_string());
    assert_eq!(rendered().unwrap(), "<s>2");
    write("chat_template.jinja", "{{ bos_token }}3");
    assert_eq!(rendered().unwrap(), "<s>3");

    std::fs::remove_file(directory.path().join("chat_template.jinja")).unwrap();
    let several = json!([{ "name": "a", "template": "" }, { "name": "b", "template": "" }]);
    write("chat_template.json", &json!({ "chat_template": several }).to_string());
    let error = rendered().unwrap_err();
    let expected = "chat_template: expected a template, or several of which one is `default`, got templates [\"a\", \"b\"]";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn prompts_expand_as_in_transformers() {
    let tokenizer = Tokenizer::from_directory(&tiny_tokenizer_directory()).unwrap();
    let template = ChatTemplate::from_directory(&tiny_tokenizer_directory()).unwrap();
    let golden = tokenizer_golden();
    let rows = golden["pictures"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        let [rows, cols, image_seq_len] = ["rows", "cols", "image_seq_len"].map(|name| row[name].as_u64().unwrap() as usize);
        let tiling = Tiling { rows, cols };
        let messages = [Message::user_with_image("What is the sum?")];
        let text = template.render(&messages, GenerationPrompt::Add).unwrap();
        assert_eq!(text, row["text"].as_str().unwrap());
        let expanded = expand_image_tokens(&text, &[tiling], image_seq_len).unwrap();
        assert_eq!(expanded, row["expanded"].as_str().unwrap());
        let prompt = tokenizer.encode(&expanded).unwrap();
        assert_eq!(prompt, ids(&row["ids"]));
    }
}

#[test]
fn pictures_take_the_tokens_they_take_in_transformers() {
    let tokenizer = Tokenizer::from_directory(&tiny_tokenizer_directory()).unwrap();
    let golden = tokenizer_golden();
    for row in golden["counts"].as_array().unwrap() {
        let [rows, cols, image_seq_len, tokens] =
            ["rows", "cols", "image_seq_len", "tokens"].map(|name| row[name].as_u64().unwrap() as usize);
        let tiling = Tiling { rows, cols };
        assert_eq!(image_prompt_tokens(tiling, image_seq_len), tokens);
        assert_eq!(tokens, 67 + rows * (66 * cols + 1));
        let prompt = tokenizer.encode(&expand_image_tokens(IMAGE_TOKEN, &[tiling], image_seq_len).unwrap()).unwrap();
        assert_eq!(prompt.len(), tokens);
        let image_token_id = tokenizer.token_to_id(IMAGE_TOKEN).unwrap();
        let visual = prompt.iter().filter(|&&id| id == image_token_id).count();
        assert_eq!(visual, (rows * cols + 1) * image_seq_len);
    }
}

#[test]
fn pictures_and_their_places_must_match() {
    let whole = Tiling { rows: 0, cols: 0 };
    let error = |text, tilings: &[Tiling]| expand_image_tokens(text, tilings, 1).unwrap_err().to_string();
    assert_eq!(error("<image>", &[whole, whole]), "prompt: expected one <image> for each of 2 pictures, got 1");
    assert_eq!(error("a <image> in a question <image>", &[whole]), "prompt: expected one <image> for each of 1 pictures, got 2");
    let two = expand_image_tokens("a<image>b<image>c", &[whole, whole], 1).unwrap();
    let one = "<fake_token_around_image><global-img><image><fake_token_around_image>";
    assert_eq!(two, format!("a{one}b{one}c"));
}

/// `{% generation %}` marks what the assistant says. What transformers 5.24 renders of these (`_compile_jinja_template(source).render(messages=..)`).
#[test]
fn generation_blocks_render_as_in_transformers() {
    let cases = [
        (
            "{% for m in messages %}\n{% if m.role == 'assistant' %}\n  {% generation %}\n{{ m.content }}<end>\n  {% endgeneration %}\n{% else %}\n\
             {{ m.content }}\n{% endif %}\n{% endfor %}\n|",
            "hi\nyes<end>\nno<end>\n|",
        ),
        (
            "{%- for m in messages -%}\n  {{ m.role }}: {% generation -%}\n   {{ m.content }}\n {%- endgeneration %} ;\n{% endfor %}",
            "user: hi ;\nassistant: yes ;\nassistant: no ;\n",
        ),
        // a variable that is set in the block is the block's
        (
            "{% set x = 'out' %}{% for m in messages %}{%- generation -%}{% set x = m.content %}{{ x }}{{ loop.index }}{%- endgeneration -%} {{ x }} \
             {% endfor %}",
            "hi1out yes2out no3out ",
        ),
        // neither comments nor strings nor raw text are blocks
        (
            "{# {% generation %} #}{{ '{% generation %}' }}{% raw %}{% generation %}{% endraw %}{% if 'endgeneration' == \"%}\" %}{% endif %}\
             {%generation%}a{%endgeneration%}generation",
            "{% generation %}{% generation %}ageneration",
        ),
    ];
    let said = [("user", "hi"), ("assistant", "yes"), ("assistant", "no")];
    let messages = json!(said.map(|(role, content)| json!({ "role": role, "content": content })));
    let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
    for (source, expected) in cases {
        assert_eq!(template(source).unwrap().render(&messages, GenerationPrompt::Omit).unwrap(), expected, "{source}");
    }
}
