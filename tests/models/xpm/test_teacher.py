"""The teacher's labels: one region and mask a word."""

import pytest
import torch
import torch.nn.functional as F

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
from models.xpm.teacher import Teacher, label_words

TEXT = F.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), dim=1)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return OpenVocabularyMaskRCNN(
        backbone="small", dimension=6, min_size=64, max_size=96, frozen=False, background="zero"
    ).eval()


def test_each_word_gets_the_region_of_the_largest_similarity_and_its_mask(teacher):
    image = torch.rand(3, 64, 80)
    [labels] = label_words(teacher, [image], [torch.tensor([2, 0])], TEXT)
    with torch.no_grad():
        batch, _ = teacher.transform([image])
        [boxes], embedding = teacher.regions(batch, teacher.backbone(batch.tensors))
        best = [int((F.normalize(embedding, dim=1) @ TEXT[word]).argmax()) for word in (2, 0)]
    assert labels["rank"].tolist() == best
    scale = torch.tensor([80 / batch.image_sizes[0][1], 64 / batch.image_sizes[0][0]] * 2)
    torch.testing.assert_close(labels["boxes"], boxes[best] * scale)
    assert labels["masks"].shape == (2, 64, 80) and ((labels["score"] > 0) & (labels["score"] < 1)).all()
    for mask, (x0, y0, x1, y1) in zip(labels["masks"], labels["boxes"].tolist()):
        ys, xs = mask.nonzero(as_tuple=True)
        if len(ys):
            assert xs.min() >= int(x0) - 1 and xs.max() <= x1 + 1 and ys.min() >= int(y0) - 1 and ys.max() <= y1 + 1


def test_pictures_side_by_side_are_labelled_as_alone(teacher):
    images, words = [torch.rand(3, 64, 80), torch.rand(3, 64, 80)], [torch.tensor([1]), torch.tensor([3, 2])]
    together = label_words(teacher, images, words, TEXT)
    for image, indices, labels in zip(images, words, together):
        [alone] = label_words(teacher, [image], [indices], TEXT)
        torch.testing.assert_close(labels["boxes"], alone["boxes"], rtol=1e-4, atol=1e-3)
        assert (labels["masks"] == alone["masks"]).float().mean() > 0.99


def test_a_picture_without_regions_has_no_labels(teacher, monkeypatch):
    def none(batch, features):
        return [torch.zeros(0, 4) for _ in batch.image_sizes], torch.zeros(0, 6)

    monkeypatch.setattr(teacher, "regions", none)
    assert label_words(teacher, [torch.rand(3, 64, 80)], [torch.tensor([1])], TEXT) == [None]
    assert label_words(teacher, [], [], TEXT) == []


def test_a_background_that_no_caption_taught_goes_on_learning_beside_a_frozen_embedding_head():
    sizes = {"backbone": "small", "dimension": 6, "min_size": 64, "max_size": 96}
    model = Teacher(**sizes, background="learned")
    model.freeze(["embedding"])
    head = model.roi_heads.box_predictor
    assert head.background.requires_grad and not head.embedding.weight.requires_grad
    Teacher(**sizes, background="zero").freeze(["embedding"])
