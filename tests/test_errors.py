"""Errors share one base, and unknown names are answered with the close ones."""

from __future__ import annotations

import pytest

from sparsecircuits import errors
from sparsecircuits.errors import near_misses


@pytest.mark.parametrize(
    "name", ["ConfigError", "DataError", "CheckpointError", "TaskError", "TaskFileError"]
)
def test_mistakes_in_input_are_value_errors_of_ours(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, errors.SparseCircuitsError)
    assert issubclass(kind, ValueError)


def test_a_pruning_that_cannot_be_done_is_a_runtime_error_of_ours() -> None:
    assert issubclass(errors.PruneError, errors.SparseCircuitsError)
    assert issubclass(errors.PruneError, RuntimeError)


def test_one_close_name() -> None:
    assert near_misses("exponental", ["linear", "exponential"]) == "did you mean 'exponential'?"


def test_several_close_names_come_closest_first() -> None:
    known = ["bracket_brace", "if_ternary", "bracket_counting"]
    assert near_misses("bracket", known) == "did you mean 'bracket_brace' or 'bracket_counting'?"


def test_no_close_name_lists_all_sorted() -> None:
    assert near_misses("zzz", ["train", "data"]) == "known: data, train"


def test_nothing_known() -> None:
    assert near_misses("a", []) == "known: none"


def test_a_task_file_error_is_a_line_for_each_mistake() -> None:
    places = (errors.Place(), errors.Place(None, 4), errors.Place(2), errors.Place(3, 9))
    error = errors.TaskFileError("mine.yaml", [errors.Problem(place, "why") for place in places])
    assert isinstance(error, errors.TaskError)
    assert str(error).splitlines() == [
        "mine.yaml: why",
        "mine.yaml: line 4: why",
        "mine.yaml: row 2: why",
        "mine.yaml: row 3 (line 9): why",
    ]
