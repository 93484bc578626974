"""Which layers PEFT chooses for target_modules = "all-linear", alone and with exclude_modules, in the small golden models of both families.

    pip install peft==0.21.2 transformers==5.24.0 torch
    python tests/golden/peft/make_targets.py            # writes targets.json
    python tests/golden/peft/make_targets.py CONFIG BASE      # prints the layers that an adapter_config.json chooses in the model of a directory
"""

import json
import sys
from pathlib import Path

import transformers
from peft import LoraConfig, get_peft_model

HERE = Path(__file__).parent
BASES = {"idefics3": HERE / "../idefics3/tied", "qwen2_5_vl": HERE / "../qwen2_5_vl/flat"}
EXCLUDED = {
    "nothing": None,
    "vision": {"idefics3": r"model\.vision_model\..*", "qwen2_5_vl": r"model\.visual\..*"},
    "names": {"idefics3": ["q_proj", "mlp.fc1"], "qwen2_5_vl": ["q_proj", "qkv", "mlp.0"]},
}


def chosen(base, config):
    model = get_peft_model(transformers.AutoModelForImageTextToText.from_pretrained(base), config)
    suffix = ".lora_A.default"
    return sorted(name.removeprefix("base_model.model.").removesuffix(suffix) for name, _ in model.named_modules() if name.endswith(suffix))


def main():
    if len(sys.argv) == 3:
        print("\n".join(chosen(sys.argv[2], LoraConfig.from_pretrained(Path(sys.argv[1]).parent))))
        return
    targets = {}
    for family, base in BASES.items():
        for name, excluded in EXCLUDED.items():
            config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", exclude_modules=excluded and excluded[family])
            targets[f"{family} without {name}"] = chosen(base, config)
    (HERE / "targets.json").write_text(json.dumps(targets, indent=0) + "\n")
    print({name: len(layers) for name, layers in targets.items()})


main()
