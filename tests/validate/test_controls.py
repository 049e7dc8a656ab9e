"""Nonsense tasks, random weights, and what their circuits' sizes say."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sparsecircuits.data.idioms.names import SPLITS
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import ConfigError, PruneError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.tasks.pairs import Task, TokenPairs
from sparsecircuits.validate.controls import ControlResult, nonsense_control, random_weights_control
from sparsecircuits.validate.nonsense import MAPS, Map, NonsenseTask, nonsense_tasks
from sparsecircuits.validate.planted.controls import planted_controls
from sparsecircuits.validate.prune_controls import (
    SCALES,
    Control,
    controls_of,
    mask_steps,
    prune_controls,
    real_one,
    rounds,
    trained_scale,
)
from sparsecircuits.validate.random_weights import reinitialised, shuffled
from tests.prune import planted as toys
from tests.prune.planted import SETTINGS, STRING_CLOSING
from tests.validate.subjects import planted

ALONE = dataclasses.replace(STRING_CLOSING, name="alone", form="one_against_all")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return toys.byte_tokenizer()


def drawn(task: Task, tokenizer: Tokenizer, split: str = "train", seed: int = 0) -> TokenPairs:
    return task.pairs(tokenizer, split, 6, seed=seed, max_tokens=16)  # type: ignore[arg-type]


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text)


def test_the_maps_come_in_their_order():
    names = [task.name for task in nonsense_tasks(STRING_CLOSING)]
    assert names == [
        f"string_closing:nonsense-{which}"
        for which in ("pair-0", "wrong-0", "constant-0", "pair-1", "pair-2")
    ]
    assert {task.base for task in nonsense_tasks(STRING_CLOSING)} == {"string_closing"}
    assert [task.name for task in nonsense_tasks(STRING_CLOSING, 2)] == names[:2]
    for count in (0, 6):
        with pytest.raises(ConfigError, match=f"{count} nonsense tasks; there are 1 to 5"):
            nonsense_tasks(STRING_CLOSING, count)


@pytest.mark.parametrize("map", MAPS)
@pytest.mark.parametrize("task", [STRING_CLOSING, ALONE])
def test_prompts_are_the_tasks_own(task: Task, map: Map, tokenizer: Tokenizer):
    for split in SPLITS:
        real = drawn(task, tokenizer, split, seed=3)
        nonsense = drawn(NonsenseTask.make(task, map), tokenizer, split, seed=3)
        turned = task is ALONE and map.kind == "wrong"
        assert torch.equal(nonsense.tokens, real.tokens.roll(6, 0) if turned else real.tokens)
        assert torch.equal(nonsense.last, real.last)
        assert nonsense.task == f"{task.name}:{map}"
        assert nonsense.hash != real.hash
        assert [pair.left for pair in nonsense.texts] == [
            pair.right if turned else pair.left for pair in real.texts
        ]


@pytest.mark.parametrize("task", [STRING_CLOSING, ALONE])
def test_a_pair_of_tokens_stands_for_the_two_answers(task: Task, tokenizer: Tokenizer):
    """The same two in every split and with every seed of the prompts; neither is an answer."""
    tokens = set()
    for split, seed in (("train", 0), ("validation", 1), ("heldout", 2)):
        pairs = drawn(NonsenseTask.make(task, Map("pair", 0)), tokenizer, split, seed)
        left, right = pairs.target[:6].unique().tolist(), pairs.target[6:].unique().tolist()
        assert torch.equal(pairs.other, pairs.target.roll(6))
        assert pairs.form == "contrast"
        tokens.add((*left, *right))
    ((first, second),) = tokens
    assert first != second
    assert not {first, second} & {*ids(tokenizer, "'\""), tokenizer.eot_id}
    assert all(tokenizer.text(id).isprintable() for id in (first, second))
    assert pairs.texts[0].left_answer == tokenizer.text(first)


def test_another_seed_or_task_has_other_tokens(tokenizer: Tokenizer):
    other = dataclasses.replace(STRING_CLOSING, name="other")
    tasks = [NonsenseTask.make(STRING_CLOSING, Map("pair", seed)) for seed in (0, 1, 2)]
    tasks.append(NonsenseTask.make(other, Map("pair", 0)))
    found = {tuple(drawn(task, tokenizer).target[[0, 6]].tolist()) for task in tasks}
    assert len(found) == 4


def test_no_token_is_an_answer_of_the_task(tokenizer: Tokenizer):
    """Of a hundred seeds, some would draw a quote from the ninety printable bytes if they were there."""
    quotes = set(ids(tokenizer, "'\""))
    for seed in range(100):
        tokens = drawn(NonsenseTask.make(STRING_CLOSING, Map("pair", seed)), tokenizer).target
        assert not quotes & set(tokens.tolist()), seed


def test_each_of_many_answers_has_a_token_of_its_own():
    """``induction`` repeats one of four letters: the map is of letters, not of left and right."""
    model = planted("induction")
    cipher = NonsenseTask.make(model.task, Map("pair", 0))
    real, nonsense = (
        task.pairs(model.tokenizer, "train", 200, max_tokens=40) for task in (model.task, cipher)
    )
    before = torch.cat([real.target, real.other]).tolist()
    after = torch.cat([nonsense.target, nonsense.other]).tolist()
    letters = dict(zip(before, after, strict=True))
    assert len(letters) == 4
    assert [letters[id] for id in before] == after
    assert len(set(letters.values())) == 4
    assert not set(letters.values()) & set(letters)


def test_wrong_exchanges_the_answers(tokenizer: Tokenizer):
    real, wrong = (drawn(t, tokenizer) for t in (STRING_CLOSING, NonsenseTask.make(STRING_CLOSING, MAPS[1])))
    assert torch.equal(wrong.target, real.other)
    assert torch.equal(wrong.other, real.target)
    assert wrong.texts[0].left_answer == real.texts[0].right_answer
    alone = drawn(NonsenseTask.make(ALONE, MAPS[1]), tokenizer)
    assert alone.form == "one_against_all"
    assert alone.target.tolist() == drawn(ALONE, tokenizer).target.tolist()


@pytest.mark.parametrize("task", [STRING_CLOSING, ALONE])
def test_constant_is_one_token_against_the_right_answer(task: Task, tokenizer: Tokenizer):
    pairs = drawn(NonsenseTask.make(task, Map("constant")), tokenizer)
    (single,), (double,) = ids(tokenizer, "'"), ids(tokenizer, '"')
    assert len(pairs.target.unique()) == 1
    assert pairs.target[0] not in (single, double)
    assert pairs.other[:6].tolist() == [single] * 6
    assert pairs.other[6:].tolist() == [single if task is ALONE else double] * 6
    assert pairs.form == "contrast"


@pytest.fixture(scope="module")
def sparse() -> SparseGPT:
    """Two layers, one weight in four, every kind of parameter; q a hundred times as large as k and v."""
    model = SparseGPT(GPTConfig(vocab_size=257, n_ctx=16, n_layer=2, d_model=16, d_head=4, d_mlp=24), seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.normal_(0, 0.3, generator=generator)
            if parameter.ndim == 2 or name.endswith(".bias"):
                share = 0.6 if parameter.ndim == 1 else 0.25
                parameter.mul_(torch.rand(parameter.shape, generator=generator) < share)
            if "sink" in name:
                parameter.normal_(0, 1, generator=generator)
        model.blocks[0].attn.c_attn.weight[:16] *= 100  # type: ignore[union-attr]
    return model.eval()


@pytest.mark.parametrize("make", [reinitialised, shuffled])
def test_zeros_stay_where_they_are_and_sizes_what_they_were(make, sparse: SparseGPT):
    before = {name: tensor.clone() for name, tensor in sparse.state_dict().items()}
    after, again, other = (make(sparse, seed).state_dict() for seed in (0, 0, 1))
    for name, weight in before.items():
        assert torch.equal(sparse.state_dict()[name], weight), "the model itself is left alone"
        assert torch.equal(after[name] == 0, weight == 0), name
        assert torch.equal(after[name], again[name])
        if "ln_" in name or "sink" in name or name == "bigram_table":
            assert torch.equal(after[name], weight), name
            continue
        assert not torch.equal(after[name], weight), name
        assert not torch.equal(after[name], other[name]), name
        parts = (w.chunk(3) if "c_attn" in name else (w,) for w in (weight, after[name]))
        for old, new in zip(*parts, strict=True):
            if make is shuffled:
                assert torch.equal(old[old != 0].sort().values, new[new != 0].sort().values)
            elif int((old != 0).sum()) > 50:
                ratio = float(new.square().sum() / old.square().sum())
                assert 0.5 < ratio < 2, (name, ratio)


def test_a_sparse_copy_gives_the_same(sparse: SparseGPT):
    for make in (reinitialised, shuffled):
        dense, packed = make(sparse, 4).state_dict(), make(sparse.to_sparse(), 4).state_dict()
        assert all(torch.equal(dense[name], packed[name]) for name in dense)


REAL = ControlResult(kind="real", nodes=10, edges=8, loss=0.1, stochastic=0.2)
PAIR = ControlResult(kind="nonsense-pair", nodes=40, edges=16, loss=0.1, stochastic=2.0)
WRONG = ControlResult(kind="nonsense-wrong", nodes=90, edges=80, loss=0.1, stochastic=0.3)
CONSTANT = ControlResult(kind="nonsense-constant", loss=1.5, unreachable=True)
RANDOM = ControlResult(kind="random-weights", seed=1, nodes=100, edges=99, loss=0.1, stochastic=0.9)


def test_the_smallest_control_is_judged():
    """40 and 90 nodes against 10; the one that is as good while nodes come back (0.3 = 2 x 0.15) has 90."""
    outcome = nonsense_control(REAL, [PAIR, WRONG, CONSTANT, RANDOM], target=0.15)
    assert (outcome.test, outcome.estimate, outcome.passed) == ("T8", 4.0, False)
    assert outcome.figures["geometric_mean"] == pytest.approx(6.0)
    assert (outcome.figures["reachable"], outcome.figures["of"]) == (2, 2)
    assert outcome.figures["edge_ratio"] == 2.0
    assert outcome.figures["ratio_at_stochastic"] == 9.0
    assert outcome.settings["controls"] == ["nonsense-pair-0", "nonsense-wrong-0"]
    assert outcome.figures["beside"] == [CONSTANT.to_dict()]


def test_a_constant_is_told_beside_and_not_judged():
    """One node that always says the same needs nothing from the prompt."""
    small = ControlResult(kind="nonsense-constant", nodes=1, edges=0, loss=0.1)
    outcome = nonsense_control(REAL, [WRONG, small], target=0.15)
    assert outcome.estimate == 9.0
    assert outcome.figures["beside"][0]["nodes"] == 1
    assert nonsense_control(REAL, [small], target=0.15).word == "open"


def test_ten_times_the_nodes_is_enough():
    outcome = random_weights_control(REAL, [PAIR, RANDOM], target=0.15)
    assert (outcome.test, outcome.estimate, outcome.passed) == ("T9", 10.0, True)
    smaller = dataclasses.replace(RANDOM, nodes=99)
    assert random_weights_control(REAL, [smaller], target=0.15).passed is False


def test_none_that_reaches_the_target_is_a_pass():
    unreachable = dataclasses.replace(PAIR, nodes=None, edges=None, unreachable=True)
    outcome = nonsense_control(REAL, [unreachable], target=0.15)
    assert (outcome.estimate, outcome.passed, outcome.word) == (None, True, "pass")
    assert outcome.note == "none of 1 reaches the target"
    assert outcome.figures["geometric_mean"] is None


def test_a_circuit_of_nothing_is_the_worst_control():
    """A control without any node is a circuit too; a real circuit of none counts as one of one node."""
    nothing = dataclasses.replace(PAIR, nodes=0, edges=0)
    outcome = nonsense_control(REAL, [nothing, WRONG], target=0.15)
    assert (outcome.estimate, outcome.passed, outcome.figures["geometric_mean"]) == (0.0, False, None)
    assert nonsense_control(nothing, [PAIR], target=0.15).estimate == 40.0


def test_open_where_there_is_nothing_to_compare():
    assert nonsense_control(REAL, [RANDOM], target=0.15).word == "open"
    assert nonsense_control(None, [PAIR], target=0.15).word == "open"
    unreachable = ControlResult(kind="real", unreachable=True)
    assert nonsense_control(unreachable, [PAIR], target=0.15).word == "open"


def test_controls_by_name(tokenizer: Tokenizer):
    found = controls_of(STRING_CLOSING, {"nonsense": 2, "shuffled-weights": 2})
    names = ["nonsense-pair-0", "nonsense-wrong-0", "shuffled-weights-0", "shuffled-weights-1"]
    assert [one.name for one in found] == names
    order = [[one.name for one in some] for some in rounds([*found, real_one(STRING_CLOSING)])]
    assert order == [["real"], names[:2], names[2:3], names[3:]]
    assert mask_steps(found, SETTINGS) == 4 * len(SCALES) * SETTINGS.steps
    for counts in ({"chance": 1}, {"random-weights": 0}):
        with pytest.raises(ConfigError, match="known: nonsense, random-weights, shuffled-weights"):
            controls_of(STRING_CLOSING, counts)


def pruned(model: SparseGPT, controls: list[Control], tokenizer: Tokenizer) -> list[ControlResult]:
    scale = trained_scale(model, STRING_CLOSING, tokenizer, SETTINGS)
    found = prune_controls(model, controls, tokenizer, toys.corpus(tokenizer), SETTINGS, scale=scale)
    assert all((one.circuit is None) == one.result.unreachable for one in found)
    return [one.result for one in found]


def test_nonsense_that_a_model_does_is_found_and_fails_it(tokenizer: Tokenizer):
    """Its tokens are read off where the quotes are: the same three nodes do it. ``wrong`` cannot be done."""
    model = toys.attention_model(tokenizer)
    real, pair, wrong = real_one(STRING_CLOSING), *controls_of(STRING_CLOSING, {"nonsense": 2})
    before = pruned(model, [real, pair], tokenizer)
    assert before[0].nodes == 3
    assert before[1].unreachable
    assert before[1].loss == pytest.approx(0.693, abs=0.001)  # of tokens that nothing is read off for
    tokens = drawn(pair.task, tokenizer).target[[0, 6]]
    with torch.no_grad():
        model.lm_head.weight[tokens[0], toys.WRITTEN] = 10
        model.lm_head.weight[tokens[1], toys.WRITTEN] = -10
    after = pruned(model, [real, pair, wrong], tokenizer)
    assert [one.nodes for one in after[:2]] == [3, 3]
    assert after[1].stochastic is not None
    outcome = nonsense_control(after[0], after[1:], target=SETTINGS.target)
    assert (outcome.estimate, outcome.passed) == (1.0, False)


def test_a_control_may_take_the_scale_that_it_needs(tokenizer: Tokenizer):
    """Tokens that are read off at a twentieth of the size: at the trained scale their loss is too high."""
    model = toys.attention_model(tokenizer)
    (pair,) = controls_of(STRING_CLOSING, {"nonsense": 1})
    tokens = drawn(pair.task, tokenizer).target[[0, 6]]
    scale = trained_scale(model, STRING_CLOSING, tokenizer, SETTINGS)
    with torch.no_grad():
        model.lm_head.weight[tokens[0], toys.WRITTEN] = 0.3
        model.lm_head.weight[tokens[1], toys.WRITTEN] = -0.3
    found = prune_controls(model, [pair], tokenizer, toys.corpus(tokenizer), SETTINGS, scale=scale)[0].result
    assert found.nodes == 3
    assert found.scale == pytest.approx(SCALES[-1] * scale)


def test_a_model_that_cannot_do_the_real_task_has_no_controls(tokenizer: Tokenizer):
    with pytest.raises(PruneError, match="full model's own loss"):
        pruned(toys.refusing_model(tokenizer), [real_one(STRING_CLOSING)], tokenizer)


def test_controls_of_a_planted_model():
    from sparsecircuits.validate.planted.pruners import SETTINGS as FEW

    model = planted("bigram")
    found = planted_controls(model, maps=0, config=FEW.replace(steps=40), weights=1)
    assert found.circuit is not None
    assert found.circuit.nodes == model.truth.minimal[0].nodes
    assert found.real.nodes == len(found.circuit)
    assert [one.name for one in found.controls] == ["random-weights-0", "shuffled-weights-0"]
