"""Compares what transformers computes from a directory that Percept saved with what `percept score --json` printed for it.

    percept score --model DIR --image PICTURE --prompt "What is seen?" --completion "12" --json > scores.json
    python3 tests/golden/qwen2_5_vl/check_saved.py DIR PICTURE scores.json [ADAPTER]

transformers must load every weight by name and shape; none may be missing or left over. With ADAPTER, PEFT puts it on the model in DIR (then the scores are those of
`--model ADAPTER --base DIR`). Versions as in make.py, and peft 0.21.2.
"""

import json
import pathlib
import sys

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

directory, picture, scores = sys.argv[1:4]
model, report = AutoModelForImageTextToText.from_pretrained(
    directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    assert not report[key], (key, report[key])
if len(sys.argv) > 4:
    import warnings
    from peft import PeftModel

    warnings.filterwarnings("error", message=".*adapter.*")  # PEFT warns about adapters without tensors
    model = PeftModel.from_pretrained(model, sys.argv[4])
model.eval()
tokenizer = AutoTokenizer.from_pretrained(directory)
inputs = Qwen2VLImageProcessorPil.from_pretrained(directory)(images=[Image.open(picture).convert("RGB")], return_tensors="pt")
messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is seen?"}]}]
text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
count = int(inputs["image_grid_thw"].prod()) // 4
prompt = tokenizer(text.replace("<|image_pad|>", "<|image_pad|>" * count), add_special_tokens=False).input_ids
got = json.loads(pathlib.Path(scores).read_text())
assert got["prompt_tokens"] == len(prompt), (got["prompt_tokens"], len(prompt))
ids = torch.tensor(prompt + got["tokens"])[None]
kinds = (ids == tokenizer.convert_tokens_to_ids("<|image_pad|>")).int()
with torch.no_grad():
    logits = model(input_ids=ids, mm_token_type_ids=kinds, attention_mask=torch.ones_like(ids), pixel_values=inputs["pixel_values"],
                   image_grid_thw=inputs["image_grid_thw"]).logits[0]
expected = logits[:-1].log_softmax(-1).gather(1, ids[0, 1:, None])[len(prompt) - 1:, 0]
print("transformers", [round(x, 4) for x in expected.tolist()])
print("Percept     ", [round(x, 4) for x in got["log_probs"]])
print(f"largest difference {(torch.tensor(got['log_probs']) - expected).abs().max():.1e}")
