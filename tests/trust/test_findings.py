from __future__ import annotations

import torch

from acclimate.trust import findings

CLASSES = ("cat", "dog", "eel", "fox")
EQUAL = torch.full((4,), 0.25)


def sure_of(labels: list[int]) -> torch.Tensor:
    return 0.92 * torch.eye(4)[labels] + 0.02


def test_a_collapse_is_named_with_the_classes_that_are_left() -> None:
    assert findings.collapse(sure_of([0, 1, 2, 3] * 5), EQUAL, CLASSES) == []
    (found,) = findings.collapse(sure_of([1] * 18 + [0] * 2), EQUAL, CLASSES)
    assert found["kind"] == "collapse"
    assert "as 1.4 of equal size, the source has 4.0 (dog 90 %, cat 10 %" in found["text"]


def test_classes_that_changed_places_and_one_that_looks_like_another() -> None:
    assert findings.flips(8 * torch.eye(4, dtype=torch.int64), CLASSES) == []
    counts = torch.tensor([[1, 9, 0, 0], [8, 2, 0, 0], [0, 0, 4, 6], [0, 0, 0, 10]])
    assert [one["text"] for one in findings.flips(counts, CLASSES)] == [
        "cat and dog have changed places in redrawn source images",
        "60 % of redrawn source images of eel are classified as fox",
    ]


def test_other_shares_are_said_with_the_classes_that_differ_most() -> None:
    assert findings.shift(sure_of([0, 1, 2, 3] * 5), EQUAL, CLASSES) == []
    (found,) = findings.shift(sure_of([0] * 70 + [1] * 10 + [2] * 10 + [3] * 10), EQUAL, CLASSES)
    assert found["kind"] == "shift"
    assert "other shares than the source: cat 7" in found["text"]
    assert "(source 25 %)" in found["text"]
