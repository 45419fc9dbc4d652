"""The name of a label wherever people see it: of its place in the tables and of its mask, so that another mask has another."""

import hashlib
import json


def label_id(row: dict) -> str:
    """16 hex digits of a row with image_id, category, instance and segmentation (RLE): the same as long as the label is."""
    size = [int(side) for side in row["segmentation"]["size"]]
    place = [row["image_id"], row["category"], int(row["instance"]), size, row["segmentation"]["counts"]]
    return hashlib.sha256(json.dumps(place).encode()).hexdigest()[:16]
