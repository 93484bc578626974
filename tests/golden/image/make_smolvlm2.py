"""Goldens of SmolVLM2's image processor, with the tiles of its 2.2B model (384 pixels, which patches of 14 do not divide), and the settings it saves. Writes `smolvlm2.json` beside itself.

    pip install pillow==13.0.0 numpy transformers==5.24.0
    python tests/golden/image/make_smolvlm2.py
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

HERE = Path(__file__).parent
source = (HERE / "make.py").read_text()
make = {"__file__": str(HERE / "make.py"), "__name__": "make"}
exec(source, make)  # its pictures and checksums

rows = []
for size in [(100, 80), (3, 500), (640, 480)]:
    for split in [True, False]:
        processor = SmolVLMImageProcessorPil(size={"longest_edge": 1536}, max_image_size={"longest_edge": 384}, return_row_col_info=True,
                                             do_rescale=False, do_normalize=False, do_image_splitting=split)
        out = processor(make["picture"](*size))
        tiles = np.array(out["pixel_values"])[0]
        rows.append({"size": size, "split": split, "rows": out["rows"][0][0], "cols": out["cols"][0][0], "crc": [make["crc"](tile) for tile in tiles]})
saved = json.loads(SmolVLMImageProcessorPil(size={"longest_edge": 1536}, max_image_size={"longest_edge": 384}).to_json_string())
# published files also say how films are sampled
saved |= {"processor_class": "SmolVLMProcessor", "video_sampling": {"fps": 1, "max_frames": 50, "video_size": {"longest_edge": 384}}}
(HERE / "smolvlm2.json").write_text(json.dumps({"settings": saved, "process": rows}) + "\n")
print(saved, [(row["size"], row["rows"], row["cols"]) for row in rows])
