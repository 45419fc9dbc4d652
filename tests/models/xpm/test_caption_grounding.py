"""OVR's grounding loss against a direct evaluation, and over two processes."""

import runpy
import sys

import numpy as np
import pytest
import torch

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
from models.xpm.caption_grounding import (
    ALIGNMENTS,
    CaptionGroundedMaskRCNN,
    caption_words,
    fit,
    grid_boxes,
    grounding_loss,
)
from tests.conftest import on_two_processes


def direct_fit(s, words, align):
    """<I, C> in NumPy. s: [regions, names] of a picture; words: those of the caption."""
    s = s[:, words]
    axis = {"words": 0, "regions": 1}[align]  # over which the attention adds up to 1
    attention = np.exp(s) / np.exp(s).sum(axis, keepdims=True)
    return (attention * s).sum(axis).mean()


@pytest.mark.parametrize("align", [["words"], ["regions"], ["words", "regions"]])
def test_pictures_and_captions_fit_as_the_formula_says(align):
    torch.manual_seed(0)
    regions, words = torch.randn(2, 5, 4), [torch.tensor([0, 2, 2]), torch.tensor([3, 1])]
    loss = 0.0
    for which in align:
        direct = np.array([[direct_fit(s, index.numpy(), which) for index in words] for s in regions.double().numpy()])
        np.testing.assert_allclose(fit(regions, words, which).numpy(), direct, rtol=1e-5)
        for scores in (direct, direct.T):  # the right caption of a picture, the right picture of a caption
            loss -= np.log(np.exp(scores.diagonal()) / np.exp(scores).sum(1)).mean()
    assert grounding_loss(regions, words, align).item() == pytest.approx(loss, rel=1e-5)


def test_all_words_of_a_caption_count_as_often_as_they_stand_there():
    words = caption_words("A man's dog, and a BIG_cat (café)!")
    assert words == ["a", "man's", "dog", "and", "a", "big", "cat", "café"]
    assert caption_words("?!") == []


def test_captions_that_name_the_same_are_no_counter_examples():
    regions = torch.randn(2, 5, 4)
    same = [torch.tensor([1, 2]), torch.tensor([2, 1])]
    one, other = regions.clone(), regions.flip(0)
    assert grounding_loss(one, same).item() == pytest.approx(grounding_loss(other, same).item(), rel=1e-6)


def test_grid_boxes_cover_the_picture_at_two_sizes():
    boxes = grid_boxes(64, 96)
    assert boxes.shape == (9 + 49, 4)
    assert boxes.min() == 0 and boxes[:, 2].max() == 96 and boxes[:, 3].max() == 64
    assert boxes[0].tolist() == [0, 0, 48, 32]


@pytest.mark.parametrize("align", [["words"], ["regions"]])
def test_the_asked_alignment_is_what_teaches(align):
    sizes = {"backbone": "small", "dimension": 6, "min_size": 64, "max_size": 96, "background": "zero", "frozen": False}
    losses = {}
    for name in (align, ALIGNMENTS):
        torch.manual_seed(0)
        model = CaptionGroundedMaskRCNN(align=name, **sizes).train()
        model.set_vocabulary(torch.eye(6)[:4])
        targets = [{"words": torch.tensor([0, 2])}, {"words": torch.tensor([3])}]
        images = [torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(i)) for i in range(2)]
        losses[tuple(name)] = model(images, targets)["loss_grounding"].item()
    assert 0 < losses[tuple(align)] < losses[ALIGNMENTS]
    with pytest.raises(ValueError, match="nothing to align by"):
        CaptionGroundedMaskRCNN(align=[], **sizes)


# One step, in one process with all four pictures or in two with two each: the loss, and the gradients as averaged.
STEP = """
import sys
from pathlib import Path

import torch

from models.xpm.caption_grounding import CaptionGroundedMaskRCNN
from training.detector import data_parallel
from training.processes import destroy_process_group, get_rank, get_world_size, init_process_group, reduce_dict

init_process_group("cpu")
torch.manual_seed(0)
model = CaptionGroundedMaskRCNN(
    backbone="small", dimension=6, min_size=64, max_size=96, background="zero", temperature=0.2
).train()
model.set_vocabulary(torch.nn.functional.normalize(torch.randn(9, 6), dim=1))
images = [torch.rand(3, 64, 64 + 8 * (i % 2), generator=torch.Generator().manual_seed(i)) for i in range(4)]
captions = [[0, 3], [1], [2, 5, 7, 5], [4, 6, 8]]  # of different lengths in the two processes
share = slice(get_rank() * 4 // get_world_size(), (get_rank() + 1) * 4 // get_world_size())
network = data_parallel(model)  # which backward needs alive
losses = network(images[share], [{"words": torch.tensor(words)} for words in captions[share]])
losses["loss_grounding"].backward()
loss = reduce_dict(losses)["loss_grounding"]
if get_rank() == 0:
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    torch.save({"loss": loss, "gradients": gradients}, sys.argv[1])
destroy_process_group()
"""


def test_two_processes_take_the_step_of_one(tmp_path, monkeypatch):
    """Every caption of the batch is a counter-example, whichever process has it; a process that waits fails."""
    (tmp_path / "step.py").write_text(STEP)
    monkeypatch.setattr(sys, "argv", ["step", str(tmp_path / "one")])
    runpy.run_path(str(tmp_path / "step.py"))
    on_two_processes(tmp_path / "step.py", str(tmp_path / "two"))
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one", "two"))
    torch.testing.assert_close(two["loss"], one["loss"])
    assert one["gradients"]["roi_heads.box_predictor.embedding.weight"].abs().sum() > 0
    torch.testing.assert_close(two["gradients"], one["gradients"], rtol=1e-4, atol=1e-5)


def test_a_detector_learns_regions_from_captions_and_starts_another():
    torch.manual_seed(0)
    sizes = {"backbone": "small", "dimension": 6, "min_size": 64, "max_size": 96, "background": "zero"}
    model = CaptionGroundedMaskRCNN(**sizes, frozen=False).train()
    model.set_vocabulary(torch.eye(6)[:4])
    images, targets = [torch.rand(3, 64, 80)] * 2, [{"words": torch.tensor([0, 2])}, {"words": torch.tensor([3])}]
    losses = model(images, targets)
    assert losses.keys() == {"loss_grounding"}
    losses["loss_grounding"].backward()
    assert model.roi_heads.box_predictor.embedding.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in model.rpn.parameters())
    detector = OpenVocabularyMaskRCNN(**sizes)
    detector.start_from(model.state_dict())
    assert torch.equal(detector.roi_heads.box_head.fc6.weight, model.roi_heads.box_head.fc6.weight)
