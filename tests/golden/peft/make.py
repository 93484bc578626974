"""Writes LoRA adapters for the model of tests/golden/idefics3/tied with PEFT, and what base and adapter compute together, in float32.

Run by hand from the repository root:
    python3 tests/golden/peft/make.py
with peft 0.21.2, transformers 5.24.0, torch 2.15.0, numpy, safetensors.

plain/, rslora/, patterns/
    adapters as PEFT saves them, the README aside. `plain`: names of layers, of which the vision tower has some, too, and one of the connector. `rslora`: a regular expression,
    a second one that excludes layers, `use_rslora`, values in bfloat16.
    `patterns`: layers of some numbers alone, ranks and factors by pattern.
golden.json
    {adapter: {"log_probs": [sequence][n - 1]}} for the sequences of tests/golden/idefics3/tied/golden.json:
    element t - 1 is log p(input_ids[t] | input_ids[..t]), nats

With a directory as argument, compares an adapter that Percept saved instead:
    python3 tests/golden/peft/make.py ADAPTER BASE SCORES.json PICTURE
SCORES.json is what `percept score --json` printed for it, with `--prompt "What is the sum of the digits?"` and the completion of COMPLETION below.
"""

import json
import pathlib
import sys

import numpy as np
import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file
from transformers import AutoModelForImageTextToText

HERE = pathlib.Path(__file__).parent
BASE = HERE / "../idefics3/tied"
COMPLETION = "I see 3, 8 and 11."

ADAPTERS = {
    "plain": (dict(r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "down_proj", "fc1", "modality_projection.proj"]), torch.float32),
    "rslora": (dict(r=2, lora_alpha=3, use_rslora=True, target_modules=r"^model\.text_model(?=\.).*\.(k_proj|o_proj|up_proj|gate_proj)$",
                    exclude_modules=r".*layers\.0\.mlp\..*", task_type="CAUSAL_LM"), torch.bfloat16),
    "patterns": (dict(r=2, lora_alpha=3, target_modules=["q_proj", "k_proj", "fc1", "modality_projection.proj"], layers_to_transform=[1],
                      layers_pattern=["layers"], rank_pattern={r"text_model\..*\.q_proj": 4, "fc1": 1}, alpha_pattern={"k_proj": 8}), torch.float32),
}


def load(directory):
    return AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()


def log_probs(model, ids, pixels):
    ids = torch.tensor(ids)
    pictures = dict(pixel_values=pixels[None]) if len(pixels) else {}
    with torch.no_grad():
        logits = model(input_ids=ids[None], **pictures).logits[0]
    return logits[:-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]


def make():
    document = {"made_with": {module.__name__: module.__version__.split("+")[0] for module in (peft, transformers, torch)}}
    golden = json.loads((BASE / "golden.json").read_text())
    tensors = load_file(BASE / "golden.safetensors")
    for seed, (name, (config, dtype)) in enumerate(ADAPTERS.items()):
        model = get_peft_model(load(BASE), LoraConfig(**config))
        rng = np.random.default_rng(seed)
        for parameter_name, parameter in sorted(model.named_parameters()):
            if "lora_" in parameter_name:
                noise = torch.from_numpy(rng.standard_normal(tuple(parameter.shape)).astype(np.float32))
                parameter.data = (0.3 * noise).to(dtype)
        directory = HERE / name
        model.save_pretrained(directory)
        (directory / "README.md").unlink(missing_ok=True)
        config = json.loads((directory / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = None  # a path of this machine
        if isinstance(config["target_modules"], list):
            config["target_modules"].sort()
        (directory / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

        model = PeftModel.from_pretrained(load(BASE), directory).eval()
        rows = []
        for index, row in enumerate(golden["sequences"]):
            pixels = (torch.from_numpy(tensors[f"{index}.pixels"]).float() / 255 - 0.5) / 0.5
            for padding in row["padding_pictures"]:
                pixels[padding] = 0.0
            rows.append(log_probs(model, row["input_ids"], pixels).tolist())
        document[name] = {"log_probs": rows}
    (HERE / "golden.json").write_text(json.dumps(document) + "\n")


def compare(adapter, base, scores, picture):
    from PIL import Image
    from transformers import AutoProcessor
    import warnings

    processor = AutoProcessor.from_pretrained(base, backend="pil")
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is the sum of the digits?"}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(images=[Image.open(picture)], text=text, return_tensors="pt")
    tokens = processor.tokenizer(COMPLETION, add_special_tokens=False).input_ids
    ids = inputs["input_ids"][0].tolist() + tokens
    without = log_probs(load(base), ids, inputs["pixel_values"][0])[-len(tokens):]
    warnings.filterwarnings("error", message=".*adapter.*")  # PEFT warns about adapters without tensors
    model = PeftModel.from_pretrained(load(base), adapter).eval()
    expected = log_probs(model, ids, inputs["pixel_values"][0])[-len(tokens):]
    merged = log_probs(model.merge_and_unload(), ids, inputs["pixel_values"][0])[-len(tokens):]
    got = torch.tensor(json.loads(pathlib.Path(scores).read_text())["log_probs"])
    print("PEFT   ", [round(x, 4) for x in expected.tolist()])
    print("Percept", [round(x, 4) for x in got.tolist()])
    print(f"largest difference {(got - expected).abs().max():.1e} (merged in PEFT {(merged - expected).abs().max():.1e}, without the adapter {(without - expected).abs().max():.1e})")


compare(*sys.argv[1:]) if len(sys.argv) > 1 else make()
