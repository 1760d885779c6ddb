"""Looks at a page of `dvc plots` in headless Chromium: whether every plot is there, with marks.

    page.py PAGE SCREENSHOT PLOTS [--without-scripts]

The page fetches Vega from the network; here it gets the copy that vl-convert-python carries. Prints,
for each of the first PLOTS plots, the pixels that have colour where its marks are: lines or squares;
frame, grid and text are grey. --without-scripts leaves Vega out, for the test's own test."""
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import zlib

import vl_convert


def decode(path):
    """Rows of a PNG of 8-bit RGB or RGBA without interlacing, as bytes, and bytes a pixel."""
    data, position, packed = path.read_bytes(), 8, b""
    while position < len(data):
        size, kind = struct.unpack(">I4s", data[position:position + 8])
        body = data[position + 8:position + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
        elif kind == b"IDAT":
            packed += body
        position += 12 + size
    assert depth == 8 and colour in (2, 6)
    pixel = 3 if colour == 2 else 4
    raw, stride = zlib.decompress(packed), width * pixel
    previous, rows = bytearray(stride), []
    for y in range(height):
        method, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for x in range(stride):
            left = line[x - pixel] if x >= pixel else 0
            up, corner = previous[x], previous[x - pixel] if x >= pixel else 0
            if method == 1:
                line[x] = (line[x] + left) & 255
            elif method == 2:
                line[x] = (line[x] + up) & 255
            elif method == 3:
                line[x] = (line[x] + (left + up) // 2) & 255
            elif method == 4:
                nearest = min((left, up, corner), key=lambda v: abs(left + up - corner - v))
                line[x] = (line[x] + nearest) & 255
        rows.append(line)
        previous = line
    return rows, pixel


def coloured(rows, pixel, plot):
    """Pixels that are clearly no grey, inside a plot's frame: 300 by 300, every 390 pixels."""
    return sum(max(row[x:x + 3]) - min(row[x:x + 3]) > 60
               for row in rows[plot * 390 + 30:plot * 390 + 340]
               for x in range(60 * pixel, 340 * pixel, pixel))


def browse(page, *options):
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--disable-background-networking", "--disable-component-update", "--no-first-run",
             f"--user-data-dir={profile}", "--window-size=700,2000", "--virtual-time-budget=8000",
             *options, page.resolve().as_uri()],
            capture_output=True, timeout=120, check=True)


def main():
    page, screenshot = map(pathlib.Path, sys.argv[1:3])
    scripts = "" if "--without-scripts" in sys.argv else (
        f'<script type="module">{vl_convert.javascript_bundle()}\n'
        "window.drawAll();</script>")
    text = page.read_text()
    found = len(re.findall(r'<script src="https://[^"]*vega[^"]*"></script>', text))
    assert found == 3, f"{found} scripts of Vega in {page}"
    text = re.sub(r'<script src="https://[^"]*"></script>', "", text)
    # A module runs after the page's own scripts: those leave their calls to it.
    calls = ("<script>window.calls = []; window.vegaEmbed = (...a) => calls.push(a);"
             "window.drawAll = () => calls.forEach(a => vegaEmbed(...a));</script>")
    text = text.replace("<head>", "<head>" + calls, 1).replace("</body>", scripts + "</body>", 1)
    local = page.with_name("local.html")
    local.write_text(text)
    browse(local, f"--screenshot={screenshot.resolve()}")
    image = decode(screenshot)
    print(*(coloured(*image, plot) for plot in range(int(sys.argv[3]))))


main()
