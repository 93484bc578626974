"""transformers' side of the rows `smolvlm`: the shapes of SmolVLM-256M with random weights, one picture of 512 x 512 pixels, 88 tokens.

The argument is the number type: float32 or bfloat16.
"""

import json
import statistics
import sys
import time

import torch
from transformers import Idefics3Config, Idefics3ForConditionalGeneration

torch.set_num_threads(2)
IMAGE, IMAGE_TOKENS, WORDS, TOKENS = 49190, 64, 24, 16


def load(dtype):
    vision = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=512, patch_size=16)
    text = dict(
        model_type="llama", vocab_size=49280, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, head_dim=64, rms_norm_eps=1e-5, max_position_embeddings=8192, pad_token_id=2,
    )
    config = Idefics3Config(vision_config=vision, text_config=text, scale_factor=4, image_token_id=IMAGE, pad_token_id=2)
    config._attn_implementation = "sdpa"
    return Idefics3ForConditionalGeneration(config).to(dtype).eval()


class Question:
    def __init__(self, dtype):
        self.model = load(dtype)
        self.prompt = torch.cat([torch.full((1, IMAGE_TOKENS), IMAGE), torch.randint(20, 200, (1, WORDS))], 1)
        self.picture = torch.randn(1, 1, 3, 512, 512, dtype=dtype)

    @torch.no_grad()
    def first(self):
        start = time.perf_counter()
        out = self.model(input_ids=self.prompt, pixel_values=self.picture, use_cache=True, logits_to_keep=1)
        out.logits[:, -1].argmax(-1)
        return time.perf_counter() - start

    @torch.no_grad()
    def token(self, sequences):
        out = self.model(input_ids=self.prompt, pixel_values=self.picture, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        cache.batch_repeat_interleave(sequences)
        token = torch.full((sequences, 1), 30)
        times = []
        for _ in range(TOKENS):
            start = time.perf_counter()
            out = self.model(input_ids=token, past_key_values=cache, use_cache=True)
            token = torch.multinomial(out.logits[:, -1].float().softmax(-1), 1)
            times.append(time.perf_counter() - start)
        return statistics.mean(times)


def main():
    question = Question(getattr(torch, sys.argv[1]))
    for line in sys.stdin:
        _, what, sequences = line.split()
        seconds = question.first() if what == "first" else question.token(int(sequences))
        print(json.dumps({"seconds": seconds}), flush=True)


main()
