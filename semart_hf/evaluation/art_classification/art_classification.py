"""The metric in the layout that `evaluate.load("<this folder>")` reads: a script named like its folder."""

from semart_hf.evaluation.metrics import ArtClassificationMetric as _ArtClassificationMetric


class ArtClassification(_ArtClassificationMetric):
    """`evaluate.load("semart_hf/evaluation/art_classification", tasks=model.config.tasks)`."""
