"""Files of tensors that somebody else wrote: what is in them is never run, and what is wrong is said in a line."""

import pickle
import re

import pytest
import torch
from safetensors.torch import save_file
from torchvision.ops import FrozenBatchNorm2d

from structures.tensors import TensorsError, read_tensors, take_over, told

WEIGHTS = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_tensors_come_of_either_format_and_settings_of_the_metadata(tmp_path):
    save_file(WEIGHTS, tmp_path / "a.safetensors", {"cap2mask": '{"x": 1}'})
    torch.save({"model": WEIGHTS}, tmp_path / "b.pth")
    torch.save(WEIGHTS, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    for name, settings in (("a.safetensors", {"x": 1}), ("b.pth", {}), ("c.pth", {})):
        tensors, found = read_tensors(tmp_path / name)
        assert found == settings and all(torch.equal(tensors[key], WEIGHTS[key]) for key in WEIGHTS), name


def written(path, kind):
    """A file of some kind of wrongness."""
    if kind == "web page":
        path.write_text("<!DOCTYPE html><html>404</html>")
    elif kind == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 7\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "code":
        torch.save({"model": Evil()}, path)
    elif kind == "old code":
        path.write_bytes(pickle.dumps(Evil()))
    elif kind in ("cut", "cut late"):
        torch.save(WEIGHTS, path)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2 if kind == "cut" else -1])
    elif kind == "list":
        torch.save([torch.ones(1)], path)
    elif kind == "numbers":
        torch.save({"weight": 1}, path)
    elif kind == "sparse":
        torch.save({"weight": torch.eye(2).to_sparse()}, path)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("web page", "it is a web page; download the file itself"),
        ("pointer", "it is a pointer of Git LFS"),
        ("empty", "download it again"),
        ("folder", "Is a directory; name another file"),
        ("code", "holds code or objects besides tensors, which are never loaded"),
        ("old code", "holds code or objects besides tensors, which are never loaded"),
        ("cut", "it is cut short, damaged"),
        ("cut late", "it is cut short, damaged"),
        ("list", "holds no table of tensors"),
        ("numbers", "holds no table of tensors"),
        ("sparse", "holds no table of tensors"),
    ],
)
def test_what_is_no_file_of_tensors_is_told_in_one_line(tmp_path, capsys, kind, told):
    written(tmp_path / "w.pth", kind)
    with pytest.raises(TensorsError, match=re.escape(told)) as caught:
        read_tensors(tmp_path / "w.pth")
    assert str(caught.value).startswith(str(tmp_path / "w.pth")) and "\n" not in str(caught.value)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("metadata", [{"cap2mask": "{"}, {"cap2mask": "[1]"}])
def test_settings_of_another_shape_are_told(tmp_path, metadata):
    save_file(WEIGHTS, tmp_path / "w.safetensors", metadata)
    with pytest.raises(TensorsError, match=r"w\.safetensors"):
        read_tensors(tmp_path / "w.safetensors")


def test_a_network_takes_over_all_or_nothing():
    network = torch.nn.Linear(3, 2)
    take_over(network, WEIGHTS, "w.pth")
    assert torch.equal(network.weight, WEIGHTS["weight"])
    for tensors, fault in (
        ({"weight": WEIGHTS["weight"]}, r"missing bias \(2,\)"),
        (WEIGHTS | {"more": torch.ones(1)}, r"unknown more \(1,\)"),
        (WEIGHTS | {"bias": torch.ones(5)}, r"bias is \(5,\), wanted \(2,\)"),
        (WEIGHTS | {"bias": torch.ones(2, dtype=torch.int64)}, "bias is of int64, wanted float32"),
    ):
        with pytest.raises(TensorsError, match=f"w.pth does not fit: {fault}"):
            take_over(network, tensors, "w.pth")
    take_over(network, {"weight": WEIGHTS["weight"], "more": torch.ones(1)}, "w.pth", passed_over=("bias", "mo"))


def test_normalisations_that_learned_and_frozen_ones_take_over_each_others_statistics():
    learned, frozen = torch.nn.BatchNorm2d(3), FrozenBatchNorm2d(3)
    learned(torch.randn(2, 3, 4, 4))
    take_over(frozen, learned.state_dict(), "w.pth")
    assert torch.equal(frozen.running_mean, learned.running_mean) and frozen.running_mean.abs().sum() > 0
    take_over(torch.nn.BatchNorm2d(3), frozen.state_dict(), "w.pth")


def test_many_faults_are_told_in_part():
    assert told(["a", "b"]) == "a, b"
    assert told([str(i) for i in range(100)]).endswith("7 … (100 in all)")
