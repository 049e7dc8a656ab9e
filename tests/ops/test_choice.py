"""Dense or sparse: the rule with costs that can be summed by hand, and the file of measured ones."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from sparsecircuits.errors import ConfigError
from sparsecircuits.ops import Pattern, choice, native
from sparsecircuits.ops.choice import DEFAULT, Costs, costs, predicted, store

COSTS = Costs(dense=1, entry=4, move=2, few_dense=1, few_entry=10, call=100)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    monkeypatch.setenv(choice.VARIABLE, str(tmp_path / "cache"))
    choice._table.cache_clear()
    yield tmp_path / "cache"
    choice._table.cache_clear()


def test_many_tokens_by_hand():
    # [10, 20], 100 tokens. Dense: 100 · 200 = 20,000. Sparse: 100 + 100 · (4 · count + 30 · 2).
    assert predicted(COSTS, 10, 20, 34, 100)  # 19,700
    assert not predicted(COSTS, 10, 20, 35, 100)  # 20,100
    # Five tokens: 1,000 against 100 + 5 · (4 · count + 60).
    assert predicted(COSTS, 10, 20, 29, 5)  # 980
    assert not predicted(COSTS, 10, 20, 30, 5)  # 1,000 is no gain


def test_few_tokens_by_hand():
    # One: 200 against 100 + 10 · count. Four: 800 against 100 + 40 · count.
    assert predicted(COSTS, 10, 20, 9, 1)
    assert not predicted(COSTS, 10, 20, 10, 1)
    assert predicted(COSTS, 10, 20, 17, 4)
    assert not predicted(COSTS, 10, 20, 18, 4)


def test_without_kernels_dense_is_taken():
    pattern = Pattern.of(torch.zeros(1000, 1000))
    with native.using(native.OFF):
        assert not choice.sparse_pays(pattern, 1000)
    with native.using(native.available()[0]):
        assert choice.sparse_pays(pattern, 1000) == (native.kernels() != native.OFF)


def test_the_nearest_number_of_threads_below():
    assert (costs(1), costs(2), costs(64)) == (DEFAULT[1], DEFAULT[2], DEFAULT[2])
    store({4: COSTS, 8: DEFAULT[1]})
    assert (costs(4), costs(7), costs(8), costs(9)) == (COSTS, COSTS, DEFAULT[1], DEFAULT[1])
    assert costs(1) == COSTS  # none below: the lowest


def test_what_is_stored_is_read_back_beside_what_was_there(folder: Path):
    other = COSTS.replace(call=7.5)
    assert store({4: COSTS}) == folder / "ops.json"
    store({1: other})
    choice._table.cache_clear()
    assert (costs(1), costs(4)) == (other, COSTS)
    store({4: other})
    assert costs(4) == other
    assert json.loads((folder / "ops.json").read_text()) == {"1": other.to_dict(), "4": other.to_dict()}


GOOD = COSTS.to_dict()
DAMAGED = {
    "no JSON": "{",
    "a list": "[]",
    "nothing": "{}",
    "a number": '{"1": 3}',
    "a part": '{"1": {"dense": 1}}',
    "no number of threads": json.dumps({"x": GOOD}),
    "no thread": json.dumps({"0": GOOD}),
    "a negative cost": json.dumps({"1": {**GOOD, "move": -1}}),
    "a cost of nothing": json.dumps({"1": {**GOOD, "call": 0}}),
    "a word": json.dumps({"1": {**GOOD, "call": "a"}}),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_is_named_and_can_be_written_over(what: str, folder: Path):
    folder.mkdir()
    (folder / "ops.json").write_text(DAMAGED[what])
    with pytest.raises(ConfigError, match=r"cache.ops\.json.*tune-ops"):
        costs(1)
    store({3: COSTS})
    assert costs(1) == costs(3) == COSTS


def test_a_cost_is_positive():
    with pytest.raises(ConfigError, match=r"Costs\.dense is 0"):
        COSTS.replace(dense=0)


def test_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(choice.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert choice.cache_folder() == Path("/somewhere/sparsecircuits")
