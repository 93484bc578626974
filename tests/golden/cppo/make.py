"""Golden values of one CPPO training step, computed with NumPy in float64, independently of the Rust code.

usage: make.py            writes cppo.json beside this file (needs numpy; the file says which version made it)

advantages    group-relative advantages of rewards
selection     perception masks from entropies
inputs        groups of responses: logits of the three views, of the old and of the reference policy, token ids, rewards
losses        for an input and a choice of options: every intermediate value, the loss, and its gradients

Log-probabilities and entropies are those of a softmax over the last axis of the logits (temperature 1). Gradients are central
differences of the loss with the advantages, the mask and the old and reference policies held fixed: with respect to the
log-probabilities of the three views where the divergence needs no more than these, and for some cases with respect to the logits.
"""

import json
from pathlib import Path

import numpy as np

EPSILON_STD = 1e-6
EPSILON_ENTROPY = 1e-6
EPSILON_MASK = 1e-8
LOG_RATIO_LIMIT = 20.0  # clamp of every difference of log-probabilities, k1 included
K3_LIMIT = 10.0
DUAL_CLIP = 3.0


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def picked(logits, tokens):
    return np.take_along_axis(log_softmax(logits), tokens[..., None], axis=-1)[..., 0]


def entropies(logits):
    log_p = log_softmax(logits)
    return -(np.exp(log_p) * log_p).sum(axis=-1)


def advantages(rewards, group_size):
    groups = np.asarray(rewards, dtype=np.float64).reshape(-1, group_size)
    if group_size == 1:
        return np.zeros(groups.size)
    centred = groups - groups.mean(axis=1, keepdims=True)
    out = centred / (groups.std(axis=1, ddof=1, keepdims=True) + EPSILON_STD)
    out[groups.max(axis=1) == groups.min(axis=1)] = 0.0
    return out.reshape(-1)


def select(entropy, entropy_removed, advantage, options):
    entropy, entropy_removed = np.asarray(entropy), np.asarray(entropy_removed)
    delta = entropy_removed - entropy
    score = np.maximum(delta, 0) / (entropy_removed + EPSILON_ENTROPY)
    candidates = delta > options.get("min_delta_entropy", 0.0)
    share = options.get("perception_fraction", 0.5) * int(candidates.sum())
    match options.get("selection", "floor"):
        case "all":
            mask = np.ones(len(delta), dtype=bool)
        case "floor" | "ceil" as rounding:
            k = max(1, int(np.floor(share) if rounding == "floor" else np.ceil(share)))
            mask = np.zeros(len(delta), dtype=bool)
            if candidates.any():
                mask = candidates & (score >= np.sort(score[candidates])[::-1][k - 1])
    if options.get("gate", "positive_advantage") == "positive_advantage" and not advantage > 0:
        mask[:] = False
    return delta, score, mask


def k3(log_probs, log_probs_other):
    d = np.clip(log_probs_other - log_probs, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return np.clip(np.exp(d) - d - 1, -K3_LIMIT, K3_LIMIT)


def softplus(x):
    return np.logaddexp(0, x)


DEFAULTS = {
    "divergence": "k3",
    "objective": "contrastive",
    "selection": "floor",
    "gate": "positive_advantage",
    "min_delta_entropy": 0.0,
    "perception_fraction": 0.5,
    "cpl_temperature": 0.1,
    "cpl_coef": 0.01,
    "kl_coef": 0.01,
    "clip_low": 0.2,
    "clip_high": 0.2,
}


def loss_from(policy, options, given):
    """The loss and its parts, from the three views' log-probabilities (and logits where `full` needs them) and what is fixed."""
    valid, weight = given["valid"], given["valid"].sum()
    log_probs, plus, minus = policy["log_probs"], policy["log_probs_preserved"], policy["log_probs_removed"]
    advantage = given["advantages"][:, None]
    ratio = np.exp(np.clip(log_probs - given["old_log_probs"], -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
    clipped = np.clip(ratio, 1 - options["clip_low"], 1 + options["clip_high"])
    policy_token = -np.minimum(ratio * advantage, clipped * advantage)
    policy_token = np.where(advantage < 0, np.minimum(policy_token, -DUAL_CLIP * advantage), policy_token)
    kl_token = k3(log_probs, given["reference_log_probs"])
    match options["divergence"]:
        case "k3":
            d_plus, d_minus = k3(log_probs, plus), k3(log_probs, minus)
        case "k1":
            d_plus = np.clip(log_probs - plus, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
            d_minus = np.clip(log_probs - minus, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        case "full":
            log_p = log_softmax(policy["logits"])
            full = lambda view: (np.exp(log_p) * (log_p - log_softmax(policy[view]))).sum(axis=-1)
            d_plus, d_minus = full("logits_preserved"), full("logits_removed")
    match options["objective"]:
        case "contrastive" | "cpl_only":
            cpl_token = softplus((d_plus - d_minus) / options["cpl_temperature"])
        case "preserve_only":
            cpl_token = d_plus
        case "remove_only":
            cpl_token = -d_minus
    mask = given["mask"]
    parts = {
        "policy_loss": (policy_token * valid).sum() / weight,
        "kl": (kl_token * valid).sum() / weight,
        "cpl": (cpl_token * mask).sum() / (mask.sum() + EPSILON_MASK),
    }
    # `cpl_only` drops the policy loss and keeps the reference KL.
    policy_part = 0.0 if options["objective"] == "cpl_only" else parts["policy_loss"]
    parts["loss"] = policy_part + options["kl_coef"] * parts["kl"] + options["cpl_coef"] * parts["cpl"]
    tokens = {"ratio": ratio, "policy": policy_token, "kl": kl_token, "d_preserved": d_plus, "d_removed": d_minus, "cpl": cpl_token}
    return parts, tokens


def central_differences(function, values, step=1e-5):
    gradient = np.zeros_like(values)
    for index in np.ndindex(values.shape):
        up, down = values.copy(), values.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (function(up) - function(down)) / (2 * step)
    return gradient


WITH_LOGIT_GRADIENTS = ["paper", "k1", "full", "one token", "clamped extremes"]
VIEWS = {"log_probs": "logits", "log_probs_preserved": "logits_preserved", "log_probs_removed": "logits_removed"}


def loss_case(name, inputs, **changed):
    options = DEFAULTS | changed
    data = {key: np.asarray(value) for key, value in INPUTS[inputs].items()}
    tokens = data["tokens"]
    log_probs = {key: picked(data[logits], tokens) for key, logits in VIEWS.items()}
    entropy, entropy_removed = entropies(data["logits"]), entropies(data["logits_removed"])
    lengths = data["lengths"]
    valid = np.arange(tokens.shape[1])[None, :] < lengths[:, None]
    advantage = advantages(data["rewards"], len(lengths))
    mask = np.zeros_like(valid)
    for row, length in enumerate(lengths):
        mask[row, :length] = select(entropy[row, :length], entropy_removed[row, :length], advantage[row], options)[2]
    given = {
        "valid": valid,
        "mask": mask,
        "advantages": advantage,
        "old_log_probs": picked(data["logits_old"], tokens),
        "reference_log_probs": picked(data["logits_reference"], tokens),
    }
    logits = {key: data[key] for key in VIEWS.values()}
    parts, per_token = loss_from(log_probs | logits, options, given)
    gradients = {}
    for probs_key, logits_key in VIEWS.items():

        def of_logits(values):
            changed_logits = logits | {logits_key: values}
            changed_probs = {key: picked(changed_logits[view], tokens) for key, view in VIEWS.items()}
            return loss_from(changed_probs | changed_logits, options, given)[0]["loss"]

        if name in WITH_LOGIT_GRADIENTS:
            gradients[logits_key] = central_differences(of_logits, data[logits_key].astype(np.float64))
        if options["divergence"] != "full":
            of_probs = lambda values: loss_from(log_probs | logits | {probs_key: values}, options, given)[0]["loss"]
            gradients[probs_key] = central_differences(of_probs, log_probs[probs_key])
    outside = ~valid
    zeroed = lambda values: np.where(outside, 0.0, values)
    return {
        "name": name,
        "inputs": inputs,
        "options": options,
        "advantages": advantage,
        "mask": mask.astype(int),
        "tokens": {key: zeroed(value) for key, value in per_token.items()},
        **parts,
        "gradients": gradients,
    }


def make_inputs():
    random = np.random.default_rng(20260101)
    # Multiples of 1/64, so that float32 holds them exactly.
    draw = lambda scale, *shape: np.round(random.normal(0, scale, shape) * 64) / 64

    def group(rewards, lengths, spread=1.0, old=0.3, vocab=5):
        shape = (len(rewards), max(lengths), vocab)
        logits = draw(2.0 * spread, *shape)
        return {
            "rewards": rewards,
            "lengths": lengths,
            "tokens": random.integers(0, vocab, shape[:2]),
            "logits": logits,
            "logits_preserved": logits + draw(0.2 * spread, *shape),
            "logits_removed": np.round(logits * 0.5 * 64) / 64 + draw(0.5 * spread, *shape),
            "logits_old": logits + draw(old, *shape),
            "logits_reference": logits + draw(0.5 * spread, *shape),
        }

    base = group([1.0, 0.1, 0.0, 1.0], [6, 4, 5, 3])
    equal = group([0.1, 0.1, 0.1], [3, 2, 4])
    one_token = group([1.0, 0.0], [1, 1])
    no_positive = group([1.0, 0.1, 0.0], [3, 4, 2])
    # Sharper without the information: every entropy falls.
    no_positive["logits_removed"] = no_positive["logits"] * 2
    extreme = group([1.0, 0.0, 0.1], [4, 4, 3], spread=20.0, old=12.0)
    return {"base": base, "equal_rewards": equal, "one_token": one_token, "no_positive": no_positive, "extreme": extreme}


INPUTS = make_inputs()

ADVANTAGES = [
    ("mixed", [1.0, 0.1, 0.0, 1.0, 0.1, 0.1], 3),
    ("equal rewards", [0.1] * 4 + [1.0] * 4, 4),
    ("one right of eight", [0.1] * 7 + [1.0], 8),
    ("group of one", [1.0, 0.0], 1),
    ("nearly equal", [0.5, 0.5 + 2**-20], 2),
    ("negative and large", [-1000.0, 0.0, 1000.0], 3),
]

# Entropies in nats, multiples of 1/64.
SHIFTING = ([0.25, 0.5, 1.0, 0.125, 2.0, 0.0, 0.75], [1.25, 0.5, 1.5, 1.125, 1.0, 0.0, 0.796875])
SELECTION = [
    ("floor", SHIFTING, 1.0, {}),
    ("ceil", ([0.0, 0.0, 0.0], [0.5, 1.0, 1.5]), 1.0, {"selection": "ceil"}),
    ("floor of the same", ([0.5, 0.5, 0.5], [0.75, 1.0, 1.5]), 1.0, {}),
    ("ceil of the same", ([0.5, 0.5, 0.5], [0.75, 1.0, 1.5]), 1.0, {"selection": "ceil"}),
    ("all", SHIFTING, 1.0, {"selection": "all"}),
    ("all, gated", SHIFTING, -1.0, {"selection": "all"}),
    ("advantage zero is gated", SHIFTING, 0.0, {}),
    ("advantage negative is gated", SHIFTING, -0.5, {}),
    ("not gated", SHIFTING, -0.5, {"gate": "none"}),
    ("no positive token", ([1.0, 0.5], [0.5, 0.5]), 1.0, {}),
    ("one token", ([0.5], [1.0]), 1.0, {}),
    ("one positive token", ([0.5, 1.0, 1.0], [1.0, 0.5, 1.0]), 1.0, {}),
    ("ties are kept", ([0.5, 0.5, 0.5, 0.5], [1.0, 1.0, 1.0, 0.75]), 1.0, {"perception_fraction": 0.25}),
    ("small fraction keeps one", SHIFTING, 1.0, {"perception_fraction": 0.01}),
    ("whole fraction", SHIFTING, 1.0, {"perception_fraction": 1.0}),
    ("absolute floor", SHIFTING, 1.0, {"min_delta_entropy": 0.0625, "perception_fraction": 1.0}),
    ("absolute floor above all", SHIFTING, 1.0, {"min_delta_entropy": 2.0}),
    ("no token", ([], []), 1.0, {}),
]

LOSSES = [
    loss_case("paper", "base"),
    loss_case("k1", "base", divergence="k1"),
    loss_case("full", "base", divergence="full"),
    loss_case("ceil", "base", selection="ceil"),
    loss_case("all tokens", "base", selection="all"),
    loss_case("no gate", "base", gate="none"),
    loss_case("absolute floor", "base", min_delta_entropy=0.25),
    loss_case("preserve only", "base", objective="preserve_only"),
    loss_case("remove only", "base", objective="remove_only"),
    loss_case("perception loss only", "base", objective="cpl_only"),
    loss_case("asymmetric clip, large coefficients", "base", clip_high=0.28, kl_coef=0.5, cpl_coef=0.7, cpl_temperature=0.5),
    loss_case("equal rewards", "equal_rewards"),
    loss_case("equal rewards, no gate", "equal_rewards", gate="none"),
    loss_case("one token", "one_token"),
    loss_case("no positive token", "no_positive"),
    loss_case("clamped extremes", "extreme", gate="none", selection="all"),
    loss_case("clamped extremes, k1", "extreme", divergence="k1"),
]


def plain(value):
    """JSON: arrays as lists, floats with 9 significant digits (float32 needs no more)."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.9g}") + 0.0
    return value


def main():
    selection = []
    for name, (entropy, entropy_removed), advantage, options in SELECTION:
        delta, score, mask = select(entropy, entropy_removed, advantage, options)
        case = {"name": name, "entropy": entropy, "entropy_removed": entropy_removed, "advantage": advantage, "options": options}
        selection.append(case | {"delta": delta, "score": score, "mask": mask})
    golden = {
        "numpy": np.__version__,
        "advantages": [
            {"name": name, "rewards": rewards, "group_size": size, "advantages": advantages(rewards, size)}
            for name, rewards, size in ADVANTAGES
        ],
        "selection": selection,
        "inputs": INPUTS,
        "losses": LOSSES,
    }
    rows = lambda key: ",\n".join("  " + json.dumps(plain(row)) for row in golden[key])
    inputs = ",\n".join(f"  {json.dumps(key)}: {json.dumps(plain(value))}" for key, value in INPUTS.items())
    text = (
        f'{{\n"numpy": "{np.__version__}",\n"advantages": [\n{rows("advantages")}\n],\n"selection": [\n{rows("selection")}\n],\n'
        f'"inputs": {{\n{inputs}\n}},\n"losses": [\n{rows("losses")}\n]\n}}\n'
    )
    json.loads(text)
    Path(__file__).with_name("cppo.json").write_text(text)


main()
