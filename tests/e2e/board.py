"""What the real TensorBoard reads in event files, and what its page shows.

    board.py values RUN              all that a seed decides, as JSON, one tag a line
    board.py check RUN               holds it against the run folder's own files
    board.py serve LOGDIR COMMAND... runs the command with TensorBoard's address in $BOARD
    board.py hparams ADDRESS         the runs that the HParams tab lists, as JSON
    board.py look ADDRESS PICTURE    pixels of warm colour where a tab's cards are, in headless
                                     Chromium: one run's colour is orange; what is not drawn from
                                     runs is grey or blue there"""
import hashlib
import io
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request


def accumulate(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    everything = {kind: 0 for kind in ("scalars", "histograms", "images", "tensors")}
    events = EventAccumulator(run, size_guidance=everything)
    events.Reload()
    return events


def values(run):
    events = accumulate(run)
    tags = events.Tags()
    for tag in sorted(tags["scalars"]):
        if not tag.startswith("images_per_second"):
            print(json.dumps([tag, [(e.step, repr(e.value)) for e in events.Scalars(tag)]]))
    for tag in sorted(tags["histograms"]):
        print(json.dumps([tag, [(e.step, repr(e.histogram_value)) for e in events.Histograms(tag)]]))
    for tag in sorted(tags["images"]):
        print(json.dumps([tag, [(e.step, hashlib.sha256(e.encoded_image_string).hexdigest())
                                for e in events.Images(tag)]]))


def check(run):
    from PIL import Image
    from tensorboard.plugins.hparams import plugin_data_pb2
    events = accumulate(run)
    rows = json.loads(pathlib.Path(run, "metrics.json").read_text())
    per_epoch, images, batch = 4, 60, 16  # of the test's runs

    def scalars(tag):
        return {e.step: e.value for e in events.Scalars(tag)}

    ends = [per_epoch * row["epoch"] for row in rows]
    for tag, key in (("loss/train", "train_loss"), ("loss/test", "test_loss"),
                     ("accuracy/train", "train_acc"), ("accuracy/test", "test_acc"), ("epoch", "epoch")):
        found = scalars(tag)
        assert list(found) == ends, (tag, found)
        for end, row in zip(ends, rows):
            assert math.isclose(found[end], row[key], rel_tol=1e-6), (tag, found, rows)
    # Every step is there, and together the steps of an epoch are what the epoch says.
    for tag, key in (("loss/step", "train_loss"), ("accuracy/step", "train_acc")):
        found = scalars(tag)
        assert list(found) == list(range(1, ends[-1] + 1)), (tag, found)
        for end, row in zip(ends, rows):
            total = sum(found[s] * min(batch, images - batch * (s - 1 - end + per_epoch))
                        for s in range(end - per_epoch + 1, end + 1))
            assert math.isclose(total / images, row[key], rel_tol=1e-5), (tag, found, row)
    assert set(scalars("learning_rate/step").values()) == set(scalars("learning_rate/epoch").values())
    assert all(v > 0 for v in scalars("images_per_second/step").values())
    assert all(v > 0 for v in scalars("images_per_second/epoch").values())

    from_torch = {"features.0.weight": 864, "features.0.bias": 32, "classifier.4.weight": 2560}
    for name, count in from_torch.items():
        for kind in ("weights", "gradients"):
            found = events.Histograms(f"{kind}/{name}")
            assert [e.step for e in found] == ends
            for e in found:
                h = e.histogram_value
                assert h.num == count == sum(h.bucket), h
                assert h.min < h.max == h.bucket_limit[-1], h
                assert h.bucket_limit == sorted(h.bucket_limit) and len(h.bucket) == 64
                assert h.min * count <= h.sum <= h.max * count and h.sum_squares > 0
    assert len(events.Tags()["histograms"]) == 2 * 10

    for tag in ("test/confusion", "test/mistakes"):
        for e in events.Images(tag):
            picture = Image.open(io.BytesIO(e.encoded_image_string))
            assert picture.format == "PNG" and picture.size == (e.width, e.height)
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 2, tag

    def session(tag, kind):
        data = events.summary_metadata[f"_hparams_/{tag}"].plugin_data
        assert data.plugin_name == "hparams"
        return getattr(plugin_data_pb2.HParamsPluginData.FromString(data.content), kind)

    start, end = session("session_start_info", "session_start_info"), session("session_end_info", "session_end_info")
    assert start.hparams["train.lr"].number_value == 0.001
    assert start.hparams["train.batch_size"].number_value == batch
    assert start.hparams["data.name"].string_value == "synthetic"
    assert "run.name" not in start.hparams and "tensorboard.enabled" not in start.hparams
    assert end.status == 1 and end.end_time_secs >= start.start_time_secs > 1e9


def serve(logdir, *command):
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", "--logdir", logdir,
                                   "--port", "0", "--reload_interval", "1"],
                                  stdout=log, stderr=subprocess.STDOUT)
        try:
            address = None
            while not address and server.poll() is None:
                try:
                    server.wait(0.1)
                except subprocess.TimeoutExpired:
                    pass
                log.seek(0)
                address = re.search(r"at (http://[^ ]*/) ", log.read())
            assert address, "TensorBoard did not start"
            run = subprocess.run(command, env={**os.environ, "BOARD": address[1]})
        finally:
            server.terminate()
            server.wait()
    sys.exit(run.returncode)


def hparams(address):
    """Asks until the server has read the runs."""
    body = {"experimentName": "", "startIndex": 0, "sliceSize": 100, "colParams": [],
            "allowedStatuses": ["STATUS_SUCCESS"]}
    for _ in range(100):
        request = urllib.request.Request(address + "data/plugin/hparams/session_groups",
                                         json.dumps(body).encode(), {"Content-Type": "application/json"})
        groups = json.loads(urllib.request.urlopen(request).read())["sessionGroups"]
        if len(groups) == 2 and all(len(g.get("metricValues", [])) > 6 for g in groups):
            break
        subprocess.run(["sleep", "0.1"])
    print(json.dumps([{"run": g["sessions"][0]["name"], "parameters": g["hparams"],
                       "metrics": {m["name"]["tag"]: m["value"] for m in g["metricValues"]}}
                      for g in groups]))


def look(address, picture):
    from PIL import Image
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--disable-background-networking", "--disable-component-update", "--no-first-run",
             f"--user-data-dir={profile}", "--window-size=1200,1200", "--virtual-time-budget=20000",
             f"--screenshot={picture}", address],
            capture_output=True, timeout=120, check=True)
    # Below the tab's heading and right of its menu: cards, whose run names alone are above y 190.
    area = Image.open(picture).convert("RGB").crop((320, 230, 1200, 1200))
    print(sum(n for n, p in area.getcolors(1 << 20) if p[0] - p[2] > 60))


globals()[sys.argv[1]](*sys.argv[2:])
