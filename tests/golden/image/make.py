"""Goldens of the image processor: what Pillow and transformers make of pictures that both languages generate.

Run by hand, from anywhere; it rewrites `goldens.json` beside itself (no torch needed: transformers' PIL backend):

    python -m venv venv && venv/bin/pip install pillow==13.0.0 numpy==2.4.6 transformers==5.23.0
    venv/bin/python tests/golden/image/make.py

Pictures are not committed but generated, here by `picture` and in `tests/src/image.rs` by its twin. Expected bytes
are committed as CRC-32.
"""

import io
import itertools
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL
import transformers
from PIL import Image
from transformers.image_transforms import convert_to_rgb
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

PINNED = {"pillow": (PIL, "13.0.0"), "numpy": (np, "2.4.6"), "transformers": (transformers, "5.23.0")}
FILTERS = {"lanczos": 1, "bilinear": 2, "bicubic": 3}
SIZES = [(1, 1), (3, 500), (100, 80), (640, 480), (1920, 1080)]


def main():
    for name, (module, version) in PINNED.items():
        assert module.__version__ == version, f"{name} {module.__version__}, expected {version}"
    goldens = {
        "versions": {name: version for name, (_, version) in PINNED.items()},
        "pictures": [{"size": size, "crc": crc(np.array(picture(*size)))} for size in SIZES],
        "resize": list(resizes()),
        "process": list(processed()),
        "tilings": list(tilings()),
        "values": list(values()),
        "decode": list(decoded()),
        "config": json.loads(processor(2048, 512).to_json_string()),
    }
    path = Path(__file__).with_name("goldens.json")
    rows = [f"{json.dumps(key)}: {one_row_each(value)}" for key, value in goldens.items()]
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    print(f"{path}: {path.stat().st_size} bytes")


def picture(width, height):
    """Squares of 16 pixels with, in turn, a gradient, noise, and black and white stripes that make filters overshoot."""
    y, x, c = np.meshgrid(*(np.arange(n, dtype=np.uint32) for n in (height, width, 3)), indexing="ij")
    gradient = (x * 255 // max(width - 1, 1) + y * 255 // max(height - 1, 1)) // 2
    noise = ((x * 73856093) ^ (y * 19349663) ^ (c * 83492791)) >> 13 & 255
    stripes = np.where((x + 2 * y + c) % 3 == 0, 255, 0)
    kind = (x // 16 + y // 16) % 3
    return Image.fromarray(np.choose(kind, [gradient, noise, stripes]).astype(np.uint8))


def crc(array):
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def resizes():
    """Up, down, mixed, one axis only, extreme ratios, to and from one pixel."""
    pairs = [
        ((1, 1), (5, 7)), ((1, 1), (64, 64)), ((3, 500), (500, 3)), ((3, 500), (12, 2048)), ((3, 500), (3, 77)),
        ((100, 80), (1, 1)), ((100, 80), (33, 81)), ((100, 80), (100, 41)), ((100, 80), (257, 80)),
        ((100, 80), (511, 409)), ((640, 480), (64, 64)), ((640, 480), (641, 479)), ((640, 480), (1024, 768)),
        ((1920, 1080), (512, 512)), ((1920, 1080), (101, 57)),
    ]
    for (size, to), (name, number) in itertools.product(pairs, FILTERS.items()):
        out = np.array(picture(*size).resize(to, number))
        yield {"size": size, "to": to, "filter": name, "crc": crc(out), "last": out.reshape(-1)[-6:].tolist()}


def processor(longest_edge, tile_edge, **settings):
    size, tile = {"longest_edge": longest_edge}, {"longest_edge": tile_edge}
    return Idefics3ImageProcessorPil(size=size, max_image_size=tile, return_row_col_info=True, **settings)


def processed():
    """Tiles before rescaling and normalisation."""
    def case(size, longest_edge, tile_edge, split, name, **more):
        settings = {"do_image_splitting": split, "resample": FILTERS[name], **more}
        out = processor(longest_edge, tile_edge, do_rescale=False, do_normalize=False, **settings)(picture(*size))
        tiles = np.array(out["pixel_values"])[0]
        assert tiles.dtype == np.uint8
        row = {"size": size, "longest_edge": longest_edge, "tile_edge": tile_edge, "split": split, "filter": name}
        rows_cols = {"rows": out["rows"][0][0], "cols": out["cols"][0][0]}
        return row | more | rows_cols | {"crc": [crc(tile) for tile in tiles]}

    for size, split in itertools.product(SIZES, [True, False]):
        yield case(size, 2048, 512, split, "lanczos")
        yield case(size, 64, 64, split, "lanczos")
        for name in FILTERS:
            yield case(size, 256, 64, split, name)
    for split in [True, False]:
        yield case((100, 80), 256, 64, split, "lanczos", do_resize=False)
        yield case((640, 480), 257, 70, split, "bicubic")


def tilings():
    """Rows and columns for many sizes, through the pixels (transformers' own prediction is not used)."""
    sizes = [(64, 64), (640, 480), (480, 640), (1920, 1080), (300, 1000), (5000, 300), (300, 5000), (1, 1), (1, 2), (2, 1)]
    sizes += [(1, 4000), (4000, 1), (333, 77), (77, 333), (512, 512), (513, 512), (2048, 2047), (2047, 2048), (1023, 767)]
    for size, (longest_edge, tile_edge) in itertools.product(sizes, [(2048, 512), (64, 64), (1456, 364), (5000, 999)]):
        out = processor(longest_edge, tile_edge)(Image.new("RGB", size))
        row = {"size": size, "longest_edge": longest_edge, "tile_edge": tile_edge}
        yield row | {"rows": out["rows"][0][0], "cols": out["cols"][0][0]}


def values():
    """What each of the 256 bytes becomes, as CRC-32 of `[3, 16, 16]` little-endian floats, and the first of each channel."""
    clip = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2))
    for settings in [{}, clip, clip | {"do_rescale": False}, {"do_normalize": False}, {"rescale_factor": 1 / 127.5}]:
        out = np.array(processor(16, 16, **settings)(ramp)["pixel_values"])
        assert out.shape == (1, 1, 3, 16, 16) and out.dtype == np.float32
        yield {"settings": settings, "crc": crc(out.astype("<f4")), "first": out[0, 0, :, 0, 1].tolist()}


def decoded():
    """Small PNGs of every kind; `rgb` is Pillow's convert("RGB"), `over_white` is what transformers' processor sees."""
    levels = [0, 1, 2, 200, 255, 256, 300, 0x1234, 0x80FF, 0xFF7F, 0xFFFF]
    alphas = [0, 1, 77, 128, 254, 255, 0x3FFF, 0x8000, 0xFE01, 0x00FF, 0xFFFF]
    palette = chunk(b"PLTE", bytes(range(10, 100, 10)))

    def case(name, depth, color_type, row, *extra, over_white=True):
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
        width = len(row) * 8 // (depth * channels)
        header = struct.pack(">IIBBBBB", width, 1, depth, color_type, 0, 0, 0)
        data = chunk(b"IDAT", zlib.compress(b"\0" + row))
        png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + data + chunk(b"IEND", b"")
        opened = Image.open(io.BytesIO(png))
        out = {"name": name, "mode": opened.mode, "png": png.hex(), "rgb": np.array(opened.convert("RGB")).tobytes().hex()}
        if over_white:
            out["over_white"] = convert_to_rgb(opened, return_numpy=True).tobytes().hex()
        return out

    bits = bytes([0b00011011, 0b11100100, 0b10100001])
    for depth in (1, 2, 4):
        yield case(f"grey{depth}", depth, 0, bits)
        yield case(f"palette{depth}", depth, 3, bits, palette)
        yield case(f"palette{depth} with transparency", depth, 3, bits, palette, chunk(b"tRNS", bytes([0, 128])))
    yield case("grey8", 8, 0, bytes(range(0, 256, 15)))
    yield case("grey8 with transparency", 8, 0, bytes(range(0, 256, 15)), chunk(b"tRNS", struct.pack(">H", 30)))
    yield case("palette8", 8, 3, bytes([0, 1, 2, 3, 255]), palette)
    yield case("rgb8", 8, 2, bytes(range(0, 252, 7)))
    yield case("rgb8 with transparency", 8, 2, bytes(range(0, 252, 7)), chunk(b"tRNS", struct.pack(">HHH", 0, 7, 14)))
    yield case("grey-alpha8", 8, 4, bytes(value % 256 for pair in zip(levels, alphas) for value in pair))
    rgba = [(v * k % 256, v % 256, k, a % 256) for k, (v, a) in enumerate(itertools.product(levels, alphas))]
    yield case("rgba8", 8, 6, bytes(value for pixel in rgba for value in pixel))
    # 16-bit grey: transformers' compositing and Pillow's own conversion clip alike, transparency only breaks it.
    yield case("grey16", 16, 0, struct.pack(">11H", *levels))
    transparent = chunk(b"tRNS", struct.pack(">H", 300))
    yield case("grey16 with transparency", 16, 0, struct.pack(">11H", *levels), transparent, over_white=False)
    yield case("grey-alpha16", 16, 4, struct.pack(">22H", *(v for pair in zip(levels, alphas) for v in pair)))
    yield case("rgb16", 16, 2, struct.pack(">33H", *(v for level in levels for v in (level, level // 2, 0xFFFF - level))))
    rgba = [(level, level // 2, 0xFFFF - level, alpha) for level, alpha in itertools.product(levels, alphas)]
    yield case("rgba16", 16, 6, struct.pack(f">{4 * len(rgba)}H", *(v for pixel in rgba for v in pixel)))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def one_row_each(value):
    if not isinstance(value, list):
        return json.dumps(value)
    return "[\n  " + ",\n  ".join(json.dumps(row) for row in value) + "\n]"


if __name__ == "__main__":
    main()
