"""What the bench of lone beats makes of what its readers cost."""

import pytest

from bench.fleets.filling import Filled
from bench.fleets.reading import Marks, Read
from bench.watcher import ALL, FEW, MANY, Bench, _figures

_FILLED = Filled(begins=[2, 3], ends=[10, 20], seconds=1.0)


def test_marks_count_from_where_it_begins_to_the_end() -> None:
    """Until a partition is past its mark it is still read up to it; what comes before is not counted."""
    marks = Marks(_FILLED)
    assert marks.before([0, 3]) == [0]
    assert marks.before([2, 4]) == []
    assert not marks.look([10, 20])
    marks.begin([3, 4])
    assert not marks.look([10, 19])
    assert marks.look([11, 20])

    assert marks.done is not None
    assert marks.done.records == 24
    assert marks.done.cpu_s >= 0


def test_figures_are_of_the_same_round() -> None:
    """A ratio compares what was read next to each other, and more is better for us when the others need more."""
    bench = Bench("nowhere:1", seed=1, say=lambda _: None)
    bench.reads = {
        (FEW, "raw"): [Read(100, 4.0, 5.0), Read(100, 2.0, 5.0)],
        (FEW, "watch"): [Read(100, 2.0, 5.0), Read(50, 2.0, 5.0)],
        (MANY, "raw"): [Read(100, 3.0, 5.0), Read(100, 3.0, 5.0)],
        (MANY, "watch"): [Read(100, 6.0, 5.0), Read(100, 3.0, 5.0)],
        (ALL, "watch"): [Read(100, 4.0, 5.0), Read(100, 8.0, 5.0)],
    }
    bench.writes = [0.0, 0.5]
    values = {figure.name: figure.values for figure in _figures(bench)}

    assert values["lone_vs_raw_ratio_1k"] == pytest.approx([2.0, 0.5])
    assert values["lone_vs_raw_ratio_300k"] == pytest.approx([0.5, 1.0])
    assert values["growth_ratio"] == pytest.approx([2.0, 2.0])
    assert values["writes_per_beat"] == [0.0, 0.5]
