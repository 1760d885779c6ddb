"""Checks ONNX files against what their logits should be.

    check_onnx.py FOLDER

Beside every <name>.onnx there is a <name>.safetensors with `images` and `logits`. Each image alone
and all of them at once have to give the logits, to 1e-4 (of the largest, where that is above 1)."""
import json
import pathlib
import struct
import sys

import numpy
import onnx
import onnxruntime


def tensors(path):
    data = path.read_bytes()
    length, = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: numpy.frombuffer(data[8 + length:][slice(*entry["data_offsets"])], "<f4")
            .reshape(entry["shape"]) for name, entry in header.items()}


def check(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    known = tensors(path.with_suffix(".safetensors"))
    classes = json.loads({p.key: p.value for p in model.metadata_props}["class_names"])
    assert len(classes) == min(known["logits"].shape[1], 256) and classes[1] == 'the "1"', classes
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images):
        return session.run(["logits"], {"images": images})[0]

    found = run(known["images"])
    alone = numpy.concatenate([run(image[None]) for image in known["images"]])
    assert found.shape == known["logits"].shape, found.shape
    bound = 1e-4 * max(1, abs(known["logits"]).max())
    worst = max(abs(found - known["logits"]).max(), abs(alone - known["logits"]).max())
    kinds = sorted({node.op_type for node in model.graph.node})
    print(f"{path.name}: {worst:.1e} of {bound:.1e}: {' '.join(kinds)}")
    return worst <= bound  # a NaN is not


paths = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
sys.exit(0 if paths and all([check(path) for path in paths]) else 1)
