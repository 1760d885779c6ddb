"""Reads image files by Cairn and by Pillow and compares the pixels.

    check_images.py PROGRAM [--make FOLDER] [FOLDER|FILE]...

PROGRAM is image_pixels. Files of every form that is made here come first, sound ones and ones cut
short; then those named. A file that Pillow opens is to be read within 2 levels a channel of
`exif_transpose` and RGB, what is transparent over white; one that it refuses is to be refused.
16-bit grey is compared by its high byte: Pillow's own conversion turns nearly all of it white. All
is read twice, in memory that is filled differently.

--make only makes the files. Exit code: 0 all as it should be, 1 not, 77 without Pillow."""
import collections
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib

try:
    import numpy as np
    from PIL import Image, ImageOps, PngImagePlugin
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

NOT_READ = {"GIF", "TIFF", "AVIF", "JPEG2000", "PSD", "PPM", "TGA", "ICO", "DDS"}
rng = random.Random(1)


# Files ------------------------------------------------------------------------------------------
def bmp(name, bits, width, height, header=40, colours=0, palette=None, compression=0, masks=(),
        pixels=None, gap=0):
    """One BMP, of random pixels unless given."""
    down = abs(height)
    entry = 3 if header == 12 else 4
    if palette is None:
        palette = [rng.randbytes(3) for _ in range(1 << bits)] if bits <= 8 else []
    table = b"".join(c + bytes(entry - 3) for c in palette)
    stride = (width * bits + 31) // 32 * 4
    body = pixels if pixels is not None else rng.randbytes(stride * down)
    if header == 12:
        rest = struct.pack("<HHHH", width, height, 1, bits)
    else:
        rest = struct.pack("<iiHHIIiiII", width, height, 1, bits, compression, len(body), 0, 0,
                           colours, 0)
        if header == 40:
            table = struct.pack(f"<{len(masks)}I", *masks) + table
        else:
            rest += struct.pack(f"<{len(masks)}I", *masks) + bytes(header - 40 - 4 * len(masks))
    begin = 14 + header + len(table) + gap
    return name, (b"BM" + struct.pack("<IHHII", begin + len(body), 0, 0, begin, header) + rest +
                  table + bytes(gap) + body)


def runs(bits, width, height):
    """Random RLE4 or RLE8 data that fills the picture, of every kind of code."""
    out = b""
    for _ in range(height):
        x = 0
        while x < width:
            kind, left = rng.choice("rad"), width - x
            count = rng.randint(1, min(left, 40))
            if kind == "a" and count >= 3:
                data = rng.randbytes(count if bits == 8 else (count + 1) // 2)
                out += bytes([0, count]) + data + bytes(len(data) % 2)
            elif kind == "d" and left > 5:
                count = 3
                out += bytes([0, 2, count, 0])
            else:
                out += bytes([count, rng.randrange(256)])
            x += count
        out += b"\0\0"
    return out + b"\0\1"


def bmps():
    for bits in (1, 4, 8, 16, 24, 32):
        for header in (40, 52, 56, 64, 108, 124):
            yield bmp(f"{bits}-{header}.bmp", bits, rng.randint(1, 33), rng.randint(1, 9), header)
        yield bmp(f"{bits}-down.bmp", bits, 13, -5)
        yield bmp(f"{bits}-gap.bmp", bits, 13, 5, gap=10)
        if bits in (1, 4, 8, 24):
            yield bmp(f"{bits}-os2.bmp", bits, 9, 4, 12)
    for bits, colours in ((1, 1), (4, 3), (4, 15), (8, 5), (8, 200)):
        palette = [rng.randbytes(3) for _ in range(colours)]
        yield bmp(f"short-{bits}-{colours}.bmp", bits, 17, 9, 40, colours, palette)
    for name, bits, masks in (("565", 16, (0xF800, 0x7E0, 0x1F)), ("555", 16, (0x7C00, 0x3E0, 0x1F)),
                              ("bgrx", 32, (0xFF0000, 0xFF00, 0xFF)),
                              ("xbgr", 32, (0xFF000000, 0xFF0000, 0xFF00)),
                              ("zero", 32, (0, 0, 0)), ("24", 24, (0xFF0000, 0xFF00, 0xFF))):
        for header in (40, 52, 108):
            yield bmp(f"masks-{name}-{header}.bmp", bits, 11, 6, header, 0, None, 3, masks)
    for i in range(6):
        width, height = rng.randint(1, 70), rng.randint(1, 12)
        palette = [rng.randbytes(3) for _ in range(256)]
        yield bmp(f"rle8-{i}.bmp", 8, width, height, 40, 0, palette, 1, (), runs(8, width, height))
        yield bmp(f"rle4-{i}.bmp", 4, width, height, 40, 0, palette[:16], 2, (),
                  runs(4, width, height))
    yield bmp("huffman.bmp", 1, 8, 2, 64, 0, None, 3)
    yield bmp("jpeg.bmp", 24, 8, 2, 40, 0, None, 4)
    yield bmp("v2-100.bmp", 8, 8, 2, 100)
    yield bmp("2bits.bmp", 2, 8, 2)
    yield bmp("gaps.bmp", 16, 8, 2, 40, 0, None, 3, (0xF00F, 0xF0, 0xF00))


def picture(width, height):
    """Smooth, so that a JPEG of it stays near."""
    y, x = np.mgrid[0:height, 0:width]
    a, b = rng.random(), rng.random()
    planes = [127 + 127 * np.sin(a + x / 9), 127 + 127 * np.cos(b + y / 7), x * 255 // (width - 1) + 0 * y]
    return [np.clip(p, 0, 255).astype(np.uint8) for p in planes]


def exif(orientation, big=False, kind=3):
    e = ">" if big else "<"
    body = {1: "B3x", 3: "H2x", 4: "I"}[kind]
    return (b"Exif\0\0" + (b"MM\0*" if big else b"II*\0") + struct.pack(e + "IH", 8, 2) +
            struct.pack(e + "HHIHxx", 0x100, 3, 1, 7) +
            struct.pack(e + "HHI" + body, 0x112, kind, 1, orientation) + struct.pack(e + "I", 0))


def saved(folder):
    """Files by Pillow's own writers."""
    rgb = Image.fromarray(np.stack(picture(45, 31), -1))
    alpha = Image.fromarray(np.tile(np.arange(45, dtype=np.uint8) * 5, (31, 1)))
    grey, clear = rgb.convert("L"), rgb.copy()
    clear.putalpha(alpha)
    la = grey.copy()
    la.putalpha(alpha)
    palette = rgb.quantize(40)
    for name, im in (("rgb", rgb), ("grey", grey), ("cmyk", rgb.convert("CMYK"))):
        for more in ({}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}):
            im.save(folder / f"{name}-{'-'.join(more) or 'plain'}{more.get('subsampling', '')}.jpg",
                    quality=92, **more)
    rgb.save(folder / "keep.jpg", quality=95, keep_rgb=True)
    for name, im in (("rgb", rgb), ("grey", grey), ("rgba", clear), ("la", la), ("p", palette),
                     ("1", rgb.convert("1")), ("p4", rgb.quantize(9))):
        im.save(folder / f"{name}.png")
    palette.save(folder / "p-trns.png", transparency=3)
    palette.save(folder / "p-trnss.png", transparency=bytes(range(0, 240, 6)))
    rgb.save(folder / "rgb-trns.png", transparency=rgb.getpixel((5, 5)))
    Image.fromarray(np.arange(31 * 45, dtype=np.uint16).reshape(31, 45) * 40).save(folder / "16.png")
    for orientation in range(0, 10):
        big, kind = bool(orientation % 2), (3, 4, 1)[orientation % 3]
        for suffix in ("jpg", "png", "webp"):
            rgb.crop((0, 0, 45, 20)).save(folder / f"turned-{orientation}.{suffix}",
                                          exif=exif(orientation, big, kind), quality=95)
    for orientation in (1, 3, 6, 8, 9):
        for form in ('tiff:Orientation="%d"', "<tiff:Orientation>%d</tiff:Orientation>"):
            xmp = "<x:xmpmeta>" + form % orientation + "</x:xmpmeta>"
            name, wide = f"xmp-{orientation}{form[0] == '<':d}", rgb.crop((0, 0, 45, 20))
            for suffix in ("jpg", "webp"):
                wide.save(folder / f"{name}.{suffix}", xmp=xmp.encode(), quality=95)
                wide.save(folder / f"{name}-2.{suffix}", xmp=xmp.encode(), exif=exif(2), quality=95)
            text = PngImagePlugin.PngInfo()
            text.add_itxt("XML:com.adobe.xmp", xmp)
            wide.save(folder / f"{name}.png", pnginfo=text)
    for name, im, more in (("lossy", rgb, {}), ("lossless", rgb, {"lossless": True}),
                           ("alpha", clear, {"lossless": True}), ("alpha-lossy", clear, {}),
                           ("moving", clear, {"save_all": True, "append_images": [la.convert("RGBA")]}),
                           ("grey", grey, {})):
        im.save(folder / f"{name}.webp", **more)
    rgb.save(folder / "gif.gif")
    rgb.save(folder / "tiff.tif")


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def pngs():
    for depth, colour, samples in ((16, 2, 3), (16, 6, 4), (16, 4, 2), (2, 0, 1), (4, 3, 1)):
        stride = (7 * samples * depth + 7) // 8
        rows = b"".join(b"\0" + rng.randbytes(stride) for _ in range(5))
        table = chunk(b"PLTE", rng.randbytes(48)) if colour == 3 else b""
        text = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"A" * 1000)) * 3
        yield f"{depth}-{colour}.png", (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 5, depth, colour, 0, 0, 0)) +
            table + text + chunk(b"IDAT", zlib.compress(rows)) + text + chunk(b"IEND", b""))


def make(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (*bmps(), *pngs()):
        (folder / name).write_bytes(data)
    saved(folder)
    for path in sorted(folder.iterdir()):  # each cut short somewhere
        data = path.read_bytes()
        end = rng.randrange(len(data) - 14)
        (folder / f"cut-{path.name}").write_bytes(data[:end])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_bytes(b"no image at all")


# Comparing --------------------------------------------------------------------------------------
def by_pillow(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        im = Image.open(path)
        form = im.format
        im.load()
        im = ImageOps.exif_transpose(im)
    if im.mode == "I;16":
        clear = im.info.get("transparency")
        array = np.asarray(im)
        high = (array >> 8).astype(np.uint8)
        if clear is not None:
            high[array == clear] = 255
        return form, np.stack([high] * 3, -1)
    transparent = form != "BMP" and (im.mode in ("RGBA", "LA", "PA") or "transparency" in im.info)
    if transparent:
        im = im.convert("RGBA")
        im = Image.alpha_composite(Image.new("RGBA", im.size, "white"), im)
    return form, np.asarray(im.convert("RGB"))


def by_cairn(program, paths):
    """Messages and pixels, which may not depend on what memory held before."""
    out, again = (subprocess.run([program, *paths], stdout=subprocess.PIPE, check=True,
                                 env={**os.environ, "MALLOC_PERTURB_": fill}).stdout
                  for fill in ("85", "170"))
    assert out == again, f"pixels from memory that nobody set: among {paths}"
    at = 0
    for _ in paths:
        end = out.index(b"\n", at)
        status, width, height, length = map(int, out[at:end].split())
        message, at = out[end + 1:end + 1 + length].decode(), end + 1 + length
        pixels = None
        if status == 0:
            pixels = np.frombuffer(out, np.uint8, 3 * width * height, at)
            pixels, at = pixels.reshape(3, height, width).transpose(1, 2, 0), at + 3 * width * height
        yield message, pixels


def judge(path, message, pixels):
    """What kind of outcome it is, and whether it is right."""
    try:
        form, expected = by_pillow(path)
    except Exception as error:  # whatever Pillow says
        return ("both refuse", True, message) if pixels is None else \
            ("read, refused by Pillow", None, f"{type(error).__name__}: {error}")
    if pixels is None:
        told = "which is not read" in message
        if path.name.startswith("cut-"):  # behind its pixels, which Pillow does not mind
            return "cut short, read by Pillow", None, message
        return ("refused by form" if told else "refused, read by Pillow",
                form in NOT_READ and told, f"{form}: {message}")
    if pixels.shape != expected.shape:
        return "read, of another size", False, f"{pixels.shape} {expected.shape}"
    worst = int(np.abs(pixels.astype(int) - expected).max())
    return ("read within 2 levels" if worst <= 2 else "read, further off"), worst <= 2, f"by {worst}"


def main(arguments):
    if arguments[1] == "--make":
        return make(pathlib.Path(arguments[2]))
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder)
        make(made)
        failed = False
        for root in (made, *map(pathlib.Path, arguments[2:])):
            paths = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
            counts = collections.Counter()
            answers = (a for i in range(0, len(paths), 20)
                       for a in by_cairn(arguments[1], paths[i:i + 20]))
            for path, (message, pixels) in zip(paths, answers):
                kind, right, detail = judge(path, message, pixels)
                counts[kind] += 1
                if not right:
                    print(f"{'differs' if right is None else 'WRONG'}: {path.name}: {kind}: {detail}")
                    failed = failed or right is False
            print(f"{'made here' if root == made else root.name}: {len(paths)} files: " +
                  ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
