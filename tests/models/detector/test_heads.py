"""Backgrounds of OVR, SB and BA-RPN, and OMP's mask prior, in the detector."""

import pytest
import torch
import torch.nn.functional as F

from models.detector.heads import BACKGROUNDS, EmbeddingHead, MaskPrior
from models.detector.mask_rcnn import OpenVocabularyMaskRCNN

TEXT = F.normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(0)), dim=1)


def detector(**options):
    torch.manual_seed(0)
    return OpenVocabularyMaskRCNN(backbone="small", dimension=6, min_size=64, max_size=96, frozen=False, **options)


def test_a_zero_background_is_a_logit_of_zero_and_dot_products_keep_their_length():
    model = detector(background="zero", similarity="dot", temperature=1.0)
    h = torch.randn(4, 6)
    logits = model.class_logits(h, TEXT)
    assert (logits[:, 0] == 0).all()
    torch.testing.assert_close(logits[:, 1:], h @ TEXT.t())
    torch.testing.assert_close(model.name_logits(h, TEXT), h @ TEXT.t())


def test_sb_has_a_fixed_background_of_norm_one():
    model = detector(background="unit")
    vector = model.roi_heads.box_predictor.background_vector(model.rpn.head)
    assert vector.norm() == 1 and not vector.requires_grad


def test_ba_rpn_shares_its_background_with_the_region_proposal_network():
    model = detector(background="rpn").train()
    box = torch.tensor([[10.0, 10, 50, 40]])
    mask = torch.zeros(1, 64, 80, dtype=torch.uint8)
    mask[:, 10:40, 10:50] = 1
    model.set_vocabulary(TEXT)
    losses = model([torch.rand(3, 64, 80)], [{"boxes": box, "labels": torch.tensor([2]), "masks": mask}])
    for name in ("loss_objectness", "loss_classifier"):
        [grad] = torch.autograd.grad(losses[name], model.rpn.head.sides, retain_graph=True)
        assert grad[1].abs().sum() > 0


def test_a_prior_makes_a_regions_mask_depend_on_its_name():
    model = detector(prior=True).eval()
    with torch.no_grad():
        model.prior.strength.fill_(3.0)
        features = model.backbone(torch.rand(1, 3, 64, 96))
        boxes = [torch.tensor([[10.0, 10, 50, 40]])]
        one, other = (model.mask_logits(features, boxes, [(64, 96)], TEXT[i : i + 1]) for i in (0, 1))
    assert not torch.allclose(one, other)
    detections = model.detect(torch.rand(3, 64, 80), {"all": TEXT}, score_threshold=0.0, nms_iou=0.5, max_detections=4)
    assert detections["all"]["masks"].shape == (len(detections["all"]["labels"]), 64, 80)


def test_a_prior_is_the_similarity_of_each_cell_with_the_name():
    prior = MaskPrior(4, 6)
    prior.strength.data.fill_(2.0)
    pooled = torch.randn(2, 4, 3, 3)
    cells = torch.einsum("rchw,dc->rdhw", pooled, prior.cells.weight[:, :, 0, 0]) + prior.cells.bias[:, None, None]
    expected = 2 * (cells * TEXT[:2, :, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(prior(pooled, TEXT[:2], 3), expected)
    torch.testing.assert_close(prior(pooled, TEXT[:2], 1), expected.mean((2, 3), keepdim=True))
    torch.testing.assert_close(prior.embed(pooled), cells.mean((2, 3)))


PAIRS = [(backbone, background) for backbone in ("small", "resnet50", "resnet50_c4") for background in BACKGROUNDS]
SLOW = [("resnet50_c4", background) for background in ("learned", "zero", "unit")]  # five seconds each


@pytest.mark.parametrize(
    "backbone, background", [pytest.param(*pair, marks=[pytest.mark.published] * (pair in SLOW)) for pair in PAIRS]
)
def test_every_background_and_the_prior_go_with_every_backbone(backbone, background):
    torch.manual_seed(0)
    model = OpenVocabularyMaskRCNN(
        backbone=backbone, dimension=6, min_size=64, max_size=96, frozen=False, background=background, prior=True
    ).train()
    masks = torch.zeros(1, 64, 80, dtype=torch.uint8)
    masks[:, 10:40, 10:50] = 1
    target = {"boxes": torch.tensor([[10.0, 10, 50, 40]]), "labels": torch.tensor([2]), "masks": masks}
    model.set_vocabulary(TEXT)
    losses = model([torch.rand(3, 64, 80)], [target])
    sum(losses.values()).backward()
    assert model.prior.cells.weight.grad.abs().sum() > 0 and model.prior.strength.grad.abs() > 0
    detections = model.eval().detect(
        torch.rand(3, 64, 80), {"all": TEXT}, score_threshold=0.0, nms_iou=0.5, max_detections=3
    )
    assert detections["all"]["masks"].shape == (3, 64, 80)


def test_the_backgrounds_description_travels_in_the_checkpoint():
    model, fresh = detector(background="text", similarity="dot", temperature=1.0), detector(background="text")
    model.set_background(TEXT[2])
    h = torch.randn(4, 6)
    torch.testing.assert_close(model.class_logits(h, TEXT[:2]), h @ TEXT[[2, 0, 1]].t())
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.roi_heads.box_predictor.background_vector(None), TEXT[2])


def test_no_such_background():
    with pytest.raises(ValueError, match="no background 'sky'"):
        EmbeddingHead(4, 6, "sky")


def test_what_captions_taught_goes_over_but_not_boxes_and_masks():
    taught, model = detector(background="zero"), detector(background="rpn")
    for weight in taught.parameters():
        torch.nn.init.constant_(weight, 0.125)
    before = model.roi_heads.mask_head[0][0].weight.clone()
    model.start_from(taught.state_dict())
    assert (model.roi_heads.box_predictor.embedding.weight == 0.125).all() and (
        model.backbone.body.stem[0].weight == 0.125
    ).all()
    assert (model.roi_heads.mask_head[0][0].weight == before).all()
