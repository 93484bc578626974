"""Chat templates in the forms that families publish, written anew and shorter, as transformers renders them.

    pip install transformers==5.24.0 jinja2
    python make.py          # writes templates.json

Rows: {"name", "template", "messages", "add_generation_prompt", "rendered"}.
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import _compile_jinja_template

PICTURE = {"type": "image"}

FORMS = {
    # content is a list; the role is capitalised
    "smolvlm": (
        "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}{% if message['content'][0]['type'] == 'image' %}{{':'}}"
        "{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
        "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"),
    # counters in namespaces, tests of kind, a default system message
    "qwen2.5-vl": (
        "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}{% for message in messages %}"
        "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
        "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
        "{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
        "{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}"
        "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"),
    "chatml": (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"),
    # the first message is taken off by a slice; strings are trimmed; a list in a condition; sets outside loops
    "llama3": (
        "{{- '<|begin_of_text|>' }}\n{%- if not date_string is defined %}\n    {%- set date_string = '26 Jul 2024' %}\n{%- endif %}\n"
        "{%- if not tools is defined %}\n    {%- set tools = none %}\n{%- endif %}\n"
        "{%- if messages[0]['role'] == 'system' %}\n    {%- if messages[0]['content'] is string %}\n"
        "        {%- set system_message = messages[0]['content']|trim %}\n    {%- else %}\n"
        "        {%- set system_message = messages[0]['content'][0]['text']|trim %}\n    {%- endif %}\n"
        "    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system_message = '' %}\n{%- endif %}\n"
        "{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}\n{{- 'Today Date: ' + date_string + '\\n\\n' }}\n{{- system_message }}\n"
        "{{- '<|eot_id|>' }}\n{%- for message in messages %}\n    {%- if not (message.role == 'ipython' or message.role == 'tool' or"
        " 'tool_calls' in message) %}\n    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}\n"
        "    {%- if message['content'] is string %}\n        {{- message['content'] | trim + '<|eot_id|>' }}\n    {%- else %}\n"
        "        {%- for content in message['content'] %}\n            {%- if content['type'] == 'image' %}\n                {{- '<|image|>' }}\n"
        "            {%- elif content['type'] == 'text' %}\n                {{- content['text'] | trim }}\n            {%- endif %}\n"
        "        {%- endfor %}\n        {{- '<|eot_id|>' }}\n    {%- endif %}\n    {%- endif %}\n{%- endfor %}\n"
        "{%- if add_generation_prompt %}\n    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n"),
    # alternation is checked; lists are added; filters take tests
    "mistral": (
        "{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content'] %}\n"
        "    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n"
        "{%- set ns = namespace(index=0) %}\n{%- for message in loop_messages %}\n"
        "    {%- if (message['role'] == 'user') != (ns.index % 2 == 0) %}\n        {{- raise_exception('roles must alternate') }}\n    {%- endif %}\n"
        "    {%- set ns.index = ns.index + 1 %}\n{%- endfor %}\n{{- '<s>' }}\n"
        "{%- set users = loop_messages | selectattr('role', 'equalto', 'user') | list %}\n"
        "{%- for message in loop_messages %}\n    {%- if message['role'] == 'user' %}\n        {{- '[INST]' }}\n"
        "        {%- if message == users[-1] and system_message is defined %}\n            {{- system_message + '\\n\\n' }}\n        {%- endif %}\n"
        "        {%- if message['content'] is not string %}\n            {%- for chunk in message['content'] %}\n"
        "                {%- if chunk['type'] == 'text' %}\n                    {{- chunk['text'] }}\n"
        "                {%- elif chunk['type'] == 'image' %}\n                    {{- '[IMG]' }}\n"
        "                {%- else %}\n                    {{- raise_exception('only text and images') }}\n                {%- endif %}\n"
        "            {%- endfor %}\n        {%- else %}\n            {{- message['content'] }}\n        {%- endif %}\n        {{- '[/INST]' }}\n"
        "    {%- else %}\n        {{- message['content'] if message['content'] is string else message['content'][0]['text'] }}{{- '</s>' }}\n"
        "    {%- endif %}\n{%- endfor %}\n"),
    # Python's methods, splitting off what was thought, a reversed list, the neighbours of a loop
    "thinking": (
        "{%- set ns = namespace(last=-1, found=false) %}\n{%- for message in messages[::-1] %}\n"
        "    {%- set index = (messages|length - 1) - loop.index0 %}\n"
        "    {%- if not ns.found and message.role == 'user' and not (message.content is string and message.content.startswith('<tool'))"
        " %}\n        {%- set ns.found = true %}\n        {%- set ns.last = index %}\n    {%- endif %}\n{%- endfor %}\n"
        "{%- for message in messages %}\n    {%- set content = message.content if message.content is string else message.content | map(attribute='text')"
        " | select('defined') | join(' ') %}\n    {%- if message.role == 'assistant' and '</think>' in content %}\n"
        "        {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n"
        "        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n"
        "        {%- if loop.index0 > ns.last %}\n            {{- '<think>' + reasoning.strip() + '</think>' }}\n        {%- endif %}\n    {%- endif %}\n"
        "    {{- message.role.upper() ~ '|' ~ content ~ ('|' if loop.nextitem is defined and loop.nextitem.role != message.role else '') }}\n"
        "    {%- if loop.last and add_generation_prompt %}{{- 'ASSISTANT|' }}{%- endif %}\n{%- endfor %}\n"),
    # macros, recursion, dicts, lists that grow
    "macros": (
        "{%- macro show(value, depth=0) -%}\n{%- if value is mapping -%}{{ '{' }}{%- for key, item in value | dictsort -%}{{ key }}={{ show(item, depth + 1) }};"
        "{%- endfor -%}{{ '}' }}{%- elif value is sequence and value is not string -%}[{%- for item in value -%}{{ show(item, depth + 1) }},{%- endfor -%}]"
        "{%- else -%}{{ value | string | replace('\\n', ' ') }}@{{ depth }}{%- endif -%}\n{%- endmacro -%}\n"
        "{%- set ns = namespace(roles=[], seen={}) %}{%- for message in messages %}{%- if message.role not in ns.roles %}"
        "{%- set ns.roles = ns.roles + [message.role] %}{%- endif %}{%- endfor %}{{ show(messages) }} {{ show(ns.roles) }}"
        "{% for pair in {'a': 1, 'b': [2, 3]}.items() %} {{ pair[0] }}:{{ show(pair[1]) }}{% endfor %} {{ dict(x=1, y=messages|length).get('y') }}"
        " {{ messages | map(attribute='role') | unique | list | length }} {{ (1, 2)[1] }} {{ [1, 2] + [3] }} {{ ('ab' * 3)[1:4] }} {{ [3, 1, 2] | sort }}"
        " {{ range(3) | list }} {{ 'x,y'.split(',') | tojson }} {{ {'k': [1, 'é', '<']} | tojson }} {{ '%s-%d' | format('a', 7) }} {{ '{}:{:>4}'.format('a', 7) }}"),
    # text that is caught in a set, a call block, a filter block
    "blocks": (
        "{%- set caught %}[{% for m in messages %}{{ m.role }}{% if not loop.last %},{% endif %}{% endfor %}]{% endset %}{{ caught | upper }}"
        "{%- macro wrap(left, right='>') %}{{ left }}{{ caller() }}{{ right }}{% endmacro %}{% call wrap('<') %}{{ caught ~ 1 }}{% endcall %}"
        "{% filter replace('e', 'E') %}{{ caught }}{% endfilter %}{% with a = 1, b = [2] %}{{ a }}{{ b[0] }}{% endwith %}"
        "{% for x in [1, 2, 3, 4] if x % 2 == 0 %}{{ x }}{% if x == 2 %}{% continue %}{% endif %}!{% endfor %}{% for x in [] %}{% else %}none{% endfor %}"
        "{% for a, b in [[1, 2], [3, 4]] %}{{ a * b }}{% if loop.first %};{% endif %}{% endfor %}"
        "{% for item in [1, [2, [3]]] recursive %}{% if item is iterable %}({{ loop(item) }}){% else %}{{ item }}{% endif %}{% endfor %}"),
}


def text(role, content):
    return {"role": role, "content": content}


def parts(role, *content):
    return {"role": role, "content": [PICTURE if part is PICTURE else {"type": "text", "text": part} for part in content]}


def main():
    strings = [text("user", "How many?\n"), text("assistant", "<think>\nthree, I see\n</think>\n\n3"), text("user", " And now? ")]
    system = [text("system", " Be brief. ")] + strings
    lists = [parts("user", PICTURE, "How many?"), parts("assistant", "<think>x</think>3"), parts("user", PICTURE, PICTURE, "And\nnow?")]
    rows = []
    for name, template in FORMS.items():
        for messages in (strings, system, lists):
            if name == "smolvlm" and messages is not lists or name == "chatml" and messages is lists:
                continue
            for add in (True, False):
                rendered = _compile_jinja_template(template).render(messages=messages, add_generation_prompt=add)
                rows.append({"name": name, "template": template, "messages": messages, "add_generation_prompt": add, "rendered": rendered})
    path = Path(__file__).parent / "templates.json"
    path.write_text(json.dumps({"rows": rows}, ensure_ascii=False, indent=0) + "\n")
    print(len(rows), "rows")


main()
