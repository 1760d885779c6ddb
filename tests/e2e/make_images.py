"""Makes a data set in folders of PNG files, every class with a colour of its own.

    make_images.py FOLDER CLASSES TRAIN TEST SIDE     so many images a class, pixels a side"""
import pathlib
import random
import struct
import sys
import zlib

folder = pathlib.Path(sys.argv[1])
classes, train, test, side = map(int, sys.argv[2:])


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(colour, draw):
    rows = b"".join(b"\0" + bytes(min(255, max(0, colour[i % 3] + draw.randrange(-40, 41)))
                                  for i in range(3 * side)) for _ in range(side))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))


draw = random.Random(1)
for label in range(classes):
    colour = [draw.randrange(256) for _ in range(3)]
    for split, count in (("train", train), ("test", test)):
        where = folder / split / f"class {label:03d}"
        where.mkdir(parents=True)
        for i in range(count):
            (where / f"{i}.png").write_bytes(png(colour, draw))
