"""Loads a directory that Percept saved in transformers and prints the logits for one sequence.

    python3 tests/golden/idefics3/check_saved.py DIR INPUT.json > logits.json
    python3 tests/golden/idefics3/check_saved.py DIR --golden tests/golden/idefics3/tied

INPUT.json: {"input_ids": [n], "pictures": p, "pixels": [p * 3 * height * width bytes, flat]}; the last two may be absent.
Printed:    {"logits": [n][vocab]}, computed in float32 with the weights as they are stored.
--golden:   the sequences of that golden case instead, compared with its logits; fails if they differ by more than 2e-4
            of the largest logit.
Versions as in make.py; transformers must load every weight by name and shape, none may be missing or left over.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForImageTextToText


def load(directory):
    model, report = AutoModelForImageTextToText.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[key], (key, report[key])
    return model.eval()


def logits(model, input_ids, pixels, padding=()):
    """[n, vocab]; pixels u8 [pictures, 3, height, width]."""
    values = (torch.from_numpy(pixels).float() / 255 - 0.5) / 0.5
    for index in padding:
        values[index] = 0.0
    pictures = dict(pixel_values=values[None]) if len(pixels) else {}
    with torch.no_grad():
        return model(input_ids=torch.tensor(input_ids)[None], **pictures).logits[0].numpy()


def compare(model, case):
    document = json.loads((case / "golden.json").read_text())
    tensors = load_file(case / "golden.safetensors")
    for index, row in enumerate(document["sequences"]):
        got = logits(model, row["input_ids"], tensors[f"{index}.pixels"], row["padding_pictures"])
        expected = tensors[f"{index}.logits"]
        error = np.abs(got[row["logit_positions"]] - expected).max() / np.abs(expected).max()
        print(f"sequence {index}: largest difference {error:.1e} of the largest logit")
        assert error <= 2e-4


def main():
    model = load(sys.argv[1])
    if sys.argv[2] == "--golden":
        compare(model, pathlib.Path(sys.argv[3]))
        return
    document = json.loads(pathlib.Path(sys.argv[2]).read_text())
    side = model.config.vision_config.image_size
    pixels = np.array(document.get("pixels", []), np.uint8).reshape(document.get("pictures", 0), 3, side, side)
    print(json.dumps({"logits": logits(model, document["input_ids"], pixels).tolist()}))


main()
