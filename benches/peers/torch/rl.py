"""The RL step of Percept's default run in plain PyTorch and transformers: 32 prompts, 8 responses each, padded passes, SDPA attention.

Rows: `rollout`, `step grpo`, `step cppo`. As trainers without packing do it, every response is a row with its own prompt and picture, and for CPPO
there are three such rows, one for each picture. Prompts are 25 tokens, 16 of them the picture's; responses are 28 tokens; pixels and tokens are random.
"""

import copy
import json
import sys
import time

import torch
import torch.nn.functional as F
from transformers import AutoModelForImageTextToText

torch.set_num_threads(2)
DEVICE = sys.argv[2] if len(sys.argv) > 2 else "cpu"
PROMPTS, GROUP, PROMPT, RESPONSE, IMAGE_TOKENS, SIDE = 32, 8, 25, 28, 16, 64


class Run:
    def __init__(self, folder):
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").to(DEVICE)
        self.reference = copy.deepcopy(self.model).eval()
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=4e-5, fused=True)
        text = torch.randint(10, 200, (PROMPTS, PROMPT - IMAGE_TOKENS), device=DEVICE)
        image = torch.full((PROMPTS, IMAGE_TOKENS), self.model.config.image_token_id, device=DEVICE)
        self.prompts = torch.cat([text[:, :4], image, text[:, 4:]], 1)
        # the original, and for CPPO the preserving and the removing view
        self.pictures = [torch.randn(PROMPTS, 1, 3, SIDE, SIDE, device=DEVICE) for _ in range(3)]

    @torch.no_grad()
    def rollout(self):
        return self.model.generate(
            input_ids=self.prompts.repeat_interleave(GROUP, 0),
            attention_mask=torch.ones(PROMPTS * GROUP, PROMPT, dtype=torch.long, device=DEVICE),
            pixel_values=self.pictures[0].repeat_interleave(GROUP, 0),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            min_new_tokens=RESPONSE,
            max_new_tokens=RESPONSE,
            suppress_tokens=[self.model.config.image_token_id],
        )

    def read(self, model, sequences, pictures):
        """Log-probability and entropy of every response token."""
        logits = model(input_ids=sequences, pixel_values=pictures.repeat_interleave(GROUP, 0)).logits[:, PROMPT - 1 : -1]
        log_probs = F.log_softmax(logits, -1)
        taken = log_probs.gather(-1, sequences[:, PROMPT:, None]).squeeze(-1)
        return taken, -(log_probs.exp() * log_probs).sum(-1).detach()

    def step(self, method):
        sequences = self.rollout()
        rewards = torch.rand(PROMPTS, GROUP, device=DEVICE)
        advantages = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-6)).reshape(-1, 1)
        with torch.no_grad():
            reference, _ = self.read(self.reference, sequences, self.pictures[0])
        log_probs, entropy = self.read(self.model, sequences, self.pictures[0])
        ratio = (log_probs - log_probs.detach()).exp()
        policy = -torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
        loss = (policy + 0.01 * k3(log_probs, reference)).mean()
        if method == "cppo":
            preserved, _ = self.read(self.model, sequences, self.pictures[1])
            removed, entropy_removed = self.read(self.model, sequences, self.pictures[2])
            shift = (entropy_removed - entropy).clamp(min=0) / (entropy_removed + 1e-6)
            eligible = (shift > 0) & (advantages > 0)
            threshold = shift[eligible].median() if eligible.any() else 0.0
            mask = (eligible & (shift >= threshold)).float()
            contrast = F.softplus((k3(log_probs, preserved) - k3(log_probs, removed)) / 0.1)
            loss = loss + 0.01 * (mask * contrast).sum() / (mask.sum() + 1e-8)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()


def k3(log_p, log_q):
    difference = (log_q - log_p).clamp(-20, 20)
    return difference.exp() - difference - 1


def synchronize():
    if DEVICE != "cpu":
        torch.cuda.synchronize()


def main():
    run = Run(sys.argv[1])
    rows = {"rollout": run.rollout, "step grpo": lambda: run.step("grpo"), "step cppo": lambda: run.step("cppo")}
    warm = set()
    for line in sys.stdin:
        row = line.strip()
        if row not in warm:
            rows[row]()
            warm.add(row)
        synchronize()
        start = time.perf_counter()
        rows[row]()
        synchronize()
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


main()
