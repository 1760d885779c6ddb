"""Looks at a page of `dvc plots` in headless Chromium: whether every plot is there, with marks.

    page.py PAGE SCREENSHOT PLOTS [--without-scripts]

The page fetches Vega from the network; here it gets the copy that vl-convert-python carries.
Prints, for each of the first PLOTS plots, the pixels that have colour where its marks are: lines or
squares; frame, grid and text are grey. --without-scripts leaves Vega out, for the test's own
test."""
import ctypes
import pathlib
import re
import subprocess
import sys
import tempfile

import vl_convert


def decode(path):
    """Rows of a PNG as bytes of RGB, by libpng's simplified interface."""
    class Image(ctypes.Structure):
        _fields_ = [("opaque", ctypes.c_void_p), ("version", ctypes.c_uint32),
                    ("width", ctypes.c_uint32), ("height", ctypes.c_uint32),
                    ("format", ctypes.c_uint32), ("flags", ctypes.c_uint32),
                    ("colours", ctypes.c_uint32), ("warning", ctypes.c_uint32),
                    ("message", ctypes.c_char * 64)]
    png, image = ctypes.CDLL("libpng16.so.16"), Image(version=1)
    assert png.png_image_begin_read_from_file(ctypes.byref(image), bytes(path)), image.message
    image.format = 2  # RGB
    pixels = ctypes.create_string_buffer(image.height * image.width * 3)
    white = (ctypes.c_ubyte * 3)(255, 255, 255)
    assert png.png_image_finish_read(ctypes.byref(image), white, pixels, 0, None), image.message
    stride = image.width * 3
    raw = pixels.raw
    return [raw[y * stride:(y + 1) * stride] for y in range(image.height)]


def coloured(rows, plot):
    """Pixels that are clearly no grey, inside a plot's frame: 300 by 300, every 390 pixels."""
    return sum(max(row[x:x + 3]) - min(row[x:x + 3]) > 60
               for row in rows[plot * 390 + 30:plot * 390 + 340]
               for x in range(60 * 3, 340 * 3, 3))


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
    rows = decode(screenshot)
    print(*(coloured(rows, plot) for plot in range(int(sys.argv[3]))))


main()
