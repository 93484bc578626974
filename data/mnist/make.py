"""Makes the MNIST subset in this directory from full IDX files.

usage: make.py TRAIN_IMAGES TRAIN_LABELS TEST_IMAGES TEST_LABELS   (IDX, gzip)

Takes the first 14,000 training digits, and 4,000 test digits evenly spaced over the test set (its first half is easier than
its second, so a prefix would flatter). Pixels are untouched. Written with fixed gzip headers: the same bytes on every run.
"""

import gzip
import struct
import sys
from pathlib import Path

HERE = Path(__file__).parent


def read(path, magic, header):
    data = gzip.open(path).read()
    fields = struct.unpack(f">{header}I", data[: 4 * header])
    assert fields[0] == magic, (path, fields)
    return fields[1], data[4 * header :]


def write(name, header, body):
    packed = struct.pack(f">{len(header)}I", *header) + body
    with open(HERE / name, "wb") as file:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as stream:
            stream.write(packed)


def subset(name, images_path, labels_path, take):
    count, pixels = read(images_path, 0x803, 4)
    label_count, labels = read(labels_path, 0x801, 2)
    assert count == label_count
    indices = take(count)
    size = 28 * 28
    write(f"{name}-images-idx3-ubyte.gz", (0x803, len(indices), 28, 28), b"".join(pixels[i * size : (i + 1) * size] for i in indices))
    write(f"{name}-labels-idx1-ubyte.gz", (0x801, len(indices)), bytes(labels[i] for i in indices))


subset("train", sys.argv[1], sys.argv[2], lambda count: range(14_000))
subset("test", sys.argv[3], sys.argv[4], lambda count: [i * count // 4_000 for i in range(4_000)])
