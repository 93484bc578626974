"""Writes small random Idefics3 models and what transformers computes with them, in float32.

Run by hand from the repository root:
    python3 tests/golden/idefics3/make.py [CASE ...]
with transformers 5.23.0 (`uneven`: 5.24.0), torch 2.15.0, numpy, safetensors, pillow. (Not with transformers 4.55-4.57, whose vision
positions are wrong.)

Each case is a directory `tests/golden/idefics3/<case>/`:

config.json, model*.safetensors, generation_config.json
    the model as transformers saves it. `tied`: head tied, scale_factor 2, grouped-query attention, the vocabulary of
    assets/tiny-tokenizer. `untied`: head_dim is not hidden_size / heads, one key-value head, scale_factor 4.
    `uneven`: patches leave three pixels of a tile over, as SigLIP's 14 do of 384.
    `smolvlm`: SmolVLMForConditionalGeneration, weights in bfloat16 (computed in float32), in several shards.
golden.json
    {"loss": L,
     "sequences": [{"input_ids": [n], "response_start": r, "padding_pictures": [indices], "logit_positions": [k]}],
     "gradients": {parameter: {"stride": s, "norm": l2 norm of the whole gradient}}}
golden.safetensors, for sequence i
    "i.pixels"     u8  [pictures, 3, height, width]  value = (byte / 255 - 0.5) / 0.5 in float32, in that order;
                                                    the pictures listed in padding_pictures are 0.0 instead, and dropped
    "i.logits"     f32 [k, vocab]                   at logit_positions
    "i.log_probs"  f32 [n - 1]                      element t - 1: log p(input_ids[t] | input_ids[..t]), nats
    "i.entropies"  f32 [n - 1]                      element t - 1: entropy of that distribution, nats
    "gradient.P"   f32                              d loss / d P, flattened, every s-th element from the first

    loss = - sum over sequences, sum over t in r..n of w(t) * log p(input_ids[t] | input_ids[..t])
    w(t) = ((7 * t) mod 11) / 10 - 0.3

The gradient of a k_proj.bias is 0 in exact arithmetic (a constant added to all keys does not change the softmax): what
stands there is rounding, and is to be compared with the size of the other gradients.

Case `tied` also holds picture.png, processor_config.json and score.json: log-probabilities of a completion through the
whole of transformers' processing (chat template, tokenizer of assets/tiny-tokenizer, image processor):
    [{"prompt", "completion", "split", "prompt_tokens", "tokens", "log_probs", "entropies"}]
The tokens are those of the completion, encoded on its own.
"""

import json
import math
import pathlib
import shutil
import sys

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    AutoTokenizer, Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor, SmolVLMConfig,
    SmolVLMForConditionalGeneration)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

HERE = pathlib.Path(__file__).parent
TOKENIZER = HERE / "../../../assets/tiny-tokenizer"
IMAGE = 4  # id of <image> in every case, as in the tiny tokenizer

TEXT = dict(model_type="llama", hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
            rms_norm_eps=1e-5, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0)
VISION = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, patch_size=4)


def rope(theta):
    return dict(rope_parameters={"rope_type": "default", "rope_theta": theta})


CASES = {
    "tied": dict(
        seed=1, classes=(Idefics3Config, Idefics3ForConditionalGeneration), save=dict(), dtype=torch.float32,
        config=dict(
            image_token_id=IMAGE, scale_factor=2, tie_word_embeddings=True,
            text_config=dict(TEXT, vocab_size=384, num_key_value_heads=2, tie_word_embeddings=True, **rope(10000.0)),
            vision_config=dict(VISION, image_size=32))),
    "untied": dict(
        seed=2, classes=(Idefics3Config, Idefics3ForConditionalGeneration), save=dict(), dtype=torch.float32,
        config=dict(
            image_token_id=IMAGE, scale_factor=4, tie_word_embeddings=False,
            text_config=dict(TEXT, vocab_size=128, num_key_value_heads=1, head_dim=12, **rope(100000.0)),
            vision_config=dict(VISION, image_size=32))),
    "uneven": dict(
        seed=4, classes=(Idefics3Config, Idefics3ForConditionalGeneration), save=dict(), dtype=torch.float32,
        config=dict(
            image_token_id=IMAGE, scale_factor=3, tie_word_embeddings=True,
            text_config=dict(TEXT, vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
                             num_key_value_heads=2, tie_word_embeddings=True, **rope(10000.0)),
            vision_config=dict(VISION, image_size=27, hidden_size=12, intermediate_size=16, num_hidden_layers=1))),
    "smolvlm": dict(
        seed=3, classes=(SmolVLMConfig, SmolVLMForConditionalGeneration), save=dict(max_shard_size="40KB"),
        dtype=torch.bfloat16,
        config=dict(
            image_token_id=IMAGE, scale_factor=2, tie_word_embeddings=False,
            text_config=dict(TEXT, vocab_size=128, num_key_value_heads=4, **rope(10000.0)),
            vision_config=dict(VISION, image_size=16))),
}


def build(case):
    config_class, model_class = case["classes"]
    model = model_class._from_config(config_class(**case["config"]), attn_implementation="eager")
    rng = np.random.default_rng(case["seed"])
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.from_numpy(rng.standard_normal(tuple(parameter.shape)).astype(np.float32))
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.ndim == 1:
                parameter.copy_(0.1 * noise)
            elif "embed" in name and "patch" not in name:
                parameter.copy_(0.5 * noise)
            else:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            # what the file can hold
            parameter.copy_(parameter.to(case["dtype"]).float())
    return model.float().eval()


def sequences(model, rng):
    """One whole picture; two tiles, the whole and a padding picture; text alone."""
    config = model.config
    side, vocab = config.vision_config.image_size, config.text_config.vocab_size
    tokens = (side // config.vision_config.patch_size // config.scale_factor) ** 2
    text = lambda n: rng.integers(6, vocab, n).tolist()
    picture = [3, 5] + [IMAGE] * tokens
    tiled = [3, 7] + [IMAGE] * tokens + [3, 8] + [IMAGE] * tokens + [9] + picture + [3]
    pixels = lambda n: rng.integers(0, 256, (n, 3, side, side), dtype=np.uint8)
    padded = pixels(4)
    padded[3] = 0
    rows = [
        dict(prompt=[1] + picture + [3] + text(4), response=text(9), pixels=pixels(1), padding=[]),
        dict(prompt=[1] + text(2) + tiled + text(3), response=text(7), pixels=padded, padding=[3]),
        dict(prompt=[1] + text(5), response=text(6), pixels=pixels(0), padding=[]),
    ]
    return [(row["prompt"] + row["response"], len(row["prompt"]), row["pixels"], row["padding"]) for row in rows]


def normalise(pixels, padding):
    values = (torch.from_numpy(pixels).float() / 255 - 0.5) / 0.5
    for index in padding:
        values[index] = 0.0
    return values


def log_probs_and_entropies(logits, ids):
    """Of every token but the first."""
    log_p = logits[:-1].log_softmax(-1)
    return log_p.gather(1, ids[1:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


def golden(model, case, directory):
    rng = np.random.default_rng(100 + case["seed"])
    tensors, rows, loss = {}, [], 0.0
    for index, (ids, start, pixels, padding) in enumerate(sequences(model, rng)):
        ids_tensor = torch.tensor(ids)
        pictures = dict(pixel_values=normalise(pixels, padding)[None]) if len(pixels) else {}
        logits = model(input_ids=ids_tensor[None], **pictures).logits[0]
        log_probs, entropies = log_probs_and_entropies(logits, ids_tensor)
        for t in range(start, len(ids)):
            loss = loss - ((7 * t) % 11 / 10 - 0.3) * log_probs[t - 1]
        positions = list(range(0, len(ids), 4)) + [len(ids) - 1]
        tensors |= {f"{index}.pixels": torch.from_numpy(pixels), f"{index}.logits": logits[positions],
                    f"{index}.log_probs": log_probs, f"{index}.entropies": entropies}
        rows.append({"input_ids": ids, "response_start": start, "padding_pictures": padding,
                     "logit_positions": positions})
    loss.backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        flat = parameter.grad.flatten()
        stride = 1 if flat.numel() <= 256 else math.ceil(flat.numel() / 256)
        while math.gcd(stride, flat.numel()) > 1:  # else every sample might fall into the same few columns
            stride += 1
        tensors[f"gradient.{name}"] = flat[::stride]
        gradients[name] = {"stride": stride, "norm": flat.double().norm().item()}
    save_file({name: t.detach().contiguous().clone() for name, t in tensors.items()}, directory / "golden.safetensors")
    document = {"made_with": {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]},
                "loss": loss.item(), "sequences": rows, "gradients": gradients}
    (directory / "golden.json").write_text(json.dumps(document) + "\n")


def score(model, directory):
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    y, x = np.mgrid[0:40, 0:50]
    pixels = np.stack([(5 * x + 3 * y) % 256, (x * y) % 256, 255 - 6 * y], -1).astype(np.uint8)
    Image.fromarray(pixels).save(directory / "picture.png", optimize=True)
    image_processor = Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=False)
    processor = Idefics3Processor(
        image_processor, tokenizer, image_seq_len=16, chat_template=tokenizer.chat_template)
    prompt, completion = "What is the sum of the digits?", r"<think>I see 3, 8 and é.</think>\boxed{11}"
    rows = []
    for split in (False, True):
        messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        picture = Image.open(directory / "picture.png")
        inputs = processor(images=[picture], text=text, return_tensors="pt", images_kwargs=dict(do_image_splitting=split))
        tokens = torch.tensor(tokenizer(completion, add_special_tokens=False).input_ids)
        ids = torch.cat([inputs["input_ids"][0], tokens])
        with torch.no_grad():
            logits = model(input_ids=ids[None], pixel_values=inputs["pixel_values"]).logits[0]
        log_probs, entropies = log_probs_and_entropies(logits, ids)
        rows.append({"prompt": prompt, "completion": completion, "split": split,
                     "prompt_tokens": len(ids) - len(tokens), "tokens": tokens.tolist(),
                     "log_probs": log_probs[-len(tokens):].tolist(), "entropies": entropies[-len(tokens):].tolist()})
    (directory / "score.json").write_text(json.dumps(rows) + "\n")
    temporary = directory / "processor"
    processor.save_pretrained(temporary)
    shutil.move(temporary / "processor_config.json", directory / "processor_config.json")
    shutil.rmtree(temporary)


def main():
    torch.use_deterministic_algorithms(True)
    for name in sys.argv[1:] or CASES:
        case = CASES[name]
        expected = "5.24.0" if name == "uneven" else "5.23.0"
        assert transformers.__version__ == expected, transformers.__version__
        directory = HERE / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        model = build(case)
        golden(model, case, directory)
        if name == "tied":
            score(model, directory)
        model.to(case["dtype"]).save_pretrained(directory, **case["save"])
        print(name, sum(p.numel() for p in model.parameters()), sorted(p.name for p in directory.iterdir()))


main()
