"""Small pictures of every format, and what Pillow makes of them: `formats.json` beside this file.

Run by hand, from anywhere:

    python -m venv venv && venv/bin/pip install pillow==13.0.0 numpy==2.4.6
    venv/bin/python tests/golden/image/make_formats.py

Each case has the file's bytes, the picture's size and its pixels: turned upright as transformers' `load_image` does (`ImageOps.exif_transpose`),
then laid over white (`convert("RGBA")` and `alpha_composite`, as transformers' `convert_to_rgb`) and, where transparency is dropped,
`convert("RGB")` (left out where both are the same). `differs` is the largest difference that lossy formats may have, for decoders round in ways of their own.
"""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps

WIDTH, HEIGHT = 5, 3
NUMBERS = np.arange(WIDTH * HEIGHT * 3, dtype=np.uint32).reshape(HEIGHT, WIDTH, 3)
RGB = Image.fromarray((NUMBERS * 37 % 256).astype(np.uint8))
ALPHA = Image.fromarray((NUMBERS[..., 0] * 91 % 256).astype(np.uint8))
SMOOTH = Image.fromarray(np.stack(np.meshgrid(np.arange(0, 256, 16), np.arange(0, 256, 32)), -1).sum(-1).clip(0, 255).astype(np.uint8)).convert("RGB")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


def main():
    assert PIL.__version__ == "13.0.0", PIL.__version__
    rows = [case(name, data, differs) for name, data, differs in files()]
    path = Path(__file__).with_name("formats.json")
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    print(f"{path}: {len(rows)} cases, {path.stat().st_size} bytes")


def case(name, data, differs):
    opened = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    rgb = opened.convert("RGB")
    row = {"name": name, "file": data.hex(), "size": list(rgb.size), "differs": differs, "white": rgb.tobytes().hex()}
    if "A" in opened.getbands() or "transparency" in opened.info:
        layer = opened.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255))
        row["drop"], row["white"] = row["white"], Image.alpha_composite(white, layer).convert("RGB").tobytes().hex()
    return row


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def files():
    rgba = RGB.copy()
    rgba.putalpha(ALPHA)
    palette = RGB.quantize(7)
    see_through = palette.copy()
    see_through.info["transparency"] = 2

    for orientation in range(1, 9):
        yield f"png, EXIF orientation {orientation}", saved(RGB, "PNG", exif=exif(orientation)), 0
        yield f"webp, EXIF orientation {orientation}", saved(RGB, "WEBP", lossless=True, exif=exif(orientation)), 0
        yield f"tiff, orientation {orientation}", saved(RGB, "TIFF", tiffinfo={274: orientation}), 0
    for orientation in (1, 3, 6, 8):
        yield f"jpeg, EXIF orientation {orientation}", saved(SMOOTH, "JPEG", quality=95, subsampling=0, exif=exif(orientation)), 3
    yield "jpeg, EXIF in big-endian order", jpeg_with(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"), 3
    yield "jpeg, orientation 9 is none", saved(SMOOTH, "JPEG", quality=95, subsampling=0, exif=exif(9)), 3
    yield "jpeg, XMP orientation", jpeg_with(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP % 8), 3
    yield "webp, XMP orientation", saved(RGB, "WEBP", lossless=True, xmp=XMP % 6), 0
    yield "png, EXIF after the pixels", png_with(b"eXIf", exif(6).removeprefix(b"Exif\0\0")), 0
    yield "png, XMP orientation", png_with(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % 3, before=True), 0
    yield "png, turned and transparent", saved(rgba, "PNG", exif=exif(6)), 0

    yield "webp, lossless", saved(RGB, "WEBP", lossless=True), 0
    yield "webp, lossless with alpha", saved(rgba, "WEBP", lossless=True, exact=True), 0
    yield "webp, lossy", saved(SMOOTH, "WEBP", quality=90), 3
    smooth_alpha = SMOOTH.copy()
    smooth_alpha.putalpha(Image.new("L", SMOOTH.size, 128))
    yield "webp, lossy with alpha", saved(smooth_alpha, "WEBP", quality=90), 3
    yield "webp, animated", saved(RGB, "WEBP", lossless=True, save_all=True, append_images=[RGB.rotate(180)]), 0

    yield "gif", saved(palette, "GIF"), 0
    yield "gif, interlaced", saved(palette, "GIF", interlace=1), 0
    yield "gif, transparent", saved(see_through, "GIF", transparency=2), 0
    yield "gif, animated", saved(palette, "GIF", save_all=True, append_images=[palette.rotate(180)]), 0
    yield "gif, grey", saved(RGB.convert("L"), "GIF"), 0

    yield "bmp", saved(RGB, "BMP"), 0
    yield "bmp, palette", saved(palette, "BMP"), 0
    yield "bmp, grey", saved(RGB.convert("L"), "BMP"), 0
    yield "bmp, black and white", saved(RGB.convert("1"), "BMP"), 0
    yield "bmp, alpha", saved(rgba, "BMP"), 0

    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield f"tiff, {compression}", saved(RGB, "TIFF", compression=compression), 0
    yield "tiff, alpha", saved(rgba, "TIFF"), 0
    yield "tiff, grey", saved(RGB.convert("L"), "TIFF"), 0
    yield "tiff, grey of 16 bits", saved(Image.fromarray((NUMBERS[..., 0] * 40).astype(np.uint16)), "TIFF"), 0
    yield "tiff, black and white", saved(RGB.convert("1"), "TIFF"), 0
    yield "tiff, two pages", saved(RGB, "TIFF", save_all=True, append_images=[RGB.rotate(180)]), 0

    yield "jpeg, grey", saved(SMOOTH.convert("L"), "JPEG", quality=95), 2
    yield "jpeg, progressive", saved(SMOOTH, "JPEG", quality=95, subsampling=0, progressive=True), 3
    yield "jpeg, 4:2:0", saved(SMOOTH, "JPEG", quality=95, subsampling=2), 4
    yield "jpeg, CMYK", saved(SMOOTH.convert("CMYK"), "JPEG", quality=95), 4


def jpeg_with(marker, data):
    jpeg = saved(SMOOTH, "JPEG", quality=95, subsampling=0)
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data + jpeg[2:]


def png_with(kind, data, before=False):
    png = saved(RGB, "PNG")
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    at = 33 if before else len(png) - 12
    return png[:at] + chunk + png[at:]


if __name__ == "__main__":
    main()
