"""Every task with the tokenizers that other people's models have: what fits, and what is refused and why."""

from __future__ import annotations

import ast
import json
import os
import re
import time
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
import tokenizers
import torch
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from sparsecircuits.data import ForeignTokenizer, Tokenizer, open_tokenizer
from sparsecircuits.data.idioms import endless_idioms
from sparsecircuits.data.idioms.names import SPLITS
from sparsecircuits.data.stories import endless_stories
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import TaskError
from sparsecircuits.examples import example_folder
from sparsecircuits.tasks import STORY_TASKS, TASKS, describe_tasks, get_task
from sparsecircuits.tasks.pairs import Task, TextPair

RELEASE = Path(
    os.environ.get("TINYPYTHON_TOK_DIR", Path(__file__).parents[3] / "shared" / "release" / "tinypython_2k")
)
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ENTRIES = 1500


@cache
def texts() -> list[str]:
    """Programs and stories, so that the words of all tasks are entries."""
    return [*islice(endless_idioms(11), 1500), *islice(endless_stories(11), 1500)]


def trained(
    backend: tokenizers.Tokenizer, trainer: trainers.Trainer, training_texts: list[str] | None = None
) -> tokenizers.Tokenizer:
    backend.train_from_iterator(training_texts or texts(), trainer=trainer)
    return backend


def byte_level(pre_tokenizer: pre_tokenizers.PreTokenizer, special: str) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer  # type: ignore[assignment]
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return trained(
        backend,
        trainers.BpeTrainer(
            vocab_size=ENTRIES,
            special_tokens=[special],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )


def gpt2_like() -> tokenizers.Tokenizer:
    """Its own pattern: punctuation and line ends are never one token, line ends and spaces are."""
    return byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), "<|endoftext|>")


def llama3_like() -> tokenizers.Tokenizer:
    steps = [
        pre_tokenizers.Split(Regex(LLAMA_3), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    return byte_level(pre_tokenizers.Sequence(steps), "<|begin_of_text|>")


SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def llama_like() -> tokenizers.Tokenizer:
    """``▁`` for a space, one in front of a text, and a token for each byte that has no entry (line ends)."""
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")  # type: ignore[assignment]
    cut = Regex(r"▁?\p{L}+|▁+(?=▁)|▁|\p{N}|[^\p{L}\p{N}▁]+")
    backend.pre_tokenizer = pre_tokenizers.Split(cut, behavior="isolated")  # type: ignore[assignment]
    lines = [line for text in texts() for line in text.splitlines()]
    trainer = trainers.BpeTrainer(
        vocab_size=ENTRIES + 256, special_tokens=SPECIAL + BYTES, show_progress=False
    )
    trained(backend, trainer, lines)
    # What training needed is not part of such a tokenizer, and its bytes are no special tokens.
    content = json.loads(backend.to_str())
    content["added_tokens"] = content["added_tokens"][: len(SPECIAL)]
    content["pre_tokenizer"] = None
    fresh = tokenizers.Tokenizer.from_str(json.dumps(content))
    fresh.normalizer = normalizers.Sequence(  # type: ignore[assignment]
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    fresh.decoder = decoders.Sequence(  # type: ignore[assignment]
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fresh.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return fresh


def unigram_like() -> tokenizers.Tokenizer:
    """As sentencepiece makes them: white space of any length is one space, which every text begins with."""
    backend = unigram(["<pad>", "</s>", "<unk>"], texts())
    backend.normalizer = normalizers.Replace(Regex(r"\s+"), " ")  # type: ignore[assignment]
    return backend


def gemma_like() -> tokenizers.Tokenizer:
    """No space in front of a text, and a token for each byte that has no entry."""
    lines = [line for text in texts() for line in text.splitlines()]
    content = json.loads(unigram(SPECIAL + BYTES, lines).to_str())
    content["added_tokens"] = content["added_tokens"][: len(SPECIAL)]
    content["model"]["byte_fallback"] = True
    content["pre_tokenizer"]["prepend_scheme"] = "never"
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def unigram(special: list[str], training_texts: list[str]) -> tokenizers.Tokenizer:
    """Its entries are words or punctuation, not both."""
    backend = tokenizers.Tokenizer(models.Unigram())
    metaspace = pre_tokenizers.Metaspace()
    cut = pre_tokenizers.Split(Regex(r"[^\p{L}\p{N}▁]+"), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([metaspace, cut])  # type: ignore[assignment]
    backend.decoder = decoders.Metaspace()  # type: ignore[assignment]
    trainer = trainers.UnigramTrainer(
        vocab_size=ENTRIES + len(special), special_tokens=special, unk_token="<unk>", show_progress=False
    )
    trained(backend, trainer, training_texts)
    backend.pre_tokenizer = metaspace  # type: ignore[assignment]
    return backend


def bert_like() -> tokenizers.Tokenizer:
    """WordPiece in small letters, which drops white space."""
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)  # type: ignore[assignment]
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    backend.decoder = decoders.WordPiece()  # type: ignore[assignment]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    return trained(
        backend, trainers.WordPieceTrainer(vocab_size=ENTRIES, special_tokens=special, show_progress=False)
    )


KINDS = {
    "gpt2": gpt2_like,
    "llama3": llama3_like,
    "llama": llama_like,
    "gemma": gemma_like,
    "unigram": unigram_like,
    "bert": bert_like,
}
KEEPING = ("gpt2", "llama3", "llama")
"""Those that keep every text; so does ``gemma``, whose entries are too few for the words of the stories."""


@cache
def foreign(kind: str) -> ForeignTokenizer:
    return ForeignTokenizer(KINDS[kind](), kind)


def candidates(tokenizer: TextTokenizer, task: Task) -> tuple[str, str]:
    pairs = task.pairs(tokenizer, "train", 2)
    other = int(pairs.target[2])
    return tokenizer.text(int(pairs.target[0])), tokenizer.text(other) if other >= 0 else "not"


@pytest.mark.parametrize(
    ("kind", "name"),
    [*((kind, name) for kind in KEEPING for name in (*TASKS, *STORY_TASKS)), *(("gemma", n) for n in TASKS)],
)
def test_every_task_fits_what_keeps_a_text(kind: str, name: str):
    tokenizer, task = foreign(kind), get_task(name)
    for split in SPLITS:
        pairs = task.pairs(tokenizer, split, 12, max_tokens=128)
        lengths = (pairs.last + 1).tolist()
        assert lengths[:12] == lengths[12:]
        assert max(lengths) <= 128
        assert pairs.tokens[:, 0].tolist() == [tokenizer.eot_id] * 24
        assert pairs.marked.any(1).all()
        ends = pairs.tokens[torch.arange(24), pairs.last]
        assert torch.equal(ends[:12], ends[12:]) == task.same_last
        for i, text in enumerate(pairs.texts):
            sides = ((i, text.left, text.left_answer), (12 + i, text.right, text.right_answer))
            for row, prompt, answer in sides:
                ids = pairs.tokens[row, 1 : int(pairs.last[row]) + 1].tolist()
                follows = int(pairs.target[row] if pairs.target[row] >= 0 else pairs.other[row])
                read = tokenizer.decode([*ids, follows] if task.form == "contrast" else ids)
                assert (prompt + answer).startswith(read.removeprefix(" ") if kind == "llama" else read)


GPT2 = {
    "single_double_quote": ("')", '")'),
    "bracket_counting": ("]", "]]"),
    "set_or_string": (".", " +="),
    "for_while": (" in", ":"),
    "with_as": (" as", "\n"),
    "if_equals": (" ==", " ="),
    "var_if": (":", "\n"),
    "enumerate_range": (" enumerate", " range"),
    "fstring_brace": (" {", "not"),
    "else_elif": (":", "not"),
    "final_kwarg": ("=", "):"),
    "indent_for": ("\n       ", "\n   "),
    "quotation": ('."', ".'"),
}
LLAMA_3_ = {
    "single_double_quote": ("')\n", '")\n'),
    "bracket_counting": ("]\n", "]]\n"),
    "set_or_string": (".add", " +="),
    "for_while": (" in", ":\n"),
    "with_as": ('")', '")\n'),
    "if_equals": (" ==", " ="),
    "var_if": (":\n", "\n"),
    "final_kwarg": ("=None", "):\n"),
    "indent_for": ("       ", "   "),
    "quotation": ('."\n', ".'\n"),
}
LLAMA = {
    "single_double_quote": ("')", '")'),
    "bracket_counting": ("]", "]]"),
    "for_while": (" in", ":"),
    "with_as": (" as", "\n"),
    "var_if": (":", "\n"),
    "pronoun": (" he", " she"),
}
GEMMA = {
    "single_double_quote": ("'", '"'),
    "bracket_counting": ("\n", "]"),
    "var_if": (":", "\n"),
    "bracket_brace": (":", ","),
    "final_kwarg": ("=", ")"),
}
BERT = {"pronoun": (" he", " she"), "question_mark": (" ?", " ."), "number_agreement": (" is", " are")}
FOUND = [
    (kind, name, expected)
    for kind, table in (
        ("gpt2", GPT2),
        ("llama3", LLAMA_3_),
        ("llama", LLAMA),
        ("gemma", GEMMA),
        ("bert", BERT),
    )
    for name, expected in table.items()
]


@pytest.mark.parametrize(("kind", "name", "expected"), FOUND)
def test_candidates_are_the_tokens_that_follow(kind: str, name: str, expected: tuple[str, str]):
    """The line end is part of a closing token where the tokenizer makes one token of both."""
    assert candidates(foreign(kind), get_task(name)) == expected


@pytest.mark.parametrize(
    ("kind", "name"), [*(("bert", name) for name in TASKS), ("unigram", "var_if"), ("unigram", "indent_for")]
)
def test_code_is_refused_with_its_tokens_where_line_ends_are_lost(kind: str, name: str):
    with pytest.raises(TaskError, match="the tokenizer does not keep the text; it reads ['\"] ") as error:
        TASKS[name].pairs(foreign(kind), "train", 8)
    assert "0 of 8 pairs fit this tokenizer" in str(error.value)
    assert "\n  left  " in str(error.value)
    assert "\n  right " in str(error.value)


@pytest.mark.parametrize("kind", ["bert", "unigram"])
@pytest.mark.parametrize("name", STORY_TASKS)
def test_stories_bear_lost_line_ends_and_capitals(kind: str, name: str):
    pairs = STORY_TASKS[name].pairs(foreign(kind), "train", 8, max_tokens=128)
    assert len(pairs) == 8
    assert (pairs.tokens[:, 0] == foreign(kind).eot_id).all()
    assert foreign(kind).text(foreign(kind).eot_id) == {"bert": "[CLS]", "unigram": "</s>"}[kind]


def test_what_is_lost_is_shown_token_by_token():
    text = TextPair("print('name", 'print("name', "')\n", '")\n', "quotes")
    task = Task("toy", "a toy", "contrast", lambda rng, split, room: text, suite="python")
    with pytest.raises(TaskError) as error:
        task.pairs(foreign("bert"), "train", 1)
    assert """it reads " print ( ' name ' )\"""" in str(error.value)
    assert """=> " '" ' )'\n""" in str(error.value)


def test_a_character_without_an_entry_is_refused_in_any_text():
    text = TextPair("the § cat", "the § dog", " is\n", " was\n", "t")
    task = Task("toy", "a toy", "contrast", lambda rng, split, room: text, same_last=False)
    with pytest.raises(TaskError, match=r"does not keep the text; it reads ' the\[UNK\] cat is'"):
        task.pairs(foreign("bert"), "train", 1)


def test_two_statements_even_out_a_pair():
    """``if x`` is two tokens here, ``    x`` three or more; the statements stand in the block before it."""
    pairs = TASKS["if_equals"].pairs(foreign("gpt2"), "train", 40)
    assert pairs.fitted
    assert not TASKS["if_equals"].pairs(foreign("llama3"), "train", 40).fitted
    for text in pairs.texts:
        *left, _ = text.left.split("\n")
        *right, _ = text.right.split("\n")
        assert left[:-1] == right[:-1]
        assert left[-1] != right[-1]
        assert left[-1].startswith("    ")
        assert right[-1].startswith("    ")
        for prompt, answer in ((text.left, text.left_answer), (text.right, text.right_answer)):
            ast.parse(prompt + answer + "    pass\n")
            assert not text.words & set(re.findall(r"\w+", prompt.split("\n")[-2]))


def characters() -> ForeignTokenizer:
    """A token for each byte, and ``<s>``."""
    entries = ["<s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = tokenizers.Tokenizer(models.BPE(vocab={e: i for i, e in enumerate(entries)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return ForeignTokenizer(backend)


def test_evening_by_hand():
    """``"x`` is a token shorter than ``f"x``: ``aa`` goes before the first, ``a`` before the second."""
    text = TextPair('q\n"x', 'q\nf"x', "1\n", "2\n", "t")
    task = Task(
        "toy",
        "a toy",
        "contrast",
        lambda rng, split, room: text,
        line=lambda rng, *_: rng.choice("ab") + "\n",
    )
    with pytest.raises(TaskError, match="the prompts have 4 and 5 tokens"):
        task.pairs(characters(), "train", 1)
    task = replace(task, line=lambda rng, *_: rng.choice(("a\n", "aa\n")))
    pairs = task.pairs(characters(), "train", 1)
    assert (pairs.texts[0].left, pairs.texts[0].right) == ('q\naa\n"x', 'q\na\nf"x')
    assert pairs.last.tolist() == [7, 7]
    # <s> q \n a a \n " x  against  <s> q \n a \n f " x
    assert pairs.marked.tolist() == [[False, False, False, False, True, True, False, False]]
    assert pairs.fitted


def test_what_answers_share_goes_to_the_prompts_by_hand():
    """``")`` is two tokens here, both of them on both sides: what differs is ``:`` or a line end."""
    text = TextPair("f(x", "g(x", '"):\n', '")\n', "t")
    pairs = Task("toy", "a toy", "contrast", lambda rng, split, room: text).pairs(characters(), "train", 1)
    assert characters().decode(pairs.tokens[0, 1:].tolist()) == 'f(x")'
    assert [characters().text(int(token)) for token in pairs.target] == [":", "\n"]
    assert pairs.last.tolist() == [5, 5]
    assert pairs.fitted


def test_evened_decorators_and_bodies_stay_whole():
    """Prompts and answers are still Python; a statement is above a decorator, and in the block before it."""
    for name, body in (("final_kwarg", "    pass\n"), ("indent_for", ""), ("set_or_string", "")):
        pairs = TASKS[name].pairs(foreign("gpt2"), "heldout", 20)
        assert pairs.fitted
        for text in pairs.texts:
            ast.parse(text.left + text.left_answer + body)
            ast.parse(text.right + text.right_answer + body)
    assert any(
        "\n@" in text.left for text in TASKS["final_kwarg"].pairs(foreign("gpt2"), "heldout", 20).texts
    )


def test_white_space_that_melts_goes_to_the_answer():
    pairs = TASKS["indent_for"].pairs(foreign("gpt2"), "train", 8)
    tokenizer = foreign("gpt2")
    assert all(text.left.endswith("\n") for text in pairs.texts)
    ends = {tokenizer.text(int(pairs.tokens[row, pairs.last[row]])) for row in range(16)}
    assert not any(end.isspace() for end in ends)


@pytest.mark.parametrize("name", TASKS)
def test_the_bundled_tokenizer_needs_no_fitting(name: str):
    tokenizer = open_tokenizer(example_folder() / "tokenizer.json")
    assert isinstance(tokenizer, Tokenizer)
    assert not TASKS[name].pairs(tokenizer, "train", 40).fitted


def test_the_released_tokenizer_fits_every_task():
    if not RELEASE.is_dir():
        pytest.skip(f"the public tokenizer is not beside the checkout ({RELEASE.name})")
    tokenizer = open_tokenizer(RELEASE)
    rows = {row.name: row for row in describe_tasks(tokenizer)}
    assert rows["single_double_quote"].candidates == ("')\n", '")\n')
    assert rows["with_as"].candidates == ('")', '")\n')
    assert rows["lambda_func"].candidates == (":", "():\n")
    for task in (*TASKS.values(), *STORY_TASKS.values()):
        for split in SPLITS:
            assert len(task.pairs(tokenizer, split, 20, max_tokens=128)) == 20


def test_a_tokenizer_that_drops_everything_ends_in_an_error_soon():
    backend = tokenizers.Tokenizer(models.BPE(vocab={"<s>": 0, "x": 1}, merges=[]))
    start = time.process_time()
    with pytest.raises(TaskError, match="0 of 8 pairs fit this tokenizer"):
        TASKS["for_while"].pairs(ForeignTokenizer(backend), "train", 8)
    assert time.process_time() - start < 5
