"""The detector on one image of any size, in a form that tracing keeps: what a file without Python in it (ONNX) computes.

It gives what OpenVocabularyMaskRCNN.detect gives with one vocabulary. Sizes are tensors, for numbers of Python would stay those
of the image that was traced, and masks are pasted without a loop over the objects, as products of matrices:

    mask[r] = Y[r] M[r] X[r]'   with Y[r]: height x cells, X[r]: width x cells, the weights of bilinear interpolation
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import expand_boxes
from torchvision.ops import MultiScaleRoIAlign, clip_boxes_to_image

from models.detector.detections import best_regions
from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
from models.detector.roi_pooling import SmallMapRoIAlign, know_strides

MASK_THRESHOLD = 0.5


class OneImageDetector(nn.Module):
    """image [3, h, w] float32 in 0..1 and text [categories, dimension], unit length, to boxes [n, 4] xyxy pixels, scores [n]
    descending, labels [n] (index into text) and masks [n, h, w] bool.

    model: in evaluation mode, and used by nothing else from here on: its RoIAlign becomes torchvision's, which is one operator.
    The numbers: as for best_regions.
    """

    def __init__(self, model: OpenVocabularyMaskRCNN, *, score_threshold: float, nms_iou: float, max_detections: int):
        super().__init__()
        self.model = model
        self._thresholds = {
            "score_threshold": score_threshold,
            "nms_iou": nms_iou,
            "max_detections": max_detections,
        }
        heads = model.roi_heads
        heads.box_roi_pool, heads.mask_roi_pool = _operator(heads.box_roi_pool), _operator(heads.mask_roi_pool)
        self.eval()

    def example(self) -> tuple[Tensor, Tensor]:
        """An image and text to trace."""
        height, dimension = self.model.transform.min_size[-1], self.model.roi_heads.box_predictor.embedding.out_features
        return torch.zeros(3, height, height * 4 // 3), torch.eye(1, dimension)

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        model = self.model
        size = torch._shape_as_tensor(image)[-2:]
        resized = self.resized_size(size)
        batch = self._batch(image, resized)
        features = model.backbone(batch.tensors)
        proposals, _ = model.rpn(batch, features)
        embedding, deltas = model.embed(features, proposals, batch.image_sizes)
        moved = model.roi_heads.box_coder.decode(deltas, proposals).squeeze(1)
        moved = clip_boxes_to_image(moved, batch.image_sizes[0])
        scores, labels, regions = best_regions(model.class_logits(embedding, text), moved, **self._thresholds)
        names = text[labels] if model.prior else None
        logits = model.mask_logits(features, [moved[regions]], batch.image_sizes, names)
        boxes = moved[regions] * (size.float() / resized.float()).flip(0).repeat(2)
        masks = paste_masks(logits.sigmoid().squeeze(1), boxes, size)
        return boxes, scores, labels, masks > MASK_THRESHOLD

    def resized_size(self, size: Tensor) -> Tensor:
        """Height and width [2] int64 of the image that GeneralizedRCNNTransform makes of one of a size.

        In double precision, as there, whose last digit decides what floor gives. Sides are divided as vectors of length one:
        the export takes the quotient of a number for a product with a reciprocal, and that of scalars for one of float32.
        """
        transform, sides = self.model.transform, size.double()
        shortest, longest = (size.new_tensor([side]).double() for side in (transform.min_size[-1], transform.max_size))
        scale = torch.minimum(shortest / sides.amin(0, keepdim=True), longest / sides.amax(0, keepdim=True))
        return (sides * scale).floor().long()

    def _batch(self, image: Tensor, resized: Tensor) -> ImageList:
        """What GeneralizedRCNNTransform makes of one image: normalised, resized, padded on the right and below."""
        transform = self.model.transform
        height, width = resized.unbind()
        image = transform.normalize(image)[None]
        image = F.interpolate(image, size=(height, width), mode="bilinear", align_corners=False)
        right, below = (-side % transform.size_divisible for side in (width, height))
        return ImageList(F.pad(image, (0, right, 0, below)), [(height, width)])


def _operator(pooling: MultiScaleRoIAlign) -> MultiScaleRoIAlign:
    """The same pooling by torchvision's operator."""
    if not isinstance(pooling, SmallMapRoIAlign):
        return pooling
    operator = MultiScaleRoIAlign(pooling.featmap_names, pooling.output_size, pooling.sampling_ratio)
    return know_strides(operator, [round(1 / scale) for scale in pooling.scales])


def paste_masks(masks: Tensor, boxes: Tensor, size: Tensor) -> Tensor:
    """Masks [n, side, side] of boxes [n, 4] xyxy pixels, to [n, height, width] of an image of that size [2] int64, as
    torchvision's paste_masks_in_image: with a border of nothing, stretched over whole pixels."""
    cells = masks.shape[-1] + 2
    corners = expand_boxes(boxes, cells / (cells - 2)).long()
    rows = _stretch(corners[:, 1], corners[:, 3], cells, size[0])
    columns = _stretch(corners[:, 0], corners[:, 2], cells, size[1])
    return rows @ F.pad(masks, (1, 1, 1, 1)) @ columns.transpose(1, 2)


def _stretch(first: Tensor, last: Tensor, cells: int, length: Tensor) -> Tensor:
    """[n, length, cells]: how much each cell counts in each pixel, where they are stretched over the pixels first … last [n]."""
    pixels = torch.arange(length, device=first.device)
    extent = (last - first + 1).clamp(min=1)
    place = ((pixels - first[:, None] + 0.5) * (cells / extent)[:, None] - 0.5).clamp(0, cells - 1)
    weights = (1 - (place[..., None] - torch.arange(cells, device=first.device)).abs()).clamp(min=0)
    inside = (pixels >= first[:, None]) & (pixels < (first + extent)[:, None])
    return weights * inside[..., None]
