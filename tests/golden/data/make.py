"""Small parquet files in the layouts of public vision-language sets, written with pyarrow. usage: make.py (needs pyarrow)"""

import struct
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent


def png(red, green, blue, width=6, height=4):
    """A PNG of one colour."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes([red, green, blue]) * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
MESSAGE = pa.struct([("content", pa.string()), ("role", pa.string())])


def write(name, columns, **options):
    pq.write_table(pa.table(columns), HERE / name, **options)


# geometry3k: a list of images, `<image>` in the problem. Several row groups.
write(
    "geometry.parquet",
    {
        "images": pa.array([[{"bytes": png(n * 10, 0, 0), "path": None}] for n in range(5)], pa.list_(IMAGE)),
        "problem": [f"<image>Find $x_{n}$." for n in range(5)],
        "answer": [str(n) for n in range(4)] + ["\\frac{1}{2}"],
    },
    compression="snappy",
    row_group_size=2,
)
# verl: messages and a reward model; other columns in the way.
write(
    "verl.parquet",
    {
        "data_source": ["a", "a"],
        "prompt": pa.array(
            [[{"role": "system", "content": "Be good."}, {"role": "user", "content": f"<image>How many {n}?"}] for n in range(2)],
            pa.list_(MESSAGE),
        ),
        "images": pa.array([[{"bytes": png(0, n, 0), "path": "a.png"}] for n in range(2)], pa.list_(IMAGE)),
        "reward_model": pa.array(
            [{"style": "rule", "ground_truth": f"{n}"} for n in range(2)],
            pa.struct([("ground_truth", pa.string()), ("style", pa.string())]),
        ),
        "score": pa.array([0.5, None], pa.float32()),
    },
    compression="zstd",
)
# ViRL39K: lists of paths, boxed answers; large strings, dictionary off.
write(
    "virl.parquet",
    {
        "question": pa.array(["Which?\n<image>"], pa.large_string()),
        "answer": ["\\boxed{D}"],
        "image": pa.array([["images/0.png"]], pa.list_(pa.string())),
    },
    compression="none",
    use_dictionary=False,
)
# One struct an example, a number for an answer, and every way to be bad.
write(
    "bad.parquet",
    {
        "image": pa.array(
            [
                {"bytes": png(1, 2, 3), "path": None},
                {"bytes": png(1, 2, 3), "path": None},
                {"bytes": None, "path": None},
                None,
                {"bytes": b"no picture", "path": None},
                {"bytes": None, "path": "nowhere.png"},
                {"bytes": png(1, 2, 3), "path": None},
                {"bytes": png(1, 2, 3)[:20], "path": None},
            ],
            IMAGE,
        ),
        "problem": ["Good?", " <image> ", "No image?", "Null?", "Not a picture?", "Lost?", "No answer?", "Cut off?"],
        "answer": pa.array([3, 3, 3, 3, 3, 3, None, 3], pa.int64()),
    },
)
