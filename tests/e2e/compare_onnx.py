"""Compares an ONNX file with what `cairn predict --json --top 256` said.

    compare_onnx.py MODEL.onnx ANSWERS.json

The images are PNG files of the model's own size, 8 bits of colour without a filter, as
make_images.py makes them. The logits have to be equal to 1e-4 (of the largest, where that is above
1)."""
import json
import pathlib
import struct
import sys
import zlib

import numpy
import onnx
import onnxruntime


def pixels(path):
    data = path.read_bytes()
    width, height = struct.unpack_from(">II", data, 16)
    length, = struct.unpack_from(">I", data, 33)
    rows = numpy.frombuffer(zlib.decompress(data[41:41 + length]), "u1").reshape(height, -1)
    return rows[:, 1:].reshape(height, width, 3).transpose(2, 0, 1)


model = onnx.load(sys.argv[1])
onnx.checker.check_model(model, full_check=True)
classes = json.loads({p.key: p.value for p in model.metadata_props}["class_names"])
answers = json.loads(pathlib.Path(sys.argv[2]).read_text())
expected = numpy.zeros((len(answers), len(classes)))
for row, answer in zip(expected, answers):
    assert len(answer["predictions"]) == len(classes)
    for entry in answer["predictions"]:
        assert classes[entry["label"]] == entry["class"], entry
        row[entry["label"]] = entry["logit"]
images = numpy.stack([pixels(pathlib.Path(a["file"])) for a in answers]).astype("f4")
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
found, = session.run(["logits"], {"images": images})
worst, largest = abs(found - expected).max(), abs(expected).max()
print(f"{len(answers)} images, {len(classes)} classes: the logits, up to {largest:.3g}, differ by at "
      f"most {worst:.1e}")
sys.exit(0 if worst <= 1e-4 * max(1, largest) else 1)  # a NaN is not
