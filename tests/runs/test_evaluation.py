"""What accuracies are made of."""

import pytest

from acclimate.runs.evaluation import interval


def test_the_interval_is_wilsons() -> None:
    assert interval(0.8, 10) == pytest.approx([0.490162, 0.943318], abs=1e-6)
    assert interval(1.0, 10) == pytest.approx([10 / (10 + 1.959964**2), 1.0], abs=1e-6)
    low, high = interval(0.8, 1000)
    assert 0.774 < low < 0.8 < high < 0.824
