"""What many prunings agree on, on a model whose circuit is known."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sparsecircuits.circuit import load_circuit
from sparsecircuits.errors import ConfigError, PruneError
from sparsecircuits.study.consensus import Bootstrapped, consensus, lines_of
from sparsecircuits.study.lines import append_line, read_lines
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.train import Run
from tests.prune import planted
from tests.prune.planted import SETTINGS, STRING_CLOSING
from tests.study.test_tune import Counting


@pytest.fixture(scope="module")
def unpruned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return planted.planted_run(tmp_path_factory.mktemp("planted"))


@pytest.fixture
def run(unpruned: Run, tmp_path: Path) -> Run:
    return Run.open(shutil.copytree(unpruned.folder, tmp_path / "run"))


def test_the_core_of_equal_circuits_is_the_circuit(run: Run) -> None:
    found = consensus(RunPruner(run, SETTINGS), STRING_CLOSING, seeds=2, bootstraps=1)
    assert [row["name"] for row in found.rows] == ["seed 0", "seed 1", "bootstrap 0"]
    stability = found.stability
    assert stability.core == planted.ATTENTION_CIRCUIT
    assert (stability.circuits, stability.jaccard, stability.passed) == (3, 1.0, True)
    assert stability.random_jaccard < 0.1
    saved = load_circuit(run.folder / "consensus" / "string_closing")
    assert saved.nodes == planted.ATTENTION_CIRCUIT
    assert (saved.info["nodes"], saved.info["edges"], saved.info["met"]) == (3, 2, True)
    assert saved.info["stability"]["jaccard"] == 1.0
    assert saved.info["necessity"]["accuracy"] == 0.5
    # The first seed's circuit is the same, so its figures are the core's.
    assert saved.info["loss"] == pytest.approx(found.rows[0]["loss"], abs=1e-6)
    assert not run.circuits.exists()


def test_indices_by_hand_from_what_is_kept(run: Run) -> None:
    """Rows there are taken as they are: {a, b, c}, {a, b, d}, {a, b, c}: Jaccard 1/2, 1, 1/2; core {a, b}."""
    pruner = Counting(run)
    a, b, c = sorted(map(str, planted.ATTENTION_CIRCUIT))
    consensus(pruner, STRING_CLOSING, seeds=3, bootstraps=0)
    path = lines_of(pruner, STRING_CLOSING)
    rows = read_lines(path)
    path.unlink()
    for row, last in zip(rows, (c, "0.mlp.post_act.1", c), strict=True):
        append_line(path, {**row, "names": [a, b, last]})
    again = Counting(run)
    found = consensus(again, STRING_CLOSING, seeds=3, bootstraps=0)
    assert again.rounds == []
    assert found.stability.jaccard == pytest.approx(2 / 3)
    assert {str(node) for node in found.stability.core} == {a, b}
    assert found.stability.core_loss > found.stability.mean_loss + 0.1  # half of a circuit does nothing
    assert not found.stability.passed


def test_it_goes_on_pruning_by_pruning(run: Run) -> None:
    killed = Counting(run)
    killed.dies_after = 2
    with pytest.raises(KeyboardInterrupt):
        consensus(killed, STRING_CLOSING, seeds=2, bootstraps=1, batch=1)
    resumed = Counting(run)
    consensus(resumed, STRING_CLOSING, seeds=2, bootstraps=2, batch=4)
    assert [len(configs) for configs in resumed.rounds] == [2]  # both bootstraps


def test_a_bootstrap_draws_learning_and_choosing_pairs_apart() -> None:
    tokenizer = planted.byte_tokenizer()
    task = Bootstrapped.of(STRING_CLOSING, 3, SETTINGS)  # 64 to learn from, 32 to choose on
    before = STRING_CLOSING.pairs(tokenizer, "train", 96, max_tokens=16)
    after = task.pairs(tokenizer, "train", 96, max_tokens=16)
    assert len(after) == 96
    learn, choose = ({pair.left for pair in before.texts[part]} for part in (slice(64), slice(64, None)))
    assert {pair.left for pair in after.texts[:64]} <= learn
    assert {pair.left for pair in after.texts[64:]} <= choose
    assert len({pair.left for pair in after.texts[:64]}) < 60  # about 1 - 1/e of 64 differ: 40
    assert task.pairs(tokenizer, "train", 96, max_tokens=16).hash == after.hash
    other = Bootstrapped.of(STRING_CLOSING, 4, SETTINGS).pairs(tokenizer, "train", 96, max_tokens=16)
    assert other.hash != after.hash
    heldout = STRING_CLOSING.pairs(tokenizer, "heldout", 9, max_tokens=16)
    assert task.pairs(tokenizer, "heldout", 9, max_tokens=16).hash == heldout.hash
    assert len(task.pairs(tokenizer, "validation", 9, max_tokens=16)) == 9


@pytest.mark.parametrize(("seeds", "bootstraps", "batch"), [(1, 0, 1), (0, 5, 1), (2, -1, 1), (2, 0, 0)])
def test_too_few(run: Run, seeds: int, bootstraps: int, batch: int) -> None:
    with pytest.raises(ConfigError, match=f"{seeds} seeds, {bootstraps} bootstraps"):
        consensus(RunPruner(run, SETTINGS), STRING_CLOSING, seeds=seeds, bootstraps=bootstraps, batch=batch)


def test_a_model_that_cannot_says_so(run: Run) -> None:
    run.finish(planted.refusing_model(run.tokenizer()), run.result() or {})
    with pytest.raises(PruneError, match="0 of 2 prunings gave a circuit.*own loss is 0.693"):
        consensus(RunPruner(run, SETTINGS), STRING_CLOSING, seeds=2, bootstraps=0)
