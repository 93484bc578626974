"""Golden values of the methods besides CPPO, computed with NumPy in float64 from the papers' formulas, independently of the Rust code.

usage: make.py            writes methods.json beside this file (needs numpy; the file says which version made it)

defaults        the published settings of each method, and its clipping and reference KL where they are published
filter          which groups of responses dynamic sampling keeps
noise           the share of the variance that a picture keeps at some stages of the diffusion schedule, and the stage at each step of a run
distributions   logits of tokens on two pictures: the divergences between them, and the entropy of the first one's nucleus
inputs          updates: groups of responses with logits, token ids, rewards, and what was read before the update
cases           for an input, a method and those of its settings that are not its defaults: advantages, token weights, factors of responses, the loss, and its gradients

All tokens of an input stand one after the other. `readings` are what the policy that sampled the responses says of them on each picture, rounded to
float32 before anything is computed from them, as are advantages. Gradients are central differences of the loss, with respect to the
log-probabilities of the sampled tokens, and for some cases with respect to the logits; whatever a formula stops the gradient of is held fixed.
"""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np

LOG_RATIO_LIMIT = 20.0
K3_LIMIT = 10.0
DUAL_CLIP = 3.0
NUCLEUS = 0.95
PASSED = 0.3  # share of the run that lies behind
CLIP_HIGHER = {"clip_low": 0.2, "clip_high": 0.28, "kl_coef": 0.0}
FILTER = {"accuracy_above": 0.01, "accuracy_below": 0.99, "max_refills": 20}

DEFAULTS = {
    "grpo": ({}, {"clip_low": 0.2, "clip_high": 0.2, "kl_coef": 0.01, "dual_clip": DUAL_CLIP}),
    "dapo": ({"overlong_share": 0.0, "filter": FILTER}, CLIP_HIGHER),
    "papo": ({"perception_coef": 0.02, "entropy_coef": 0.0}, {"clip_low": 0.2, "clip_high": 0.3, "kl_coef": 0.01}),
    "vppo": ({"token_fraction": 0.4, "lowest_factor": 0.9, "entropy_coef": 0.06, "filter": FILTER}, CLIP_HIGHER),
    "pgpo": ({"threshold": 0.4, "threshold_is": "value", "slope": 2.0, "lowest_weight": 0.0, "conserve": True, "filter": FILTER}, CLIP_HIGHER),
    "dvrp": (
        {"necessity_coef": 0.01, "robustness_coef": 0.01, "entropy_coef": 0.05, "noise_start": 500, "noise_midpoint": 10.0, "noise_steepness": 30.0},
        {"kl_coef": 0.0},
    ),
    "tor": ({"reasoning_fraction": 0.3, "perception_fraction": 0.3, "perception_weight": 0.5}, {}),
    "vepo": ({"divergence_share": 0.7, "token_fraction": 0.2}, {"kl_coef": 0.0}),
    "noisy_rollout": (
        {"noisy_share": 0.5, "noise_start": 500, "noise_midpoint": 40 / 60, "noise_steepness": 30.0, "entropy_bonus": 1e-3},
        {"kl_coef": 0.0},
    ),
    "pepo": ({"strength": 0.05, "softmax_temperature": 1.8}, {"kl_coef": 0.001}),
    "vcpo": ({"consistency_coef": 0.3, "divergence": "full", "imitation_coef": 0.3}, {}),
}


# Distributions of a token.


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def picked(logits, tokens):
    return np.take_along_axis(log_softmax(logits), np.asarray(tokens)[:, None], axis=-1)[:, 0]


def entropy(p):
    positive = p[p > 0]
    return -(positive * np.log(positive)).sum()


def entropies(logits):
    return np.array([entropy(np.exp(row)) for row in log_softmax(logits)])


def full_kl(logits, others):
    log_p, log_q = log_softmax(logits), log_softmax(others)
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)


def jensen_shannon(logits, others):
    p, q = np.exp(log_softmax(logits)), np.exp(log_softmax(others))
    return np.array([entropy((a + b) / 2) - (entropy(a) + entropy(b)) / 2 for a, b in zip(p, q)])


def nucleus_entropy(logits):
    """The fewest, most probable tokens that hold at least the nucleus' probability, renormalised."""
    values = []
    for row in np.exp(log_softmax(logits)):
        descending = np.sort(row)[::-1]
        kept = descending[: np.searchsorted(np.cumsum(descending), NUCLEUS) + 1]
        values.append(entropy(kept / kept.sum()))
    return np.array(values)


def k3(log_probs, others):
    d = np.clip(others - log_probs, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return np.clip(np.expm1(d) - d, -K3_LIMIT, K3_LIMIT)


# Groups and responses.


def advantages(rewards, base):
    if min(rewards) == max(rewards):
        return np.zeros(len(rewards))
    centred = np.asarray(rewards) - np.mean(rewards)
    return centred if base == "dr_grpo" else centred / (np.std(rewards, ddof=1) + 1e-6)


def of_responses(values, lengths):
    return np.split(np.asarray(values), np.cumsum(lengths)[:-1])


def min_max(values, epsilon=0.0):
    return (values - values.min()) / (values.max() - values.min() + epsilon)


def ceil_share(fraction, count):
    """Exactly, with the fraction as it is written."""
    return -int(-Fraction(str(fraction)) * count // 1)


def top(values, count):
    mask = np.zeros(len(values))
    mask[np.argsort(-values, kind="stable")[:count]] = 1
    return mask


# Weights of tokens and factors of responses. `read` holds what was read on the pictures, `lengths` those of the responses.


def weigh_vppo(settings, read, lengths, _):
    dependency = of_responses(read["removed"]["k3"], lengths)
    weights = [top(d, ceil_share(settings["token_fraction"], len(d))) for d in dependency]
    means = np.array([d.mean() for d in dependency])
    if len(means) == 1 or means.max() - means.min() <= 1e-6:
        return weights, np.ones(len(means))
    x, low = min_max(means), settings["lowest_factor"]
    high = low + (1 - low) / (x.mean() + 1e-8)
    return weights, low + x * (high - low)


def weigh_pgpo(settings, read, lengths, _):
    def curve(d):
        score = np.log1p(np.maximum(d, 0))
        if score.max() == score.min():
            return np.ones(len(d))
        importance, tau, beta = min_max(score), settings["threshold"], settings["slope"]
        if settings["threshold_is"] == "quantile":
            tau = np.sort(importance)[int(Fraction(str(tau)) * len(d))]
        # both branches are 1 at the threshold, also where it is the largest importance
        above = lambda i: 1 + beta * (i - tau) / (1 - tau) if i > tau else 1.0
        weights = np.array([i / tau if i < tau else above(i) for i in importance])
        weights = np.maximum(weights, settings["lowest_weight"])
        return weights * len(d) / weights.sum() if settings["conserve"] else weights

    return [curve(d) for d in of_responses(read["removed"]["k3"], lengths)], np.ones(len(lengths))


def weigh_tor(settings, read, lengths, _):
    tokens = sum(lengths)
    shift = np.abs(read["original"]["log_probs"] - read["removed"]["log_probs"])
    reasoning = top(read["original"]["nucleus_entropy"], ceil_share(settings["reasoning_fraction"], tokens))
    perception = top(shift, ceil_share(settings["perception_fraction"], tokens))
    weights = np.where(reasoning == 1, 1.0, settings["perception_weight"] * perception)
    return of_responses(weights, lengths), np.ones(len(lengths))


def weigh_vepo(settings, read, lengths, _):
    alpha, weights = settings["divergence_share"], []
    rise = np.abs(read["removed"]["entropy"] - read["original"]["entropy"])
    parts = [of_responses(values, lengths) for values in (read["removed"]["jensen_shannon"], rise, read["original"]["entropy"])]
    for response in zip(*parts):
        divergence, change, hesitation = (min_max(values, 1e-8) for values in response)
        score = (1 - (1 - divergence) ** alpha * (1 - change) ** (1 - alpha)) * hesitation
        weights.append(top(score, max(1, ceil_share(settings["token_fraction"], len(score)))))
    return weights, np.ones(len(lengths))


def weigh_pepo(settings, read, lengths, _):
    weights = []
    parts = [of_responses(read["original"][what], lengths) for what in ("picture_similarity", "entropy")]
    for similarity, entropy in zip(*parts):
        both = sum((v - v.min()) / max(v.max() - v.min(), 1e-6) for v in (similarity, entropy))
        gate = 1 + settings["strength"] * np.tanh(both - both.mean())
        softmax = np.exp(log_softmax(similarity * gate / settings["softmax_temperature"]))
        weights.append(1 - PASSED + PASSED * len(softmax) * softmax)
    return weights, np.ones(len(lengths))


def weigh_vcpo(_, __, lengths, advantage):
    return [np.full(n, float(a > 0)) for n, a in zip(lengths, advantage)], np.ones(len(lengths))


WEIGH = {"vppo": weigh_vppo, "pgpo": weigh_pgpo, "tor": weigh_tor, "vepo": weigh_vepo, "pepo": weigh_pepo, "vcpo": weigh_vcpo}


# Losses.


def policy_loss(now, given, policy):
    """Of each token, before any weight. `given["fixed"]` holds the values of this point, for what is stopped."""
    advantage, lengths = given["advantages"], given["lengths"]
    low, high = 1 - policy["clip_low"], 1 + policy["clip_high"]
    log_ratio = now["log_probs"] - given["old"]
    if policy["base"] == "cispo":
        fixed_ratio = np.exp(np.clip(given["fixed"]["log_probs"] - given["old"], -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
        return -advantage * np.clip(fixed_ratio, low, high) * now["log_probs"]
    if policy["base"] == "gspo":
        log_ratio = np.concatenate([np.full(n, r.mean()) for n, r in zip(lengths, of_responses(log_ratio, lengths))])
    ratio = np.exp(np.clip(log_ratio, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
    loss = np.maximum(-advantage * ratio, -advantage * np.clip(ratio, low, high))
    return np.where(advantage < 0, np.minimum(loss, -DUAL_CLIP * advantage), loss)


def mean_policy_loss(now, given, policy, weights=1.0):
    """The mean that the base loss takes, of the loss of each token times its weight."""
    loss, lengths = weights * policy_loss(now, given, policy), given["lengths"]
    match policy["base"]:
        case "token" | "cispo":
            return loss.mean()
        case "dr_grpo":
            return loss.sum() / (len(lengths) * policy["longest_length"])
        case "gspo":
            return np.mean([r.mean() for r in of_responses(loss, lengths)])


def loss_of(method, settings, policy, now, given):
    """`now` holds what gradients flow through; `given` what is fixed."""
    log_probs, read, weights = now["log_probs"], given["read"], given["weights"]
    match method:
        case "grpo" | "dapo":
            loss = mean_policy_loss(now, given, policy)
        case "noisy_rollout":
            loss = mean_policy_loss(now, given, policy) - settings["entropy_bonus"] * np.mean(-log_probs)
        case "papo":
            perception = k3(log_probs, read["removed"]["log_probs"]).mean()
            loss = mean_policy_loss(now, given, policy) - settings["perception_coef"] * perception
            loss += settings["entropy_coef"] * np.mean(-log_probs)
        case "dvrp":
            necessity, robustness = (k3(log_probs, read[view]["log_probs"]).mean() for view in ("removed", "preserved"))
            loss = mean_policy_loss(now, given, policy) - settings["necessity_coef"] * necessity
            loss += settings["robustness_coef"] * robustness + settings["entropy_coef"] * np.mean(-log_probs)
        case "vppo":
            loss = mean_policy_loss(now, given, policy, weights) + settings["entropy_coef"] * np.mean(-log_probs)
        case "pgpo" | "tor" | "pepo":
            loss = mean_policy_loss(now, given, policy, weights)
        case "vepo":
            loss = (weights * policy_loss(now, given, policy)).sum() / weights.sum()
        case "vcpo":
            match settings["divergence"]:
                case "full":
                    consistency = full_kl(given["fixed"]["logits"], now["logits_preserved"])
                case "k3":
                    consistency = k3(given["fixed"]["log_probs"], now["log_probs_preserved"])
                case "k1":
                    difference = given["fixed"]["log_probs"] - now["log_probs_preserved"]
                    consistency = np.clip(difference, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
            imitation = -given["advantages"] * now["log_probs_preserved"]
            added = settings["consistency_coef"] * consistency + settings["imitation_coef"] * imitation
            loss = mean_policy_loss(now, given, policy) + (weights * added).sum() / (weights.sum() + 1e-8)
    return loss + policy["kl_coef"] * k3(log_probs, given["reference"]).mean()


def central_differences(function, values, step=1e-5):
    gradient = np.zeros_like(values)
    for index in np.ndindex(values.shape):
        up, down = values.copy(), values.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (function(up) - function(down)) / (2 * step)
    return gradient


POLICY = {"base": "token", "longest_length": 48, "clip_low": 0.2, "clip_high": 0.2, "kl_coef": 0.0}
SEEN = {}


def case(name, method, inputs, changed={}, moved=True, with_logits=False, **policy):
    data = INPUTS[inputs]
    settings = DEFAULTS[method][0] | changed
    policy = POLICY | {key: value for key, value in DEFAULTS[method][1].items() if key != "dual_clip"} | policy
    lengths, tokens, read = data["lengths"], data["tokens"], data["readings"]
    per_response = np.float32(np.concatenate([advantages(group, policy["base"]) for group in data["rewards"]])).astype(float)
    weights, factors = None, np.ones(len(lengths))
    if method in WEIGH:
        weights, factors = WEIGH[method](settings, read, lengths, per_response)
        weights = np.concatenate(weights)
    logits = {key: data[key] for key in ("logits", "logits_preserved")}
    log_probs = {key.replace("logits", "log_probs"): picked(value, tokens) for key, value in logits.items()}
    given = {
        "lengths": lengths,
        "read": read,
        "weights": weights,
        "advantages": np.repeat(per_response * factors, lengths),
        "old": data["old_log_probs"] if moved else log_probs["log_probs"],
        "reference": data["reference_log_probs"],
        "fixed": logits | log_probs,
    }
    at = lambda now: loss_of(method, settings, policy, now, given)
    at_logits = lambda now: at(now | {key.replace("logits", "log_probs"): picked(now[key], tokens) for key in logits})
    full = settings.get("divergence") == "full"  # the loss is no function of the sampled tokens' log-probabilities
    gradients, moving = {}, ["logits", "logits_preserved"] if method == "vcpo" else ["logits"]
    for key in moving:
        if full or with_logits:
            gradients[key] = central_differences(lambda values: at_logits(logits | {key: values}), logits[key])
        if not full:
            probs = key.replace("logits", "log_probs")
            gradients[probs] = central_differences(lambda values: at(logits | log_probs | {probs: values}), log_probs[probs])
    if moved and policy["base"] == "token":
        log_ratio, positive = log_probs["log_probs"] - given["old"], given["advantages"] > 0
        count = lambda tokens: int(tokens.sum())
        SEEN[name] = {
            "clipped above": count(positive & (log_ratio > np.log(1 + policy["clip_high"]))),
            "clipped below": count((given["advantages"] < 0) & (log_ratio < np.log(1 - policy["clip_low"]))),
            "dual clip": count((given["advantages"] < 0) & (log_ratio > np.log(DUAL_CLIP))),
        }
    out = {"name": name, "method": method, "settings": changed, "policy": policy, "inputs": inputs, "moved": moved}
    out |= {"advantages": per_response, "loss": at(logits | log_probs)}
    if weights is not None:
        out |= {"weights": weights, "factors": factors}
    return out | {"gradients": gradients}


# Inputs.


def make_inputs():
    random = np.random.default_rng(20260201)
    # Multiples of 1/64, so that float32 holds them exactly.
    draw = lambda scale, *shape: np.round(random.normal(0, scale, shape) * 64) / 64
    rounded = lambda values: np.float32(values).astype(float)

    def read_on_removed(logits, original, tokens):
        log_probs = rounded(picked(logits, tokens))
        return {
            "log_probs": log_probs,
            "entropy": rounded(entropies(logits)),
            "k3": rounded(k3(rounded(picked(original, tokens)), log_probs)),
            "jensen_shannon": rounded(np.maximum(jensen_shannon(original, logits), 0)),
        }

    def update(rewards, lengths, spread=2.0, old=0.5, change=lambda _: None, vocab=6):
        tokens = random.integers(0, vocab, sum(lengths))
        logits = draw(spread, len(tokens), vocab)
        policies = {
            "tokens": tokens,
            "logits": logits,
            "logits_old": logits + draw(old, *logits.shape),
            "logits_preserved": logits + draw(0.3 * spread, *logits.shape),
            "logits_removed": np.round(logits * 32) / 64 + draw(0.5 * spread, *logits.shape),
            "logits_reference": logits + draw(0.3 * spread, *logits.shape),
        }
        change(policies)
        tokens, original = policies["tokens"], policies["logits_old"]
        old_log_probs = rounded(picked(original, tokens))
        return {
            "rewards": rewards,
            "lengths": lengths,
            "tokens": tokens,
            "logits": policies["logits"],
            "logits_preserved": policies["logits_preserved"],
            "old_log_probs": old_log_probs,
            "reference_log_probs": rounded(picked(policies["logits_reference"], tokens)),
            "readings": {
                "original": {
                    "log_probs": old_log_probs,
                    "entropy": rounded(entropies(original)),
                    "nucleus_entropy": rounded(nucleus_entropy(original)),
                    # any numbers between -1 and 1
                    "picture_similarity": rounded(np.sin(3.0 * np.arange(len(tokens)) ** 2)),
                },
                "preserved": {"log_probs": rounded(picked(policies["logits_preserved"], tokens))},
                "removed": read_on_removed(policies["logits_removed"], original, tokens),
            },
        }

    def far_apart(policies):
        """What is likely on the picture is unlikely on the other, and the reverse."""
        policies["logits_removed"][::2] = -policies["logits"][::2]

    def ties(policies):
        """The second response is the same on both pictures; in the third, the last three tokens are the first one again."""
        policies["logits_removed"][1:5] = policies["logits_old"][1:5]
        for values in policies.values():
            values[7:10] = values[5]

    def two_equal_responses(policies):
        for values in policies.values():
            values[3:6] = values[0:3]

    return {
        # the responses of the second group are all equally good
        "base": update([[1.0, 0.1, 0.0], [0.1, 0.1], [0.0, 1.0]], [5, 3, 9, 4, 4, 3, 6]),
        # log-probabilities beyond every limit
        "extreme": update([[1.0, 0.0, 0.1, 0.0]], [6, 5, 3, 4], spread=12.0, old=2.0, change=far_apart),
        "ties": update([[0.0, 1.0, 0.1, 0.0]], [1, 4, 5, 1], change=ties),
        "equal": update([[1.0, 0.0]], [3, 3], change=two_equal_responses),
        "one": update([[1.0]], [3]),
    }


INPUTS = make_inputs()
CODE_OF_PGPO = {"threshold_is": "quantile", "lowest_weight": 0.1, "conserve": False}
LARGE_PAPO = {"perception_coef": 0.5, "entropy_coef": 0.3}
LARGE_DVRP = {"necessity_coef": 0.5, "robustness_coef": 2.0, "entropy_coef": 0.3}

CASES = [
    case("grpo", "grpo", "base", kl_coef=0.3),
    case("grpo, extreme", "grpo", "extreme", kl_coef=0.3),
    case("dr_grpo", "grpo", "base", base="dr_grpo", kl_coef=0.0),
    case("dr_grpo, other length", "grpo", "base", base="dr_grpo", longest_length=9, kl_coef=0.1),
    case("gspo", "grpo", "base", base="gspo", kl_coef=0.0),
    case("gspo, published clip", "grpo", "base", base="gspo", clip_low=3e-4, clip_high=4e-4, kl_coef=0.1),
    case("cispo", "grpo", "base", base="cispo", clip_high=0.28, kl_coef=0.0),
    case("cispo, extreme", "grpo", "extreme", base="cispo", kl_coef=0.1),
    case("dapo", "dapo", "base"),
    case("dapo, extreme", "dapo", "extreme"),
    case("papo", "papo", "base"),
    case("papo, first update", "papo", "base", {"perception_coef": 0.01, "entropy_coef": 0.03}, moved=False, kl_coef=0.0),
    case("papo, large coefficients", "papo", "base", LARGE_PAPO, with_logits=True),
    case("papo, extreme", "papo", "extreme", LARGE_PAPO),
    case("dvrp", "dvrp", "base"),
    case("dvrp, large coefficients", "dvrp", "base", LARGE_DVRP, kl_coef=0.2),
    case("dvrp, extreme", "dvrp", "extreme", LARGE_DVRP),
    case("vppo", "vppo", "base"),
    case("vppo, other settings", "vppo", "base", {"token_fraction": 0.7, "lowest_factor": 0.5, "entropy_coef": 0.12}, kl_coef=0.1),
    case("vppo, extreme", "vppo", "extreme", {"entropy_coef": 0.0}),
    case("vppo, ties", "vppo", "ties"),
    case("vppo, responses that depend equally", "vppo", "equal"),
    case("vppo, one response", "vppo", "one"),
    case("vppo on dr_grpo", "vppo", "base", base="dr_grpo"),
    case("pgpo", "pgpo", "base"),
    case("pgpo, authors' code", "pgpo", "base", CODE_OF_PGPO),
    case("pgpo, quantile", "pgpo", "base", {"threshold_is": "quantile", "threshold": 0.3, "slope": 1.0}),
    case("pgpo, not conserved", "pgpo", "base", {"conserve": False, "lowest_weight": 0.2}),
    case("pgpo, extreme", "pgpo", "extreme"),
    case("pgpo, ties", "pgpo", "ties"),
    case("tor", "tor", "base", kl_coef=0.2),
    case("tor, other shares", "tor", "base", {"reasoning_fraction": 0.1, "perception_fraction": 0.6, "perception_weight": 0.25}),
    case("tor, extreme", "tor", "extreme"),
    case("tor, ties", "tor", "ties", {"perception_fraction": 0.5}),
    case("tor on gspo", "tor", "base", base="gspo"),
    case("tor on cispo", "tor", "base", base="cispo"),
    case("pepo", "pepo", "base", kl_coef=0.2),
    case("pepo, other settings", "pepo", "base", {"strength": 0.8, "softmax_temperature": 0.3}),
    case("pepo, one response", "pepo", "one"),
    case("vepo", "vepo", "base"),
    case("vepo, other settings", "vepo", "base", {"divergence_share": 0.2, "token_fraction": 0.5}, kl_coef=0.1),
    case("vepo, first update", "vepo", "base", {"token_fraction": 0.6}, moved=False),
    case("vepo, extreme", "vepo", "extreme", {"token_fraction": 0.5}),
    case("vepo, ties", "vepo", "ties", {"token_fraction": 0.4}),
    case("noisy_rollout", "noisy_rollout", "base"),
    case("noisy_rollout, large bonus", "noisy_rollout", "base", {"entropy_bonus": 0.3}),
    case("vcpo", "vcpo", "base", kl_coef=0.1),
    case("vcpo, k3", "vcpo", "base", {"divergence": "k3", "consistency_coef": 0.8, "imitation_coef": 0.6}),
    case("vcpo, k1", "vcpo", "base", {"divergence": "k1"}),
    case("vcpo, extreme", "vcpo", "extreme", {"divergence": "k3"}),
]


def make_distributions():
    random = np.random.default_rng(20260202)
    # From flat to so sharp that most probabilities are nothing next to the largest.
    logits, others = (np.concatenate([np.round(random.normal(0, scale, (3, 7)), 3) for scale in (0.3, 2, 6, 30)]) for _ in range(2))
    others[0] = logits[0]
    return [
        {
            "temperature": temperature,
            "logits": logits,
            "others": others,
            "full": full_kl(logits / temperature, others / temperature),
            "jensen_shannon": jensen_shannon(logits / temperature, others / temperature),
            "nucleus_entropy": nucleus_entropy(logits / temperature),
        }
        for temperature in (1.0, 0.5)
    ]


def make_noise():
    beta = 1 / (1 + np.exp(-np.linspace(-6, 6, 1000))) * (5e-3 - 1e-5) + 1e-5
    kept = np.cumprod(1 - beta)
    stages = [0, 1, 50, 100, 250, 449, 450, 499, 500, 750, 999]

    def schedule(method, settings, steps, midpoint):
        """`midpoint` in steps."""
        t = np.arange(steps)
        decay = 1 - 1 / (1 + np.exp(-settings["noise_steepness"] * (t / steps - midpoint / steps)))
        exact = settings["noise_start"] * decay
        # no rounding error may decide; where the exponent is 0 or the decay next to 0 none does
        assert all((t == midpoint) | (exact < 0.5) | (np.abs(exact - np.round(exact)) > 1e-10)), exact
        return {"method": method, "settings": settings, "steps": steps, "stages": np.floor(exact).astype(int)}

    noisy = lambda start, steepness, share: {"noise_start": start, "noise_steepness": steepness, "noise_midpoint": share}
    return {
        "kept_variance": [[stage, kept[stage]] for stage in stages],
        "schedules": [
            schedule("noisy_rollout", noisy(500, 30.0, 40 / 60), 60, 40),
            schedule("noisy_rollout", noisy(450, 60.0, 40 / 120), 120, 40),
            schedule("dvrp", noisy(500, 30.0, 10.0), 60, 10),
        ],
    }


def make_filter():
    counts = [(0, 8), (1, 8), (7, 8), (8, 8), (1, 100), (2, 100), (98, 100), (99, 100), (0, 1), (1, 1)]
    return [{"right": right, "responses": n, "keeps": Fraction(1, 100) < Fraction(right, n) < Fraction(99, 100)} for right, n in counts]


def check():
    """Every limit is reached by some token."""
    moved = SEEN["grpo"]
    assert all(moved.values()), moved
    read = INPUTS["extreme"]["readings"]["removed"]
    d = read["log_probs"] - picked(INPUTS["extreme"]["logits"], INPUTS["extreme"]["tokens"])
    limits = [-np.inf, -20, -11.1, 2.6, 20, np.inf]  # between the third and the fourth the estimate is below its limit
    assert np.histogram(d, limits)[0].all(), d
    assert (read["k3"] == K3_LIMIT).sum() > 1
    gspo = next(case for case in CASES if case["name"] == "gspo, published clip")
    assert any(gspo["gradients"]["log_probs"])


DIGITS = {"settings": 17, "policy": 17, "gradients": 7}


def plain(value, digits=9):
    """JSON: arrays as lists, floats with 9 significant digits where nothing else is said (float32 needs no more)."""
    if isinstance(value, dict):
        return {key: plain(item, DIGITS.get(key, digits)) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item, digits) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        value = float(f"{value:.{digits}g}") + 0.0
        return int(value) if value.is_integer() and digits < 17 else value
    return value


def main():
    check()
    line = lambda value: json.dumps(plain(value), separators=(",", ":"))
    rows = lambda values: "[\n" + ",\n".join(line(value) for value in values) + "\n]"
    keyed = lambda values: "{\n" + ",\n".join(f"{json.dumps(key)}: {line(value)}" for key, value in values.items()) + "\n}"
    defaults = {name: {"settings": settings, "policy": policy} for name, (settings, policy) in DEFAULTS.items()}
    parts = {
        "numpy": json.dumps(np.__version__),
        "defaults": keyed(defaults),
        "filter": rows(make_filter()),
        "noise": keyed(make_noise()),
        "distributions": rows(make_distributions()),
        "inputs": keyed(INPUTS),
        "cases": rows(CASES),
    }
    text = "{\n" + ",\n".join(f'"{key}": {value}' for key, value in parts.items()) + "\n}\n"
    json.loads(text)
    Path(__file__).with_name("methods.json").write_text(text)


main()
