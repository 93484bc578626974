"""Writes small random Qwen2.5-VL models and what transformers computes with them, in float32.

Run by hand from the repository root:
    python3 tests/golden/qwen2_5_vl/make.py [CASE ...]
with transformers 5.24.0, torch 2.15.0, numpy, safetensors, pillow.

Each case is a directory `tests/golden/qwen2_5_vl/<case>/`:

config.json, model*.safetensors, preprocessor_config.json
    `flat`: the layout and the tensor names of the published files, head tied; windows of two visual tokens a side.
    `nested`: the layout of transformers 5, tensors under the names of its modules, in bfloat16 (computed in float32) and several shards, head untied;
    windows of four visual tokens a side, and another list of layers that see the whole picture.
golden.json
    {"loss": L,
     "sequences": [{"input_ids": [n], "response_start": r, "pictures": [[height, width]], "grids": [[rows, cols]], "logit_positions": [k]}],
     "gradients": {parameter: {"stride": s, "norm": l2 norm of the whole gradient}}}
    Parameters have the names of the published files. Picture `number` of a sequence has at (y, x) the colour of `picture` below.
golden.safetensors, for sequence i
    "i.pixels"     f32 [m]                          every 997th of the values that transformers' image processor gives
    "i.logits"     f32 [k, vocab]                   at logit_positions
    "i.log_probs"  f32 [n - 1]                      element t - 1: log p(input_ids[t] | input_ids[..t]), nats
    "i.entropies"  f32 [n - 1]                      element t - 1: entropy of that distribution, nats
    "gradient.P"   f32                              d loss / d P, flattened, every s-th element from the first

    loss = - sum over sequences, sum over t in r..n of w(t) * log p(input_ids[t] | input_ids[..t])
    w(t) = ((7 * t) mod 11) / 10 - 0.3
"""

import json
import math
import pathlib
import re
import shutil
import sys

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

HERE = pathlib.Path(__file__).parent
START, IMAGE, END = 3, 4, 5

VISION = dict(depth=4, hidden_size=32, intermediate_size=36, num_heads=2, out_hidden_size=48, patch_size=14, spatial_merge_size=2, temporal_patch_size=2)
TEXT = dict(hidden_size=48, intermediate_size=40, num_hidden_layers=4, num_attention_heads=3, num_key_value_heads=1, max_position_embeddings=2048,
            rms_norm_eps=1e-6, bos_token_id=1, eos_token_id=2, pad_token_id=0)
IDS = dict(image_token_id=IMAGE, video_token_id=6, vision_start_token_id=START, vision_end_token_id=END)
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3]}

CASES = {
    "flat": dict(seed=1, dtype=torch.float32, pixels=(3136, 200_000), config=dict(
        text_config=dict(TEXT, vocab_size=384, tie_word_embeddings=True, rope_parameters=dict(ROPE, rope_theta=1000000.0)),
        vision_config=dict(VISION, window_size=56, fullatt_block_indexes=[1, 3]), tie_word_embeddings=True, **IDS)),
    "nested": dict(seed=2, dtype=torch.bfloat16, pixels=(3136, 1_003_520), config=dict(
        text_config=dict(TEXT, vocab_size=96, tie_word_embeddings=False, rope_parameters=dict(ROPE, rope_theta=10000.0)),
        vision_config=dict(VISION, window_size=112, fullatt_block_indexes=[2]), tie_word_embeddings=False, **IDS)),
}


def build(case):
    model = Qwen2_5_VLForConditionalGeneration._from_config(Qwen2_5_VLConfig(**case["config"]), attn_implementation="eager")
    rng = np.random.default_rng(case["seed"])
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.from_numpy(rng.standard_normal(tuple(parameter.shape)).astype(np.float32))
            if ("norm" in name or "ln_q" in name) and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.ndim == 1:
                parameter.copy_(0.1 * noise)
            elif "embed_tokens" in name:
                parameter.copy_(0.5 * noise)
            else:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            parameter.copy_(parameter.to(case["dtype"]).float())
    return model.float().eval()


def picture(number, height, width):
    y, x = np.mgrid[0:height, 0:width]
    colours = (x * 31 + 40 * number, y * 17 + x * x // 5, (x + 1) * (y + 3) * (number + 1) // 7)
    return np.stack([colour % 256 for colour in colours], -1).astype(np.uint8)


def sequences(vocab, rng):
    """One small picture; two in a prompt, of which windows divide neither in a square; a long thin and a larger one; text alone."""
    text = lambda n: rng.integers(8, vocab, n).tolist()
    yield [text(4), (56, 56), text(3)], text(8)
    yield [text(1), (308, 504), text(2), (97, 61), text(3)], text(7)
    yield [(30, 700), text(2), (336, 336), text(1)], text(9)
    yield [text(5)], text(6)


def log_probs_and_entropies(logits, ids):
    log_p = logits[:-1].log_softmax(-1)
    return log_p.gather(1, ids[1:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


def published(name):
    name = re.sub(r"^model\.visual\.", "visual.", name)
    return re.sub(r"^model\.language_model\.", "model.", name)


def golden(model, case, directory):
    rng = np.random.default_rng(100 + case["seed"])
    low, high = case["pixels"]
    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": low, "longest_edge": high})
    tensors, rows, loss = {}, [], 0.0
    for index, (prompt, response) in enumerate(sequences(case["config"]["text_config"]["vocab_size"], rng)):
        sizes = [piece for piece in prompt if isinstance(piece, tuple)]
        arguments, grids = {}, []
        if sizes:
            images = [Image.fromarray(picture(number, *size)) for number, size in enumerate(sizes)]
            inputs = processor(images=images, return_tensors="pt")
            arguments = dict(pixel_values=inputs["pixel_values"], image_grid_thw=inputs["image_grid_thw"])
            grids = [grid[1:] for grid in inputs["image_grid_thw"].tolist()]
            tensors[f"{index}.pixels"] = inputs["pixel_values"].flatten()[::997]
        ids, following = [], iter(grids)
        for piece in prompt:
            if isinstance(piece, tuple):
                rows_, cols = next(following)
                ids += [START] + [IMAGE] * (rows_ * cols // 4) + [END]
            else:
                ids += piece
        start = len(ids)
        ids += response
        ids_tensor = torch.tensor(ids)
        kinds = (ids_tensor == IMAGE).int()[None]
        logits = model(input_ids=ids_tensor[None], mm_token_type_ids=kinds, attention_mask=torch.ones_like(ids_tensor)[None], **arguments).logits[0]
        log_probs, entropies = log_probs_and_entropies(logits, ids_tensor)
        for t in range(start, len(ids)):
            loss = loss - ((7 * t) % 11 / 10 - 0.3) * log_probs[t - 1]
        positions = list(range(0, len(ids), 16)) + [len(ids) - 1]
        tensors |= {f"{index}.logits": logits[positions], f"{index}.log_probs": log_probs, f"{index}.entropies": entropies}
        rows.append({"input_ids": ids, "response_start": start, "pictures": sizes, "grids": grids, "logit_positions": positions})
    loss.backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        flat, name = parameter.grad.flatten(), published(name)
        stride = 1 if flat.numel() <= 128 else math.ceil(flat.numel() / 128)
        while math.gcd(stride, flat.numel()) > 1:  # else every sample might fall into the same few columns
            stride += 1
        tensors[f"gradient.{name}"] = flat[::stride]
        gradients[name] = {"stride": stride, "norm": flat.double().norm().item()}
    save_file({name: t.detach().contiguous().clone() for name, t in tensors.items()}, directory / "golden.safetensors")
    document = {"made_with": {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]},
                "loss": loss.item(), "sequences": rows, "gradients": gradients}
    (directory / "golden.json").write_text(json.dumps(document) + "\n")
    settings = dict(image_processor_type="Qwen2VLImageProcessor", patch_size=14, temporal_patch_size=2, merge_size=2)
    settings |= dict(min_pixels=low, max_pixels=high) if "flat" in directory.name else dict(size={"shortest_edge": low, "longest_edge": high})
    (directory / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def flatten(directory):
    """The configuration as the published files have it."""
    path = directory / "config.json"
    config = json.loads(path.read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    keep = ["vocab_size", "hidden_act", "initializer_range", "use_sliding_window", "sliding_window", "max_window_layers", *TEXT]
    config |= {key: text[key] for key in keep if text.get(key) is not None}
    config |= {"rope_theta": rope["rope_theta"], "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]}, "torch_dtype": config.pop("dtype")}
    vision = config["vision_config"]
    for key in ("dtype", "rope_parameters", "initializer_range", "layer_types"):
        vision.pop(key, None)
    vision["model_type"] = "qwen2_5_vl"
    vision["in_chans"] = vision.pop("in_channels")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main():
    torch.use_deterministic_algorithms(True)
    assert transformers.__version__ == "5.24.0", transformers.__version__
    for name in sys.argv[1:] or CASES:
        case, directory = CASES[name], HERE / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        model = build(case)
        golden(model, case, directory)
        model.to(case["dtype"])
        if name == "flat":
            model.save_pretrained(directory)
            flatten(directory)
        else:
            model.config.save_pretrained(directory)
            model.save_pretrained(directory / "sharded", max_shard_size="60KB", save_original_format=False)
            for path in (directory / "sharded").glob("model*"):
                path.rename(directory / path.name)
            shutil.copy(directory / "sharded/config.json", directory / "config.json")
            shutil.rmtree(directory / "sharded")
        (directory / "generation_config.json").unlink(missing_ok=True)
        print(name, sum(p.numel() for p in model.parameters()), sorted(p.name for p in directory.iterdir()))
        one = next(directory.glob("*.safetensors"))
        print(sorted(load_file(directory / "model.safetensors" if name == "flat" else one))[:3])


main()
