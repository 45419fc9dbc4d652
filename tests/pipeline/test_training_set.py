"""What a training learns from, read when its turn comes."""

import numpy as np

from tests.stages.made_run import gallery_job, made_tables


def test_it_holds_the_training_images_that_are_wanted_whatever_the_shards(tmp_path):
    tables = made_tables(12)
    train = [row for row in tables["images"] if row["split"] == "train"]
    for shards in (1, 3):
        job = gallery_job(tmp_path, tables, shards=shards)
        looked_at = {"nouns": ["image_id", "caption_id"]}
        chosen = job.training_set(
            "wspn_proposals", "nouns", wanted=lambda _, nouns: nouns[0]["caption_id"] != "c3", looked_at=looked_at
        )
        assert [image for [image], *_ in chosen] == [
            {"path": row["path"], "sha256": row["sha256"]} for row in train if row["image_id"] != "003"
        ]
        [image], [proposals], [noun] = chosen[2]
        assert image["path"] == "004.png" and noun["text"] == "a cat on a mat" and proposals["image_id"] == "004"
        np.testing.assert_array_equal(proposals["boxes"], tables["wspn_proposals"][3]["boxes"])


def test_every_row_can_be_an_item_of_its_own(tmp_path):
    tables = made_tables(6)
    noun = tables["nouns"][1]
    tables["nouns"].insert(2, noun | {"caption_id": "second", "text": "a cat again"})
    job = gallery_job(tmp_path, tables)
    chosen = job.training_set("nouns", wanted=lambda nouns: nouns[0]["caption_id"] != "c0", each=True)
    assert [row["text"] for _, [row] in chosen][:2] == ["a cat on a mat", "a cat again"]
    assert len(chosen) == len(tables["nouns"]) - 1
