"""Writes golden.json: what transformers makes of texts, messages and prompts with assets/tiny-tokenizer.

Run by hand from the repository root:
    python3 tests/golden/tokenizer/make.py
with transformers 5.23.0, tokenizers 0.23.3, torch 2.15.0, pillow (Idefics3Processor imports them).

{
  "texts":      [{"text", "ids"}]                    encoded without added special tokens; decode(ids) == text
  "templates":  [{"template", "messages", "add_generation_prompt", "rendered" or null for an error}]
  "pictures":   [{"width", "height", "split", "rows", "cols", "image_seq_len", "text", "expanded", "ids"}]
                one picture in one prompt, through Idefics3Processor with tiles of 64 and a longest edge of 256
  "counts":     [{"rows", "cols", "image_seq_len", "tokens"}]   tokens of the expansion alone
}
"""

import json
import pathlib
import random

import transformers
from PIL import Image
from transformers import AutoTokenizer, Idefics3Processor
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

HERE = pathlib.Path(__file__).parent
TOKENIZER = HERE / "../../../assets/tiny-tokenizer"
RESPONSE = r"<think>I see 3, 8 and 5. 3+8=11. 11+5=16.</think>\boxed{16}"

# The form of SmolVLM's published template: it only goes through lists.
LIST_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
# What other families' templates use: whitespace control, namespaces, Python's string methods, tojson, exceptions.
BUSY_TEMPLATE = """\
{%- set ns = namespace(count=0) %}
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role not in ['user', 'assistant', 'system'] %}
        {{- raise_exception('unknown role ' + message.role) }}
    {%- endif %}
    {%- set ns.count = ns.count + 1 %}
    {%- if message.content is string %}
        {%- set text = message.content %}
    {%- else %}
        {%- set text = (message.content | selectattr('type', 'equalto', 'text') | list | last).text %}
    {%- endif %}
    {{- ns.count }}|{{ message.role.upper() }}|{{ text.strip() | tojson }}|{{ text.split(' ')[-1].startswith('w') }}
    {% if loop.last %}
    last
    {% endif %}
{%- endfor %}
{% if add_generation_prompt %}
{{ eos_token }}
{%- endif %}
"""


def texts(tokenizer):
    rng = random.Random(0)
    samples = [
        "", "a", RESPONSE, "What is the sum of the digits?", "1234567890", "x\n\ny\n\n\nz\n", "  two  spaces ",
        "naïve café 数字 🙂 e\u0301", "<image><end_of_utterance>\nAssistant:", "I see I see red redred bluegreen star",
        "".join(map(chr, range(32, 127))), "'s 're it's\t\r\n",
    ]
    alphabet = ["I see ", " red", "<think>", "}", "7", " ", "\n", "é", "界", "🙂", "\u0000", "~", "Z"]
    samples += ["".join(rng.choice(alphabet) for _ in range(20)) for _ in range(10)]
    rows = [{"text": s, "ids": tokenizer(s, add_special_tokens=False).input_ids} for s in samples]
    assert all(tokenizer.decode(row["ids"]) == row["text"] for row in rows)
    return rows


def templates(tokenizer):
    parts = [{"type": "image"}, {"type": "text", "text": "How many <red> & 'blue' words"}]
    conversations = [
        [{"role": "user", "content": parts}],
        [{"role": "user", "content": [{"type": "text", "text": " Read "}, {"type": "image"}]},
         {"role": "assistant", "content": [{"type": "text", "text": RESPONSE}]},
         {"role": "user", "content": [{"type": "text", "text": "é \"quoted\" \\ words"}]}],
    ]
    strings = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello world"}]
    cases = [(template, messages, add) for template in (None, LIST_TEMPLATE, BUSY_TEMPLATE)
             for messages in conversations for add in (True, False)]
    cases += [(template, strings, True) for template in (None, BUSY_TEMPLATE)]
    cases += [(BUSY_TEMPLATE, [{"role": "tool", "content": "x"}], True)]
    rows = []
    for template, messages, add in cases:
        try:
            rendered = tokenizer.apply_chat_template(
                messages, chat_template=template, add_generation_prompt=add, tokenize=False)
        except Exception as error:
            assert "unknown role tool" in str(error), error
            rendered = None
        rows.append({"template": template or tokenizer.chat_template, "messages": messages,
                     "add_generation_prompt": add, "rendered": rendered})
    return rows


def picture(tokenizer, width, height, split, image_seq_len):
    image_processor = Idefics3ImageProcessorPil(
        size={"longest_edge": 256}, max_image_size={"longest_edge": 64}, do_image_splitting=split)
    processor = Idefics3Processor(image_processor, tokenizer, image_seq_len=image_seq_len)
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is the sum?"}]}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    image = Image.new("RGB", (width, height), (200, 30, 90))
    layout = image_processor([[image]], return_row_col_info=True)
    ids = processor(images=[image], text=text).input_ids[0]
    return {"width": width, "height": height, "split": split, "rows": layout["rows"][0][0],
            "cols": layout["cols"][0][0], "image_seq_len": image_seq_len, "text": text,
            "expanded": tokenizer.decode(ids), "ids": ids}


def main():
    assert transformers.__version__ == "5.23.0", transformers.__version__
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    pictures = [(640, 480, False), (640, 480, True), (300, 1000, True), (5000, 300, True)]
    counts = []
    for width, height, split in pictures:
        row = picture(tokenizer, width, height, split, 64)
        outside = len(tokenizer(row["text"]).input_ids) - 1
        counts.append({"rows": row["rows"], "cols": row["cols"], "image_seq_len": 64,
                       "tokens": len(row["ids"]) - outside})
    golden = {
        "made_with": {"transformers": transformers.__version__},
        "texts": texts(tokenizer),
        "templates": templates(tokenizer),
        "pictures": [picture(tokenizer, *case, 3) for case in pictures],
        "counts": counts,
    }
    print([(c["rows"], c["cols"], c["tokens"]) for c in counts])
    (HERE / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


main()
