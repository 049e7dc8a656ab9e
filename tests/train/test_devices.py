"""Two processes end with the bits of one that takes their micro-batches one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig
from sparsecircuits.ops.choice import DEFAULT, predicted
from sparsecircuits.train import Machine, Run, RunConfig, TrainConfig, load_run, train
from sparsecircuits.train.devices import join
from tests.processes import Processes
from tests.train.device_jobs import failing, held, parting, patience, revived, stepped, told, trained
from tests.train.test_resume import metrics

# Wide enough for the sparse kernels to be the faster ones at the end; shapes that two processes cannot halve.
CONFIG = RunConfig(
    model=GPTConfig(
        vocab_size=300, n_ctx=32, n_layer=2, d_model=132, d_head=11, d_mlp=263, positions="learned"
    ),
    train=TrainConfig(
        steps=12,
        rows=16,
        density=1 / 8,
        embed_density=1 / 6,
        warmup=0.2,
        anneal_start=0.1,
        anneal_stop=0.6,
        biases="sparse",
        eval_every=4,
        eval_tokens=512,
        checkpoint_every=5,
        log_every=1,
    ),
)
HALVES = Machine(micro_rows=8)


@pytest.fixture(scope="module")
def one(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One process that takes the two halves of each batch one after the other."""
    folder = tmp_path_factory.mktemp("one") / "run"
    train(CONFIG, corpus, folder, machine=HALVES)
    return load_run(folder)


def assert_same(run: Run, right: Run) -> None:
    """Weights, zeros among them, moments and metrics, bit for bit."""
    for file in ("model/model.safetensors", "checkpoints/step_000010/optimizer.safetensors"):
        assert (run.folder / file).read_bytes() == (right.folder / file).read_bytes(), file
    assert metrics(run) == metrics(right)
    found, expected = run.result(), right.result()
    assert found is not None
    assert expected is not None
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}


def test_the_run_goes_the_sparse_way_at_its_end(one: Run):
    # or the tests below would not see a pattern that is out of date
    weight = one.model().get_parameter("transformer.h.0.mlp.c_fc.weight")
    assert weight.shape == (263, 132)
    assert predicted(DEFAULT[1], 263, 132, int(weight.count_nonzero()), tokens=8 * 32)


@pytest.mark.parametrize("parallel", ["ddp", "shard"])
def test_two_processes_end_with_the_bits_of_one(
    parallel: str, one: Run, corpus: Corpus, processes: Processes, tmp_path: Path
):
    machine = Machine.from_dict({"parallel": parallel})
    results = processes.run(2, trained, CONFIG, corpus.folder, tmp_path / "run", machine)
    assert results[0] == results[1]
    assert_same(load_run(tmp_path / "run"), one)


@pytest.mark.parametrize(
    "order", [("ddp", "shard", "one"), pytest.param(("one", "ddp", "shard"), marks=pytest.mark.slow)]
)
def test_a_run_goes_on_with_another_number_of_processes(
    order: tuple[str, ...], one: Run, corpus: Corpus, processes: Processes, tmp_path: Path
):
    folder = tmp_path / "run"
    # Checkpoints after 5 and 10; annealing from step 1 to step 7.
    for how, stop in zip(order, (6, 11, None), strict=True):
        if how == "one":
            result = trained(CONFIG, corpus.folder, folder, HALVES, stop)
        else:
            machine = Machine.from_dict({"parallel": how})
            result, other = processes.run(2, trained, CONFIG, corpus.folder, folder, machine, stop)
            if stop is not None:
                assert other == f"PeerFailed: process 0 failed: KeyboardInterrupt: saved at step {stop - 1}"
        assert stop is None or result == f"KeyboardInterrupt: saved at step {stop - 1}"
    assert_same(load_run(folder), one)


def test_a_resumed_run_looks_for_patterns_before_its_first_step(corpus: Corpus, tmp_path: Path):
    train(CONFIG, corpus, tmp_path / "straight")
    assert (
        trained(CONFIG, corpus.folder, tmp_path / "stopped", Machine(), 11)
        == "KeyboardInterrupt: saved at step 10"
    )
    train(CONFIG, corpus, tmp_path / "stopped")
    assert_same(load_run(tmp_path / "stopped"), load_run(tmp_path / "straight"))


def test_micro_batches_in_each_of_two_processes(corpus: Corpus, processes: Processes):
    config = CONFIG.replace(train=CONFIG.train.replace(steps=4))
    ddp, shard = (
        processes.run(
            2, stepped, config, corpus.folder, Machine.from_dict({"parallel": how, "micro_rows": 2})
        )[0]
        for how in ("ddp", "shard")
    )
    assert ddp[0] == shard[0]
    assert stepped(config, corpus.folder, Machine())[0] == pytest.approx(ddp[0], abs=1e-5)


@pytest.mark.parametrize("parallel", [pytest.param("ddp", marks=pytest.mark.slow), "shard"])
def test_three_processes(parallel: str, corpus: Corpus, processes: Processes):
    recipe = CONFIG.train.replace(rows=6, steps=8, anneal_stop=0.3)
    config = CONFIG.replace(train=recipe)
    seen = processes.run(3, stepped, config, corpus.folder, Machine.from_dict({"parallel": parallel}))
    losses, density, _, entries = seen[0]
    assert [one[0] for one in seen] == [losses] * 3
    assert losses == pytest.approx(stepped(config, corpus.folder, Machine())[0], abs=1e-5)
    kept = sum(rows * columns // 8 for rows, columns in ((396, 132), (132, 132), (263, 132), (132, 263)))
    assert density == kept / (396 * 132 + 132 * 132 + 2 * 263 * 132)
    held = [one[2] for one in seen]
    if parallel == "ddp":
        assert held == [entries] * 3
    else:
        assert sum(held) == entries
        assert max(held) < 0.34 * entries


def test_what_processes_tell_one_another(processes: Processes):
    for flags, numbers, text in processes.run(2, told):
        assert flags == [False, True, True]
        assert numbers == [[0, 0.1], [1, 0.1]]
        assert text == "from 0"


@pytest.mark.parametrize(("where", "how"), [(0, "on_main"), (0, "alone"), (1, "alone")])
def test_an_error_of_one_process_ends_all_with_its_message(where: int, how: str, processes: Processes):
    said = processes.run(2, failing, where, how)
    assert said[where] == "ValueError: no more of it"
    assert said[1 - where] == f"PeerFailed: process {where} failed: ValueError: no more of it"


def test_an_error_of_all_is_told_once(processes: Processes):
    said = processes.run(3, failing, None, "alone")
    assert sum(text == "ValueError: no more of it" for text in said) == 1
    assert sum("PeerFailed: process" in text for text in said) == 2


def test_of_a_process_that_was_killed_the_others_say_that_it_is_gone(processes: Processes):
    said, killed = processes.run(2, failing, 1, "killed")
    assert killed == "signal 9"
    assert said.startswith("PeerGone: process 1 is gone: it was killed, or has not answered for 10 minutes")


@pytest.fixture
def short(config: RunConfig) -> RunConfig:
    """Five steps, validated after 2, 4 and 5; a checkpoint at the end, and where the loss is the lowest."""
    changes = {"steps": 5, "eval_every": 2, "checkpoint_every": 100, "revive_every": 100}
    return config.replace(train=type(config.train).from_dict({**config.train.to_dict(), **changes}))


def test_the_first_process_decides_what_is_saved(
    short: RunConfig, corpus: Corpus, processes: Processes, tmp_path: Path
):
    one, other = processes.run(2, parting, short, corpus.folder, tmp_path / "run", "best", "ddp")
    assert one == other
    assert load_run(tmp_path / "run").result() is not None
    assert (tmp_path / "run" / "checkpoints" / "step_000002").is_dir()


def test_a_signal_to_any_process_is_a_signal_to_all(
    short: RunConfig, corpus: Corpus, processes: Processes, tmp_path: Path
):
    said = processes.run(2, parting, short, corpus.folder, tmp_path / "run", "term", "ddp")
    assert said == ["Terminated: saved at step 3"] * 2
    assert (tmp_path / "run" / "checkpoints" / "step_000003").is_dir()


def test_nan_in_the_rows_of_one_process_is_named_by_all(
    short: RunConfig, corpus: Corpus, processes: Processes, tmp_path: Path
):
    said = processes.run(2, parting, short, corpus.folder, tmp_path / "run", "weight", "shard")
    assert said[0] == said[1]
    assert said[0].startswith("TrainingDiverged: step 3: transformer.h.0.mlp.c_fc.weight is nan;")
    (event,) = load_run(tmp_path / "run").events()
    assert (event["event"], event["step"]) == ("diverged", 3)


def test_a_process_holds_its_rows_alone_and_the_first_one_gathers(
    short: RunConfig, corpus: Corpus, processes: Processes, tmp_path: Path
):
    (whole, made), (other_whole, other_made) = processes.run(2, held, short, corpus.folder, tmp_path / "run")
    assert (whole, other_whole) == (0, 0)
    assert made >= 2  # a checkpoint, and the end
    assert other_made == 0


def test_shards_are_not_revived(short: RunConfig, processes: Processes):
    message = "TrainConfig.revive needs whole weights; share the work by ddp, or revive none"
    assert processes.run(2, revived, short) == [message] * 2


def test_how_long_a_process_waits(processes: Processes):
    assert processes.run(2, patience) == [[600, 24 * 3600]] * 2


def test_rows_that_cannot_be_shared(corpus: Corpus, processes: Processes, tmp_path: Path):
    said = processes.run(3, trained, CONFIG, corpus.folder, tmp_path / "run", Machine())
    message = "ConfigError: a batch of 16 rows (train.rows) cannot be shared by 3 processes"
    assert sum(message in text for text in said) == 3  # by itself once, as what a peer said twice
    assert not (tmp_path / "run").exists()


def test_ways_to_share_the_work_that_do_not_fit(processes: Processes, monkeypatch: pytest.MonkeyPatch):
    with (
        pytest.raises(ConfigError, match="parallel is 'ddp', but this is one process; start it by torchrun"),
        join(Machine(parallel="ddp")),
    ):
        pass
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(ConfigError, match="'none', but 2 processes would train the same run"),
        join(Machine(parallel="none")),
    ):
        pass
    monkeypatch.setenv("WORLD_SIZE", "1")
    with join(Machine(parallel="shard", device="cpu")) as team:
        assert (team.world, team.kind, team.main) == (1, "none", True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there():
    with (
        pytest.raises(ConfigError, match="device is 'cuda', but torch finds no CUDA device"),
        join(Machine(device="cuda")),
    ):
        pass
    with pytest.raises(ConfigError, match="allowed: auto, cpu, cuda, cuda:N"):
        Machine(device="gpu")
