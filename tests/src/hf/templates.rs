//! Chat templates as families publish them render as in transformers; templates that would take all memory, all time or the whole stack are refused.

use super::repository;
#[cfg(target_os = "linux")]
use crate::common::survives;
use percept_model::{ChatTemplate, GenerationPrompt, Message};
use std::collections::BTreeMap;
use std::path::Path;

fn template(source: &str) -> Result<ChatTemplate, percept_model::ModelError> {
    ChatTemplate::new(Path::new("dir/chat_template.jinja"), source, BTreeMap::new())
}

/// What bounds strangers' templates must not be seen in anybody's (`tests/golden/templates/make.py`).
#[test]
fn forms_of_families_render_as_in_transformers() {
    let golden = std::fs::read_to_string(repository("tests/golden/templates/templates.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_str(&golden).unwrap();
    let rows = golden["rows"].as_array().unwrap();
    assert!(rows.len() > 40);
    for row in rows {
        let messages: Vec<Message> = serde_json::from_value(row["messages"].clone()).unwrap();
        let prompt = if row["add_generation_prompt"] == true { GenerationPrompt::Add } else { GenerationPrompt::Omit };
        let rendered = template(row["template"].as_str().unwrap()).and_then(|template| template.render(&messages, prompt));
        assert_eq!(rendered.map_err(|error| error.to_string()), Ok(row["rendered"].as_str().unwrap().to_owned()), "{row}");
    }
}

/// What was tried to take all memory, all time, or the whole stack, each in the place of BODY. `x` and `y` hold lists, `z` holds a text.
const ATTACKS: &[&str] = &[
    // lists that double and are made only when they are read
    "{% for a in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x | length }}",
    "{% for a in range(30) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    "{% for a in range(31) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ (ns.x ~ 'a') | length }}",
    "{% for a in range(31) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x == ns.x[:] }}",
    "{% for a in range(60) %}{% set ns.x = (ns.x + ns.x) | list %}{% endfor %}",
    "{% for a in range(60) %}{% set ns.x = ns.x * 2 %}{% endfor %}",
    "{% for a in range(8) %}{% set ns.x = ns.x * 100000 %}{% endfor %}{{ ns.x | length }}",
    "{% set ns.x = ns.x * 50000000 %}{{ ns.x }}",
    "{% set ns.x = ns.x * 50000000 %}{{ (ns.x ~ 1) | length }}",
    "{% set ns.z = 'a' * 3000000 %}{% set ns.x = [ns.z] %}{% set ns.x = ns.x * 10000 %}{{ ns.x }}",
    "{% for a in range(60) %}{% set ns.x = ns.x | chain(ns.x) %}{% endfor %}{{ ns.x | list | length }}",
    "{% for a in range(40) %}{% set ns.x = ns.x | zip(ns.x) %}{% endfor %}{{ ns.x }}",
    // strings that double
    "{% for a in range(60) %}{% set ns.z = ns.z ~ ns.z %}{% endfor %}",
    "{% for a in range(60) %}{% set ns.z = ns.z + ns.z %}{% endfor %}",
    "{% for a in range(60) %}{% set ns.z = ns.z * 2 %}{% endfor %}",
    "{% for a in range(60) %}{% set ns.z = [ns.z, ns.z] | join %}{% endfor %}",
    "{% for a in range(60) %}{% set ns.z = ns.z | replace('a', 'aa') %}{% endfor %}",
    "{% for a in range(60) %}{% set ns.z = ns.z.replace('a', 'aa') %}{% endfor %}",
    "{% for a in range(60) %}{% set ns.z = '%s%s' | format(ns.z, ns.z) %}{% endfor %}",
    "{% for a in range(60) %}{% set ns.z = '{}{}'.format(ns.z, ns.z) %}{% endfor %}",
    "{% for a in range(60) %}{% set ns.z = ns.z.join([ns.z, ns.z]) %}{% endfor %}",
    "{% for a in range(60) %}{% set ns.z = ns.z | tojson | tojson %}{% endfor %}",
    "{% for a in range(60) %}{% set ns.z = [ns.z, ns.z] | string %}{% endfor %}",
    "{% for a in range(60) %}{% set ns.z %}{{ ns.z }}{{ ns.z }}{% endset %}{% endfor %}",
    "{% macro f(z) %}{{ z }}{{ z }}{% endmacro %}{% for a in range(60) %}{% set ns.z = f(ns.z) %}{% endfor %}",
    "{% for a in range(60) %}{% set ns.z = (ns.z ~ '&') | escape ~ ns.z %}{% endfor %}",
    "{% for a in range(60) %}{% filter upper %}{{ ns.z }}{% set ns.z = ns.z ~ ns.z %}{% endfilter %}{% endfor %}",
    // one call that makes much
    "{{ ('a' * 1000000).replace('a', 'b' * 1000000) | length }}",
    "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) | length }}",
    "{% set ns.x = ns.x * 30000 %}{{ ns.x | join('b' * 1000000) | length }}",
    "{% set ns.x = ns.x * 30000 %}{{ ('b' * 1000000).join(ns.x) | length }}",
    "{{ ('a\\n' * 1000000) | indent(10000000) | length }}",
    "{{ '%10000000000d' | format(1) | length }}",
    "{{ '%.1000000000f' | format(1.5) | length }}",
    "{{ '{:>10000000000}'.format(1) | length }}",
    "{{ '{0:10000000000}'.format('') | length }}",
    "{% set x = [1] %}{{ x | tojson(indent=1000000000) | length }}",
    "{{ [1] | batch(1000000000, 'x') | list | length }}",
    "{{ [1] | slice(1000000000, 'x') }}",
    "{{ range(100000000000) | list | length }}",
    "{{ ('a' * 30000000).split('') | length }}",
    "{{ ('a' * 4000000) | list | length }}",
    "{{ ('a\\n' * 2000000) | lines | length }}",
    "{{ ('a\\n' * 2000000).splitlines() | length }}",
    "{{ ('a ' * 2000000).split() | length }}",
    "{{ (('a' * 4000000) | reverse ~ 'a') * 9 }}",
    "{% set ns.y = [{'a': 'x' * 1000000}] %}{% set ns.y = ns.y * 100 %}{{ ns.y | groupby('a') | length }}",
    // short to build, endless to print
    "{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% for a in range(40) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ ns.x | string | length }}",
    "{% for a in range(40) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x | tojson }}",
    "{% for a in range(40) %}{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x | pprint }}",
    "{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | join }}",
    "{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ {ns.x: 1} }}",
    "{% for a in range(40) %}{% set ns.x = {ns.x: ns.x} %}{% endfor %}{{ ns.x }}",
    "{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ raise_exception(ns.x) }}",
    "{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}{{ [ns.x, ns.y] | unique | list }}",
    // short to compare again and again
    "{% for a in range(13) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}\
     {% for a in range(60000) %}{% if ns.x == ns.y or ns.x in [ns.y] or ns.x is eq(ns.y) %}{% endif %}{% endfor %}",
    "{% for a in range(13) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{% set l = [ns.x, ns.y] %}{% for a in range(60000) %}\
     {% if l | max or l | select('eq', ns.y) or l.count(ns.y) or ns.y in l %}{% endif %}{% endfor %}",
    "{% set l = 'a' * 4000000 %}{% set m = l ~ '' %}{% for a in range(60000) %}{% if l == m or m in l %}{% endif %}{% endfor %}",
    // deep enough to overflow the stack when they are freed
    "{% for a in range(60000) %}{% set ns.x = [ns.x] %}{% endfor %}",
    "{% for a in range(60000) %}{% set ns.x = (ns.x,) %}{% endfor %}",
    "{% for a in range(60000) %}{% set ns.x = {'a': ns.x} %}{% endfor %}",
    "{% for a in range(60000) %}{% set ns.x = dict(a=ns.x) %}{% endfor %}",
    "{% for a in range(60000) %}{% set ns.x = {'a': ns.x} | items %}{% endfor %}",
    "{% for a in range(60000) %}{% set ns.x = ns.x | batch(1) %}{% endfor %}",
    "{% for a in range(60000) %}{% set ns.x = namespace(x=ns.x) %}{% endfor %}",
    "{% for a in range(60000) %}{% for b in [ns.x, 1] %}{% set ns.x = loop %}{% endfor %}{% endfor %}",
    // inside itself
    "{% set ns.x = ns %}{{ ns }}",
    "{% set ns.x = [ns] %}{{ ns.x | tojson }}",
    "{% set ns.x = {'a': ns} %}{{ ns }}",
    "{% set other = namespace(x=ns) %}{% set ns.x = other %}{{ ns }}",
    "{{ [ns] }}{{ debug() }}",
    // calls without an end
    "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "{% for a in [1, 2] recursive %}{{ loop([a, a]) }}{% endfor %}",
    "{% macro f() %}{{ caller() }}{{ caller() }}{% endmacro %}{% macro g(n) %}{% call f() %}{{ g(n) }}{% endcall %}{% endmacro %}{{ g(1) }}",
    "{% block a %}{{ self.a() }}{% endblock %}",
    "{% block a %}{% for a in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{% endblock %}",
    "{% include 'chat_template' %}",
    "{% extends 'chat_template' %}",
    // constants that are worked out while the template is compiled
    "{{ ([[1] * 99999999] * 99999999) == ([[1] * 99999999] * 99999999) }}",
    "{{ 2 in [1] * 99999999 }}{{ 2 in [[1]] * 99999999 }}",
];

#[cfg(target_os = "linux")]
const UNDER_A_LIMIT: &str = "PERCEPT_TEST_TEMPLATES_UNDER_A_LIMIT";

/// In a process of its own, which may take 1 GB of addresses and a minute of computing: whoever gets around the bounds ends that.
#[cfg(target_os = "linux")]
#[test]
fn templates_that_would_take_everything_are_refused() {
    println!("{}", survives("ulimit -v 1000000 && ulimit -t 60", "hf::templates::acts_under_a_limit", UNDER_A_LIMIT));
}

/// No test but the process of the test above.
#[cfg(target_os = "linux")]
#[test]
fn acts_under_a_limit() {
    if std::env::var(UNDER_A_LIMIT).is_err() {
        return;
    }
    let messages = [Message::user_with_image("hi there")];
    let most = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    };
    let before = most();
    let row = |start: &str, piece: &str, times: usize, end: &str| format!("{start}{}{end}", piece.repeat(times));
    // long in one line: nested for whoever parses it
    let long = [
        row("{{ 1", " + a", 100_000, " }}"),
        row("{{ 1", " ~ a", 2400, " }}"),
        row("{{ a", ".a", 100_000, " }}"),
        row("{{ a", " | string", 30_000, " }}"),
        row("{{ 1", " and a", 100_000, " }}"),
        row("{{ ", "1 if 1 else ", 30_000, "1 }}"),
        row("{{ ", "not ", 3_000, "1 }}"),
        row("{{ ", "(", 10_000, ""),
        row("{{ ", "[", 4_000, ""),
        row("{% if 1 %}", "{% elif 1 %}", 20_000, "{% endif %}"),
        row("{% if 1 %}", "{% elif 1 %}", 4_990, "{% endif %}"),
        row("", "{% if 1 %}", 4_990, ""),
        // no end of a tag, of a comment, of a raw text, of a string
        row("generation", "{% if 1 %}", 104_000, ""),
        row("generation", "{%", 524_000, ""),
        row("generation", "{#", 524_000, ""),
        row("generation", "{{ '", 262_000, ""),
        row("generation", "{% raw %}", 116_000, ""),
        row("", "{% raw %}{% endraw %}", 49_000, ""),
    ];
    let long = long.into_iter().map(|source| (source, true));
    let start = "{% set ns = namespace(x=['a', 'b'], y=['a', 'b'], z='a') %}";
    for (source, may_render) in ATTACKS.iter().map(|source| (format!("{start}{source}"), false)).chain(long) {
        let name: String = source.chars().skip(if may_render { 0 } else { start.len() }).take(100).collect();
        let began = std::time::Instant::now();
        match template(&source).and_then(|template| template.render(&messages, GenerationPrompt::Add)) {
            Err(error) => {
                let error = error.to_string();
                assert!(error.starts_with("dir/chat_template.jinja: chat template: ") && error.len() < 1000, "{name}: {error}");
                println!("{:>5} ms {:>4} MiB {name}: {}", began.elapsed().as_millis(), most(), error.split("line ").last().unwrap());
            }
            Ok(_) if may_render => {}
            Ok(text) => panic!("{name} was rendered: {} bytes", text.len()),
        }
    }
    assert!(most() - before < 256, "{before} MiB, and then {} MiB", most());
    println!("survived");
}
