"""Scores against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from estimators.score import scores


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("labels", [4, 10], ids=["labels missing", "all labels"])
def test_scores_equal_sklearn(seed: int, labels: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(labels), rng.integers(0, labels, 60)])
    logits = rng.normal(size=(len(y), 10)).astype(np.float32)
    logits[:, 7] = -20  # a label that is never predicted
    logits[np.arange(len(y)), y] += 1
    got = scores(torch.from_numpy(logits), torch.from_numpy(y))
    predicted = logits.argmax(1)
    probabilities = np.exp(logits.astype(float))
    probabilities /= probabilities.sum(1, keepdims=True)
    known = np.union1d(y, predicted)
    assert got["accuracy"] == pytest.approx(accuracy_score(y, predicted))
    assert got["macro_f1"] == pytest.approx(
        f1_score(y, predicted, labels=known, average="macro", zero_division=0)
    )
    recall = [np.mean(predicted[y == label] == label) for label in np.unique(y)]
    assert got["balanced_accuracy"] == pytest.approx(np.mean(recall))
    assert got["loss"] == pytest.approx(log_loss(y, probabilities, labels=np.arange(10)), rel=1e-5)
    if set(predicted) <= set(y):
        assert got["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, predicted))


def test_perfect_scores() -> None:
    y = torch.tensor([0, 1, 2, 2])
    got = scores(100.0 * torch.nn.functional.one_hot(y, 3), y)
    assert got == {"accuracy": 1.0, "balanced_accuracy": 1.0, "macro_f1": 1.0, "loss": pytest.approx(0.0)}


def test_loss_that_is_no_number_shows() -> None:
    logits = torch.zeros(3, 2)
    logits[1, 0] = torch.nan
    assert np.isnan(scores(logits, torch.tensor([0, 1, 0]))["loss"])
