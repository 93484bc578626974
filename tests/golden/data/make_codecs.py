"""The same three rows in every codec of parquet, and small files that unpack to huge ones.

    python -m venv venv && venv/bin/pip install pyarrow==26.0.1
    venv/bin/python tests/golden/data/make_codecs.py
"""

import struct
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
assert pa.__version__ == "26.0.1", pa.__version__


def png(red, green, blue, width=6, height=4):
    """A PNG of one colour."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes([red, green, blue]) * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


ROWS = {
    "image": [png(10 * n, 20, 30) for n in range(3)],
    "problem": [f"How many, in picture {n}?" for n in range(3)],
    "answer": pa.array([0.5, 1.0, float("nan")], pa.float64()),
}
for codec in ("none", "snappy", "gzip", "brotli", "lz4", "zstd"):
    pq.write_table(pa.table(ROWS), HERE / f"{codec}.parquet", compression=codec)

# one text of 300 million letters; and one of a million that stands, once in the file, in 300 rows
large = {"image": [png(1, 2, 3)], "problem": ["a" * 300_000_000], "answer": ["1"]}
pq.write_table(pa.table(large), HERE / "large_text.parquet", compression="zstd", compression_level=19, use_dictionary=False, write_statistics=False)
often = {"image": [png(1, 2, 3)] * 300, "problem": ["a" * 1_000_000] * 300, "answer": ["1"] * 300}
options = dict(compression="zstd", use_dictionary=True, dictionary_pagesize_limit=1 << 22, write_statistics=False)
pq.write_table(pa.table(often), HERE / "large_dictionary.parquet", **options)
