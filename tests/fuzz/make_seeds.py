"""Writes one small sound input or more for every harness, to start a corpus from.

    make_seeds.py FOLDER

Each goes to FOLDER/<parser>/; `scripts/fuzz.sh --minimise` takes them into the corpus."""
import gzip
import io
import json
import pathlib
import pickle
import struct
import sys
import tarfile
import zlib

root = pathlib.Path(sys.argv[1])
here = pathlib.Path(__file__).resolve().parent


def seed(parser, name, data):
    folder = root / parser
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


# Configurations
PARAMS = (here.parent.parent / "params.yaml").read_text()
seed("params", "file", PARAMS)
seed("params", "flow", "{seed: 0x1f, data: {dir: &d 'a b'}, train: {epochs: 0o17, batch_size: 8, "
     "lr: 5.0e-4}, run: {name: r, out_dir: *d}}")
seed("params", "marks", "\ufeff%YAML 1.2\n---\ntrain: !!str\n<<: 1\ntrain.lr: 1e3\n...\n")
seed("overrides", "all", "seed=1\ntrain.lr=.5\ndata.dir='x'\ndevice=cuda:1\nmodel.dropout=0.25\n"
     "train.precision=bf16\nrun.name=b\ntrain.epochs=1_000\n")
seed("overrides", "odd", "train=1\nlr=2\ntrain.lr\nrun.name=[a]\nrun.name=\ndata.dir=\"\\u00e9\"")

# Metrics
ROWS = [dict(epoch=i, train_loss=1 / i, train_acc=None, test_loss=1e-300, test_acc=0.5)
        for i in (1, 2)]
seed("metrics", "rows", json.dumps(ROWS))
seed("metrics", "empty", "[]")


# Tensors
def safetensors(tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, shape, values) in tensors.items():
        header[name] = dict(dtype=dtype, shape=shape,
                            data_offsets=[len(data), len(data) + len(values)])
        data += values
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


seed("safetensors", "types", safetensors(
    {"a": ("F32", [2, 1], bytes(8)), "b": ("F64", [1], struct.pack("<d", 1e300)),
     "c": ("F16", [], b"\x01\x7c"), "d": ("BF16", [2], bytes(4)), "e": ("F32", [0, 3], b"")},
    {"key": "value", "\n": ""}))
seed("safetensors", "other", safetensors({"i": ("I32", [1], bytes(4))}))
POSITION = dict(params="data: {dir: d}\ntrain: {epochs: 2, batch_size: 8, lr: 0.1}\n"
                "run: {name: a}\n", data_digest="0" * 64, rows=json.dumps(ROWS), epoch="2",
                batch="0", step="14", correct="7", seen="0", trained_images="100", loss="0x1p+3",
                seconds="1.5", train_seconds="0x0p+0")
WEIGHTS = {prefix + name: ("F32", shape, bytes(8))
           for prefix in ("", "adam.exp_avg.", "adam.exp_avg_sq.")
           for name, shape in (("fc.weight", [2, 1]), ("fc.bias", [2]))}
DATA = json.dumps(dict(name="folder", shape=[3, 8, 9], mean=[0.5, 0.25, 0], std=[1, 0.5, 0.125],
                       classes=["a", "b c"]))
seed("checkpoint", "whole", safetensors(WEIGHTS, POSITION | dict(data=DATA)))
seed("checkpoint", "model", safetensors(dict(list(WEIGHTS.items())[:2])))


# Pictures of 3 x 2 pixels
def png(depth, colour, rows, *more):
    def chunk(kind, body):
        return (struct.pack(">I", len(body)) + kind + body +
                struct.pack(">I", zlib.crc32(kind + body)))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, depth, colour,
                                                              0, 0, 0)) +
            b"".join(chunk(*m) for m in more) + chunk(b"IDAT", zlib.compress(rows)) +
            chunk(b"IEND", b""))


for colour, samples in ((0, 1), (2, 3), (4, 2), (6, 4)):
    for depth in (8, 16):
        seed("image", f"colour{colour}-{depth}.png",
             png(depth, colour, (b"\x04" + bytes(range(3 * samples * depth // 8))) * 2))
seed("image", "palette.png", png(2, 3, b"\1\x1b\2\x1b", (b"PLTE", bytes(range(12))),
                                 (b"tRNS", b"\0\x80")))
bits = {1: 1, 4: 4, 8: 8, 16: 16, 24: 24, 32: 32}
for depth in bits:
    palette = bytes(4 << depth) if depth <= 8 else b""
    stride = (3 * depth + 31) // 32 * 4
    seed("image", f"{depth}.bmp",
         b"BM" + struct.pack("<IHHI", 54 + len(palette) + 2 * stride, 0, 0, 54 + len(palette)) +
         struct.pack("<IiiHHIIiiII", 40, 3, 2, 1, depth, 0, 0, 0, 0, 0, 0) + palette +
         bytes(2 * stride))


# The older header, masks, runs; a turned PNG; WebPs of one colour, lossy, lossless, and moving
seed("image", "os2.bmp", b"BM" + struct.pack("<IHHI", 0, 0, 0, 32) +
     struct.pack("<IHHHH", 12, 3, 2, 1, 1) + bytes(range(6)) + bytes(8))
seed("image", "masks.bmp", b"BM" + struct.pack("<IHHI", 0, 0, 0, 66) +
     struct.pack("<IiiHHIIiiIIIII", 40, 3, -2, 1, 16, 3, 0, 0, 0, 0, 0, 0xF800, 0x7E0, 0x1F) + bytes(range(16)))
for depth, code in ((8, 1), (4, 2)):
    data = b"\3\1\0\0\0\3\1\2\3\0\0\1" if depth == 8 else b"\3\x12\0\0\0\2\1\0\2\x21\0\1"
    seed("image", f"runs{depth}.bmp", b"BM" + struct.pack("<IHHI", 0, 0, 0, 70) +
         struct.pack("<IiiHHIIiiII", 40, 3, 2, 1, depth, code, 0, 0, 0, 4, 0) + bytes(range(16)) + data)
for order, orientation in (("<", 6), (">", 3)):
    tiff = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIHHHIHHI", 42, 8, 1, 0x112, 3, 1,
                                                             orientation, 0, 0)
    seed("image", f"turned{orientation}.png", png(8, 0, b"\0abc\0def", (b"eXIf", tiff)))
RIFF = "52494646%s57454250"
IMAGE = "5650384c110000002f0240000007508f2257abff8188e87f0000"
for name, data in (
        ("lossy", RIFF % "30000000" + "5650382024000000" "3001009d012a0300020002c04c25a000037000feec25dffff9"
         "c4bffa05ff80bcc0000000"),
        ("lossless", RIFF % "1e000000" + IMAGE),
        ("moving", RIFF % "86000000" + "565038580a0000000200000002000001" "0000414e494d060000000000000000"
         "00414e4d462a00000000000000000002000001000000000002" + IMAGE + "414e4d4628000000000000000000020000010"
         "000000000005650384c0f0000002f024000000710d1fffe0722a2ff0100")):
    seed("image", name + ".webp", bytes.fromhex(data))


# A baseline and a progressive JPEG of 8 x 8 pixels, with one code in each Huffman table
def jpeg(frame, components, scans):
    def segment(marker, body):
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
    tables = b"".join(bytes([kind << 4]) + b"\1" + bytes(15) + b"\0" for kind in (0, 1))
    data = (b"\xff\xd8" + segment(0xDB, b"\0" + bytes([1] * 64)) +
            segment(frame, struct.pack(">BHHB", 8, 8, 8, components) +
                    b"".join(bytes([i + 1, 0x11, 0]) for i in range(components))) +
            segment(0xC4, tables))
    for first, last, approximation in scans:
        chosen = range(components) if first == 0 else range(1)
        data += segment(0xDA, bytes([len(chosen)]) + b"".join(bytes([i + 1, 0]) for i in chosen) +
                        bytes([first, last, approximation])) + bytes(4)
    return data + b"\xff\xd9"


seed("image", "grey.jpg", jpeg(0xC0, 1, [(0, 63, 0)]))
seed("image", "colour.jpg", jpeg(0xC0, 3, [(0, 63, 0)]))
seed("image", "progressive.jpg",
     jpeg(0xC2, 3, [(0, 0, 0x01), (0, 0, 0x10), (1, 63, 0x01), (1, 63, 0x10)]))

# CIFAR-10: see the harnesses for how their inputs become files
NAMES = "".join(f"name{i}\n" for i in range(10)).encode()
seed("cifar", "names", bytes([1, 0, 0]) + struct.pack("<H", len(NAMES)) + NAMES + bytes(range(9, 1, -1)))
seed("cifar", "short", bytes([0, 0, 255, 0, 0]))
FINE = "".join(f"n{i}\n" for i in range(100)).encode()
seed("cifar", "cifar100", bytes([1, 0, 0]) + struct.pack("<H", 0x8000 | len(FINE)) + FINE + b"\x13\x63x")
seed("cifar", "cifar100-label", bytes([1, 0, 0]) + struct.pack("<H", 0x8000 | len(FINE)) + FINE + b"\x13\x64x")
seed("cifar", "cifar100-short", bytes([0, 0, 255, 0, 0x80]))
PIXELS = struct.pack("<I", 10000 * 3072)
LABELS = b"]" + (b"(" + b"\x89" * 2500 + b"e") * 4
ARRAY = (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R"
         b"(K\1M\x10'M\0\x0c\x86cnumpy\ndtype\nU\2u1K\0K\1\x87R(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff"
         b"\xffK\0tb\x89%stb")
for name, pixels in (("python2", b"T" + PIXELS),
                     ("latin1", b"c_codecs\nencode\nX" + PIXELS + b"X\6\0\0\0latin1\x86R")):
    seed("pickle", name, b"\x80\2}q\0(U\4data" + ARRAY % pixels + b"U\6labels" + LABELS + b"u.")
seed("pickle", "buffer", b"\x80\5\x95" + bytes(8) + b"}\x94(\x8c\4data\x94\x8c\x12numpy.core.numeric"
     b"\x8c\x0b_frombuffer\x93(\x96" + PIXELS + bytes(4) + b"\x8c\5numpy\x8c\5dtype\x93\x8c\2u1\x89\x88"
     b"\x87R(K\3\x8c\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tbM\x10'M\0\x0c\x86\x8c\1C\x94tR\x94"
     b"\x8c\6labels" + LABELS + b"u.")
for protocol in range(1, 6):
    seed("pickle", f"small{protocol}", pickle.dumps({"labels": [1, -1, 300, 1 << 40, None, True],
                                                    "data": (b"abc", "d", "d", {}, ())}, protocol))


# Archives
def archive(members, form=tarfile.GNU_FORMAT, **extra):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, **extra) as tar:
        for name, kind, body, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(body), link
            tar.addfile(member, io.BytesIO(body))
    blocks = out.getvalue().rstrip(b"\0")
    return blocks + bytes(-len(blocks) % 512 + 1024)


TOP = ("cifar-10-batches-bin", tarfile.DIRTYPE, b"", "")
FILES = [(f"cifar-10-batches-bin/data_batch_{i}.bin", tarfile.REGTYPE, b"\3" * 9, "") for i in (1, 2)]
seed("archive", "gnu.tar", archive([TOP] + FILES))
seed("archive", "ustar.tar", archive([("./cifar-10-batches-py/test_batch", tarfile.REGTYPE, b"x", "")],
                                     tarfile.USTAR_FORMAT))
seed("archive", "pax.tar", archive([("cifar-10-batches-bin/" + "n" * 200, tarfile.REGTYPE, b"x", "")],
                                   tarfile.PAX_FORMAT, pax_headers={"comment": "c"}))
seed("archive", "long.tar", archive([("cifar-10-batches-bin/" + "n" * 200, tarfile.REGTYPE, b"x", "")]))
for kind, name in ((tarfile.SYMTYPE, "symlink"), (tarfile.LNKTYPE, "link"), (tarfile.FIFOTYPE, "fifo"),
                   (tarfile.GNUTYPE_SPARSE, "sparse")):
    seed("archive", name + ".tar", archive([FILES[0], ("cifar-10-batches-bin/x", kind, b"", "/etc/passwd")]))
seed("archive", "outside.tar", archive([("cifar-10-batches-bin/../../evil", tarfile.REGTYPE, b"x", "")]))
seed("archive", "gnu.tar.gz", gzip.compress(archive([TOP] + FILES), mtime=0))
seed("archive", "twice.tar.gz", gzip.compress(gzip.compress(archive(FILES * 2), mtime=0), mtime=0))
