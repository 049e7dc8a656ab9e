"""A run that was stopped and resumed ends with the same bytes as one that was not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import NOTHING_SAVED, CheckpointError, SaveError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import Machine, Progress, Run, RunConfig, checkpoint, keeper, load_run, train
from sparsecircuits.train.checkpoint import latest_checkpoint, save_checkpoint
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.run import TIMING


def stop_after(step: int) -> Callable[[Progress], None]:
    """What Ctrl-C does, just after a step (and before its checkpoint, if it has one)."""

    def watch(progress: Progress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return watch


def stopped(config: RunConfig, corpus: Corpus, folder: Path, step: int) -> Run:
    with pytest.raises(KeyboardInterrupt):
        train(config, corpus, folder, stop_after(step))
    return load_run(folder)


def metrics(run: Run) -> list[dict[str, Any]]:
    """All of metrics.jsonl but what may differ."""
    return [{key: value for key, value in row.items() if key not in TIMING} for row in run.metrics()]


@pytest.fixture
def straight(config: RunConfig, corpus: Corpus, tmp_path: Path) -> Run:
    train(config, corpus, tmp_path / "straight")
    return load_run(tmp_path / "straight")


# Checkpoints after 2, 4, 6; annealing over steps 2 to 6. A stop at 1 has no checkpoint to go on from.
@pytest.mark.parametrize("stops", [[1], [3], [4], [5], [7], [8], [3, 5, 6, 8]])
def test_resumed_equals_straight(
    stops: list[int], straight: Run, config: RunConfig, corpus: Corpus, tmp_path: Path
):
    for step in stops:
        run = stopped(config, corpus, tmp_path / "resumed", step)
        assert run.result() is None
        with pytest.raises(CheckpointError, match="training has not finished"):
            run.model()
    result = train(config, corpus, tmp_path / "resumed")
    run = load_run(tmp_path / "resumed")

    weights = Path("model/model.safetensors")
    assert (run.folder / weights).read_bytes() == (straight.folder / weights).read_bytes()
    moments = Path("checkpoints/step_000006/optimizer.safetensors")
    before, after = load_file(straight.folder / moments), load_file(run.folder / moments)
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert metrics(run) == metrics(straight)
    expected = straight.result()
    assert expected is not None
    assert (result.val_loss, result.density, result.tokens) == (expected["val_loss"], 1 / 4, 8 * 2 * 8)


def test_a_finished_run_is_not_trained_again(straight: Run, config: RunConfig, corpus: Corpus):
    seen: list[Progress] = []
    result = train(config, corpus, straight.folder, seen.append)
    assert seen == []
    assert result.__dict__ == straight.result()


def test_metrics_lines(straight: Run):
    rows = straight.metrics()
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert [row["step"] for row in rows if "val_loss" in row] == [3, 6, 8]
    assert [row["tokens"] for row in rows] == [16 * step for step in range(1, 9)]
    assert rows[0]["lr"] == 0.0
    assert [row["density"] for row in rows[-2:]] == [1 / 4, 1 / 4]
    assert [row["embed_density"] for row in rows[-2:]] == [1 / 2, 1 / 2]


def test_a_line_that_was_cut_off_is_written_again(
    straight: Run, config: RunConfig, corpus: Corpus, tmp_path: Path
):
    run = stopped(config, corpus, tmp_path / "run", 5)
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "los')
    train(config, corpus, run.folder)
    assert metrics(run) == metrics(straight)


def test_the_latest_two_checkpoints_stay_and_the_best(straight: Run):
    assert sorted(path.name for path in straight.checkpoints.iterdir()) == [
        "step_000003",  # validated, and the best so far and in the end: density falls from step 2 to 6
        "step_000006",
        "step_000008",
    ]
    losses = {row["step"]: row["val_loss"] for row in straight.metrics() if "val_loss" in row}
    assert losses[3] == min(losses.values())


def test_the_models_checkpoints_shrink_as_density_anneals(config: RunConfig, corpus: Corpus, tmp_path: Path):
    run = stopped(config, corpus, tmp_path / "run", 7)
    files = [load_file(run.checkpoints / f"step_00000{step}" / "model.safetensors") for step in (4, 6)]
    name = "transformer.h.0.mlp.c_fc.weight"
    sizes = [sum(t.nbytes for key, t in file.items() if key.startswith(name)) for file in files]
    # 64 rows of 16: the fourth step leaves 832 weights, stored dense; the sixth 448 of 6 bytes, and 2 a row.
    assert sizes == [4 * 64 * 16, 6 * 448 + 2 * 64]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("model.safetensors", cut),
        ("model.safetensors", flip),
        ("model.safetensors", Path.unlink),
        ("optimizer.safetensors", flip),
        ("state.json", cut),
        ("state.json", Path.unlink),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning_that_names_it(
    file: str,
    damage: Callable[[Path], None],
    straight: Run,
    config: RunConfig,
    corpus: Corpus,
    tmp_path: Path,
):
    run = stopped(config, corpus, tmp_path / "run", 7)
    damage(run.checkpoints / "step_000006" / file)
    seen: list[int] = []
    with pytest.warns(UserWarning, match=f"passed over a damaged checkpoint: .*step_000006/{file}: "):
        train(config, corpus, run.folder, lambda progress: seen.append(progress.step))
    assert seen == [5, 6, 7, 8]
    assert metrics(run) == metrics(straight)
    assert torch.equal(run.model().lm_head.weight, straight.model().lm_head.weight)


def test_a_damaged_checkpoint_does_not_count_among_the_latest(
    straight: Run, config: RunConfig, corpus: Corpus, tmp_path: Path
):
    folder, machine = tmp_path / "run", Machine(keep=1)
    with pytest.raises(KeyboardInterrupt):
        train(config, corpus, folder, stop_after(7), machine)
    run = load_run(folder)
    assert names(run) == ["step_000003", "step_000006"]  # the best, and the latest
    flip(run.checkpoints / "step_000006" / "model.safetensors")
    with (
        pytest.warns(UserWarning, match=r"passed over a damaged checkpoint: .*step_000006/model"),
        pytest.raises(KeyboardInterrupt),
    ):
        train(config, corpus, folder, stop_after(5), machine)
    assert names(run) == ["step_000003", "step_000004", "step_000006.damaged"]
    seen: list[int] = []
    train(config, corpus, folder, lambda progress: seen.append(progress.step), machine)
    assert seen == [5, 6, 7, 8]
    assert names(run) == ["step_000003", "step_000006.damaged", "step_000008"]
    assert metrics(run) == metrics(straight)


def test_a_damaged_checkpoint_is_not_the_best(config: RunConfig, corpus: Corpus, tmp_path: Path):
    run = stopped(config, corpus, tmp_path / "run", 7)
    flip(run.checkpoints / "step_000003" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"step_000003/model\.safetensors: its content does not match"):
        run.model("best")
    with pytest.warns(UserWarning, match=r"now called step_000003\.damaged: .*step_000003/model"):
        train(config, corpus, run.folder)
    assert names(run) == ["step_000003.damaged", "step_000006", "step_000008"]
    best = run.model("best").lm_head.weight  # of 6 and 8, which were measured too
    losses = {row["step"]: row["val_loss"] for row in run.metrics() if "val_loss" in row}
    assert torch.equal(best, run.model(6 if losses[6] <= losses[8] else 8).lm_head.weight)


def test_an_old_checkpoint_that_stays_is_no_failed_save(
    straight: Run, config: RunConfig, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.shutil, "rmtree", refuse)
        with pytest.warns(UserWarning, match="an old checkpoint, not removed: Permission denied"):
            train(config, corpus, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.events() == []
    assert metrics(run) == metrics(straight)


@pytest.mark.parametrize(
    ("step", "said"), [(1, NOTHING_SAVED), (2, NOTHING_SAVED), (5, "saved at step 4"), (7, "saved at step 6")]
)
def test_an_interruption_says_what_is_saved(
    step: int, said: str, config: RunConfig, corpus: Corpus, tmp_path: Path
):
    with pytest.raises(KeyboardInterrupt, match=f"^{said}$"):
        train(config, corpus, tmp_path / "run", stop_after(step))
    with pytest.raises(KeyboardInterrupt, match=f"^{said}$"):  # the same after it was found there
        train(config, corpus, tmp_path / "run", stop_after(step))


def names(run: Run) -> list[str]:
    """What lies among its checkpoints."""
    return sorted(path.name for path in run.checkpoints.iterdir())


def test_no_whole_checkpoint_is_an_error_that_names_each(config: RunConfig, corpus: Corpus, tmp_path: Path):
    run = stopped(config, corpus, tmp_path / "run", 7)
    for step in (3, 4):
        cut(run.checkpoints / f"step_00000{step}" / "state.json")
    flip(run.checkpoints / "step_000006" / "optimizer.safetensors")
    message = r"no checkpoint is whole: .*step_000006/optimizer\.safetensors.*step_000004/state\.json"
    with pytest.raises(CheckpointError, match=message):  # and no warning that says the same
        train(config, corpus, run.folder)


def test_a_half_written_checkpoint_does_not_count(
    straight: Run, config: RunConfig, corpus: Corpus, tmp_path: Path
):
    run = stopped(config, corpus, tmp_path / "run", 7)
    partial = run.checkpoints / "step_000008.partial"
    shutil.copytree(run.checkpoints / "step_000004", partial)
    (partial / "state.json").unlink()
    train(config, corpus, run.folder)
    assert metrics(run) == metrics(straight)


def test_beyond_a_million_steps_the_latest_is_still_the_latest(config: RunConfig, tmp_path: Path):
    model = SparseGPT(config.model)
    optimizer = SparseOptimizer(model, config.train)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(3)
    for step in (999_998, 999_999, 1_000_000):
        save_checkpoint(tmp_path, model, {"optimizer": optimizer}, step, seconds=1.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_1000000", "step_999999"]
    assert latest_checkpoint(tmp_path, model, {"optimizer": optimizer}) == (1_000_000, 1.5)


def test_an_empty_folder_is_step_zero(config: RunConfig, tmp_path: Path):
    model = SparseGPT(config.model)
    assert latest_checkpoint(tmp_path, model, {}) == (0, 0.0)


class Counter:
    """A part of the state that somebody adds."""

    def __init__(self) -> None:
        self.count = torch.tensor(0)

    def state(self) -> dict[str, Tensor]:
        return {"count": self.count}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        self.count = tensors["count"]


def test_further_parts_have_their_place(config: RunConfig, tmp_path: Path):
    model, counter = SparseGPT(config.model), Counter()
    counter.count += 7
    save_checkpoint(tmp_path, model, {"counter": counter}, 5, seconds=1.0)
    other = Counter()
    latest_checkpoint(tmp_path, model, {"counter": other})
    assert other.count == 7
    message = "it holds the state of counter; this run has nothing"
    with pytest.raises(CheckpointError, match=message):
        latest_checkpoint(tmp_path, model, {})


def test_models_on_the_way(straight: Run):
    latest, best, third = (straight.model(which) for which in ("latest", "best", 3))
    assert torch.equal(latest.lm_head.weight, straight.model().lm_head.weight)
    assert torch.equal(best.lm_head.weight, third.lm_head.weight)
    assert not torch.equal(best.lm_head.weight, latest.lm_head.weight)
    with pytest.raises(CheckpointError, match="no checkpoint 5; there: 3, 6, 8, and best, latest"):
        straight.model(5)


def test_a_failed_save_is_told_and_tried_again(
    straight: Run, config: RunConfig, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real, calls = keeper.save_checkpoint, []

    def fails_once(*words: Any, **more: Any) -> Path:
        calls.append(words[3])
        if len(calls) == 1:
            raise SaveError("step_000002: not saved: No space left on device")
        return real(*words, **more)

    monkeypatch.setattr(keeper, "save_checkpoint", fails_once)
    with pytest.warns(UserWarning, match="No space left on device; training goes on and tries again"):
        train(config, corpus, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert calls == [2, 3, 4, 6, 8]
    assert [(event["event"], event["step"]) for event in run.events()] == [("save_failed", 2)]
    assert metrics(run) == metrics(straight)


def test_the_last_save_must_succeed(
    config: RunConfig, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails_at_the_end(*words: Any, **more: Any) -> Path:
        if words[3] == 8:
            raise SaveError("step_000008: not saved: Input/output error")
        return save_checkpoint(*words, **more)

    monkeypatch.setattr(keeper, "save_checkpoint", fails_at_the_end)
    with pytest.raises(SaveError, match="step_000008"):
        train(config, corpus, tmp_path / "run")
    assert load_run(tmp_path / "run").result() is None
