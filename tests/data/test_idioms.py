"""The idioms: reproducible, valid Python, varied, frequent enough, and friendly to a small vocabulary."""

from __future__ import annotations

import ast
import random
import re
import time
from collections import Counter
from itertools import chain, islice

import pytest

from sparsecircuits.data.idioms import endless_idioms, idiom_document
from sparsecircuits.data.idioms.names import (
    ADJECTIVES,
    CLASSES,
    LETTERS,
    NOUNS,
    READ_FILES,
    SPLITS,
    VERBS,
    WRITE_FILES,
    compile_template,
    words,
)
from sparsecircuits.data.tokenizer import Tokenizer, train_tokenizer

POOLS = (NOUNS, VERBS, LETTERS, ADJECTIVES, CLASSES, READ_FILES, WRITE_FILES)


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return list(islice(endless_idioms(7), 4000))


@pytest.fixture(scope="module")
def tokenizer(documents: list[str]) -> Tokenizer:
    return train_tokenizer(documents, 1024)


def test_same_seed_same_documents():
    assert list(islice(endless_idioms(3), 50)) == list(islice(endless_idioms(3), 50))
    assert list(islice(endless_idioms(3), 50)) != list(islice(endless_idioms(4), 50))


def test_a_document_is_a_function_of_the_generator_alone():
    assert idiom_document(random.Random(5)) == idiom_document(random.Random(5))


def test_every_document_is_python(documents: list[str]):
    for text in documents[:1000]:
        assert ast.parse(text).body  # raises where it is none


def test_documents_are_short_and_end_their_last_line(documents: list[str], tokenizer: Tokenizer):
    lengths = sorted(map(len, tokenizer.encode_batch(documents)))
    assert 50 <= lengths[len(lengths) // 2] <= 110
    assert all(text.endswith("\n") for text in documents)


def test_documents_reuse_their_nouns(documents: list[str]):
    """At most five nouns a document, but in swaps and classes: with 30 to choose from, looking back pays."""
    nouns = set(words(NOUNS))
    for text in documents[:500]:
        text = re.sub(r"(\w+), (\w+) = \2, \1\n", "", text)
        text = re.sub(r"class \w+:\n[^\n]*\n( +self\.\w+ = \w+\n)+", "", text)
        assert len(nouns & set(re.findall(r"[a-z]+", text))) <= 5


def test_no_word_belongs_to_two_splits_or_pools():
    counts = Counter(chain.from_iterable(words(pool) for pool in POOLS))
    assert [word for word, count in counts.items() if count > 1] == []
    assert all(pool[split] for pool in POOLS for split in SPLITS)


def test_every_word_is_one_token(tokenizer: Tokenizer):
    # Files and adjectives only stand inside quotes: ("new name", (f"new name, ("input.txt".
    before = {id(NOUNS): ("", " ", "(", "."), id(ADJECTIVES): ("", '"')}
    before |= {id(READ_FILES): ("",), id(WRITE_FILES): ("",)}
    for pool in POOLS:
        for form in (prefix + word for prefix in before.get(id(pool), (" ",)) for word in words(pool)):
            assert len(tokenizer.encode(form)) == 1, form


@pytest.mark.parametrize(
    "token",
    [
        "('", '("', "')\n", '")\n', '")', " [", " [[", "]\n", "]]\n", " {", ":\n", "):\n", "():\n", "=None",
        " +=", ".add", " as", " enumerate", " range", " else", " ==", "       ", "   ",
    ],
)  # fmt: skip
def test_the_deciding_tokens_are_single(tokenizer: Tokenizer, token: str):
    assert token in {tokenizer.text(i) for i in range(tokenizer.vocab_size)}


@pytest.mark.parametrize(
    "pattern",
    [
        r"\('[\w ]+'\)\n", r'\("[\w ]+"\)\n', r" \[[a-z][^\[\]\n]*\]\n", r"\[\[[^\n]*\]\]\n",
        r"current\.add\(", r"current \+=", r"for \w+ in ", r"while \w+:", r"lambda \w+:", r"def \w+\(\):",
        r"with open\(.\w+\.\w+.\) as", r"= open\(.\w+\.\w+.\)\n", r"if \w+ == ", r"\n +\w+ = ",
        r"== True:", r"= True\n", r" \{\w+:", r" \[\w+,", r"in enumerate\(", r"in range\(", r"while True:",
        r"return True\n", r'\(f"\w+ \w+ \{', r"= \w+ if \w+ else ", r"\nif \w+:", r"else:\n", r"elif ",
        r"=None, \w+=None\):", r"def \w+\(\w+, \w+, \w+", r"(\w+), (\w+) = \2, \1\n", r"self\.(\w+) = \1\n",
        r"open\(.\w+\.\w+., .r", r"open\(.\w+\.\w+., .w", r"for [^\n]*: # \w+\n", r"[^:\n] # \w+\n",
    ],
)  # fmt: skip
def test_each_construction_is_frequent(documents: list[str], pattern: str):
    """At least once in 20 documents (some 1,000 tokens): thousands of times in a million tokens."""
    found = len(re.findall(pattern, "".join(documents)))
    assert found * 20 >= len(documents), found


def test_what_is_opened_is_closed_alike(documents: list[str]):
    """The rules that tasks measure have no exception in the text."""
    text = "".join(documents)
    for opening, closing in (("('", '")'), ('("', "')")):
        assert not re.search(re.escape(opening) + r"[\w .]+" + re.escape(closing), text)
    assert not re.search(r"= \[[^\[\]\n]*\]\]", text)
    assert re.findall(r"(?:for|while) \w+(?= in|:)", text)
    assert not re.search(r"while \w+ in", text)
    assert not re.search(r'\(f"\w+ \w+(?! \{)\b', text)


def test_gathering_follows_the_initial_value(documents: list[str]):
    """The statement after ``x = set()`` that begins with x is ``x.add``, after ``str()`` it is ``x +=``."""
    pattern = r"^ *(\w+) = (set|str)\(\)\n(?:.*:\n)? *\1(\.\w+| \W+)"
    counts = Counter(match[1:] for match in re.findall(pattern, "".join(documents), re.MULTILINE))
    assert set(counts) == {("set", ".add"), ("str", " += ")}
    assert min(counts.values()) > 300


def test_fast_enough():
    """A million characters a second at the very least (about nine million on an idle core)."""
    start, size = time.process_time(), 0
    for text in endless_idioms(0):
        size += len(text)
        if size > 500_000:
            break
    assert time.process_time() - start < 0.5


def test_compile_template_keeps_percent_and_braces():
    assert compile_template("$a % {$b}") % {"a": "x", "b": "y"} == "x % {y}"


def test_exceptions_are_handled_and_generators_yield(documents: list[str]):
    trees = [ast.parse(text) for text in documents]
    tries = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Try)]
    assert len(tries) > 400
    assert all(len(node.handlers) == 1 for node in tries)
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    yielding = [node for node in functions if any(isinstance(part, ast.Yield) for part in ast.walk(node))]
    assert 0.08 < len(yielding) / len(functions) < 0.2
    assert all(not isinstance(node.body[-1], ast.Return) for node in yielding)


def test_a_first_string_often_comes_late(documents: list[str]):
    first = [match.start() for text in documents if (match := re.search("['\"]", text))]
    assert sum(place > 200 for place in first) > 0.15 * len(documents)
    assert sum(place < 50 for place in first) > 0.2 * len(documents)
