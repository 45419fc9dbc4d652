"""Teach the teacher's network by captions alone: backbone, pyramid, box head and embedding head (OVR; XPM, 4.1)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="pretrain_captions",
    reads=("images", "nouns", "embeddings"),
    writes=("pretrain_captions",),
    team=True,
    files=("weights",),
    random=True,
)


def run(job) -> None:
    import torch
    from torchvision.transforms.functional import to_tensor

    from models.backbones import read_backbone_weights
    from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
    from models.xpm.caption_grounding import grid_boxes, grounding_loss
    from sources.images import read_image
    from store.join import by_image
    from structures.errors import UserError
    from training.detector import text_of, train_detector, training_paths
    from training.loader import Rows, StepLoader

    p = job.params
    torch.set_num_threads(job.threads)
    rows = job.table("embeddings").to_pylist()
    number = {row["category"]: i for i, row in enumerate(rows)}
    paths = training_paths(job)
    data = []
    for image_id, (nouns,) in by_image(job.rows("nouns", ["image_id", "category"])):
        words = sorted({number[row["category"]] for row in nouns if row["category"] in number})
        if image_id in paths and words:
            data.append((paths[image_id], words))
    if not data:
        raise UserError("no caption names anything: there is nothing to learn from; set pretrain_captions.steps to 0")

    class Grounded(OpenVocabularyMaskRCNN):
        def losses(self, images, targets, text):
            batch, _ = self.transform(images)
            boxes = [grid_boxes(*size).to(job.device) for size in batch.image_sizes]
            embedding, _ = self.embed(self.backbone(batch.tensors), boxes, batch.image_sizes)
            regions = self.name_logits(embedding, text).view(len(images), -1, len(text))
            return {"loss_grounding": grounding_loss(regions, [target["words"] for target in targets])}

    torch.manual_seed(job.seed)
    sizes = {name: getattr(p, name) for name in ("backbone", "min_size", "max_size", "similarity", "temperature")}
    sizes |= {"dimension": len(rows[0]["vector"]), "background": "zero"}
    weights = read_backbone_weights(job.files.get("weights"))
    model = Grounded(weights=weights, frozen=weights is not None, **sizes).to(job.device).train()
    loader = StepLoader(
        Rows(data, lambda row: (to_tensor(read_image(job.root, row[0])), {"words": torch.tensor(row[1])})),
        **job.sharing(),
    )
    curve = train_detector(job, model, text_of(job, rows), loader, description="learning from captions")
    job.save_checkpoint(model.state_dict(), {"detector": sizes})
    job.save_curve(curve)


if __name__ == "__main__":
    STAGE.main(run)
