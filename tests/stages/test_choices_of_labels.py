"""Options of the stages that make labels, by hand as a user types them: what each says is what its table holds."""

import numpy as np
import pandas as pd
import pytest

from models.grounding.box_choice.activation import choose
from models.grounding.maps import activation_maps, united
from structures.masks import decode


def by_hand(miniature, table: str) -> pd.DataFrame:
    return pd.read_parquet(miniature.folder / "data/runs/mini-labels" / table)


def chosen_boxes(run, union: str, interpolation: str) -> dict:
    """Eq. 6 of every pair of a run, from its tables."""
    boxes = pd.read_parquet(run / "wspn_proposals").set_index("image_id").boxes
    images = pd.read_parquet(run / "images").set_index("image_id")
    best = {}
    for row in pd.read_parquet(run / "gradcam").to_dict("records"):
        phi = united(activation_maps(row), union=union, threshold=0.5)
        image, of_image = images.loc[row["image_id"]], np.stack(boxes[row["image_id"]])
        sizes = {"heights": np.array([image.height]), "widths": np.array([image.width])}
        [[choice]] = choose(phi[None], of_image[None], instances=1, interpolation=interpolation, **sizes)
        best[row["image_id"], row["category"]] = (of_image[choice.index].tolist(), choice.score)
    return best


@pytest.mark.parametrize(("union", "interpolation"), [("binary", "nearest"), ("soft", "linear")])
def test_boxes_are_chosen_by_the_union_and_the_interpolation_that_are_asked_for(miniature, union, interpolation):
    """The run itself has the first pair: what the patent says is the default."""
    asked = ["--activation-map.union", union, "--activation-map.interpolation", interpolation]
    miniature.stage("select_boxes", "--into", "mini-labels", *asked)
    rows = by_hand(miniature, "pseudo_boxes")
    expected = chosen_boxes(miniature.run, union, interpolation)
    assert len(rows) == len(expected) > 0
    for row in rows.itertuples():
        box, score = expected[row.image_id, row.category]
        assert row.box.tolist() == box and row.score == pytest.approx(score, rel=1e-5)
    of_run = pd.read_parquet(miniature.run / "pseudo_boxes")
    assert np.allclose(rows.score, of_run.score) == (union == "binary")


def test_masks_are_of_the_union_that_is_asked_for(miniature):
    """By the method that takes Phi above one half: a whole number of cells if nearest and binary."""
    for union, interpolation in (("binary", "nearest"), ("soft", "linear")):
        asked = ["--activation-map.union", union, "--activation-map.interpolation", interpolation]
        miniature.stage("segment", "--into", "mini-labels", "--method", "threshold", "--side", "96", *asked)
        rows = by_hand(miniature, "pseudo_masks").set_index(["image_id", "category"])
        maps = pd.read_parquet(miniature.run / "gradcam").to_dict("records")
        shares = []
        for row in maps:
            key = row["image_id"], row["category"]
            if key in rows.index and rows.loc[key].agreement.size == 1:
                mask = decode(rows.loc[key].segmentation).astype(bool)
                y = np.arange(mask.shape[0]) * row["height"] // mask.shape[0]
                x = np.arange(mask.shape[1]) * row["width"] // mask.shape[1]
                phi = united(activation_maps(row), union="binary", threshold=0.5)[np.ix_(y, x)] > 0
                shares.append((mask & ~phi).sum() / mask.sum())
        assert len(shares) > 5
        assert (np.mean(shares) < 0.02) == (union == "binary"), np.mean(shares)


def test_selective_searchs_boxes_may_all_be_proposals(miniature):
    miniature.stage("propose", "--into", "mini-labels", "--by", "selective_search", "--top-k", "2000")
    of_search = pd.read_parquet(miniature.run / "proposals").set_index("image_id").boxes
    proposals = by_hand(miniature, "wspn_proposals").set_index("image_id").boxes
    assert len(proposals) == len(of_search) and max(map(len, proposals)) > 50
    for image_id, boxes in proposals.items():
        np.testing.assert_array_equal(np.stack(boxes), np.stack(of_search[image_id]))


def test_wspns_boxes_are_ranked_as_asked(miniature):
    miniature.stage("propose", "--into", "mini-labels", "--wspn.rank", "mean")
    largest = pd.read_parquet(miniature.run / "wspn_proposals").set_index("image_id").scores
    mean = by_hand(miniature, "wspn_proposals").set_index("image_id").scores
    assert len(mean) == len(largest)
    assert all(mean[image_id].max() < largest[image_id].max() for image_id in mean.index)
