"""A trained detector as one ONNX file, which ONNX Runtime and others run without this project.

The text vectors are an input, so that names stay open. The graph is traced (torch's TorchScript exporter): what the detector
keeps and drops depends on the image, and torchvision's parts have operators and shapes for that exporter alone.
"""

import json
import warnings
from pathlib import Path

import torch
from torch import nn

from structures.errors import UserError

OPSET = 17
DYNAMIC = {
    "image": {1: "height", 2: "width"},
    "text": {0: "names"},
    "boxes": {0: "objects"},
    "scores": {0: "objects"},
    "labels": {0: "objects"},
    "masks": {0: "objects", 1: "height", 2: "width"},
}


def write_onnx(path: Path, network: nn.Module, example: tuple, properties: dict) -> None:
    """Write a network of an image [3, h, w] and text [names, dimension] that gives boxes, scores, labels and masks.

    example: an image and text that tracing runs it on; properties: what the file's metadata say, each as JSON. Equal ones give
    equal bytes. Raises UserError where the package onnx is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError(
            "the package onnx is missing, which writes models: `make run` installs it, or pip install onnx; "
            "or leave export.onnx empty"
        ) from error
    names = list(DYNAMIC)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision's branches on sizes, each of which it has a traced form of
        torch.onnx.export(
            network,
            example,
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=names[:2],
            output_names=names[2:],
            dynamic_axes=DYNAMIC,
        )
    model = onnx.load(path)
    [boxes] = [output for output in model.graph.output if output.name == "boxes"]
    boxes.type.tensor_type.shape.dim[1].dim_value = 4
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in sorted(properties.items())})
    onnx.save(model, path)
