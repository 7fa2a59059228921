"""Metrics from logits: accuracy, balanced accuracy, macro-F1 and loss.

Notation
    logits  (n, classes) float        y  (n,) int64 labels
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

FROM_LOGITS = ("accuracy", "balanced_accuracy", "macro_f1", "loss")


def confusion(logits: Tensor, y: Tensor) -> Tensor:
    """Return the ``(classes, classes)`` int64 counts of (true label, predicted label)."""
    classes = logits.shape[1]
    return torch.bincount(y * classes + logits.argmax(1), minlength=classes * classes).view(classes, classes)


def scores(logits: Tensor, y: Tensor) -> dict[str, float]:
    """Return the four metrics of ``FROM_LOGITS``.

    Balanced accuracy is the mean recall over the labels that occur; macro-F1 the mean F1 over the labels that
    occur or are predicted, 0 where a label is never hit (both as in scikit-learn). The loss is the mean
    cross-entropy in nats.
    """
    counts = confusion(logits, y).double()
    hits, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    recall = (hits / true)[true > 0]
    f1 = (2 * hits / (true + predicted))[true + predicted > 0]
    values = torch.stack(
        [hits.sum() / counts.sum(), recall.mean(), f1.mean(), cross_entropy(logits.double(), y)]
    )
    return dict(zip(FROM_LOGITS, values.tolist(), strict=True))
