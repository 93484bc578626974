"""PyTorch's side of benches/peers/run: the name of a row a line on standard input, the seconds of one repetition as a line of JSON."""

import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(2)


def repeat(before, repetitions, f):
    for _ in range(before):
        f()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def product(kind, m, n, k):
    x, w, dy = torch.randn(m, k), torch.randn(n, k), torch.randn(m, n)
    f = {"forward": lambda: F.linear(x, w), "left": lambda: dy @ w, "right": lambda: dy.t() @ x}[kind]
    repetitions = min(200, max(3, 2**31 // (2 * m * n * k)))
    with torch.no_grad():
        return repeat(1, repetitions, f)


class Block(torch.nn.Module):
    """A block of benches/src/block.rs."""

    def __init__(self, width=256, heads=8):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        q, k, v = (y.view(batch, tokens, self.heads, -1).transpose(1, 2) for y in self.qkv(self.norm1(x)).chunk(3, -1))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Blocks:
    """Four blocks and their optimiser."""

    def __init__(self, compiled):
        model = torch.nn.Sequential(*(Block() for _ in range(4)))
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
        self.model = torch.compile(model) if compiled else model
        self.x = torch.randn(8, 128, 256)

    def step(self):
        self.optimiser.zero_grad()
        self.model(self.x).square().mean().backward()
        self.optimiser.step()


def main():
    compiled = "--compile" in sys.argv
    blocks = None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "product":
            seconds = product(words[1], *map(int, words[2:]))
        elif words[0] == "blocks":
            blocks = blocks or Blocks(compiled)
            seconds = repeat(3, 5, blocks.step)
        else:
            sys.exit(f"no such row: {line}")
        print(json.dumps({"seconds": seconds}), flush=True)


main()
