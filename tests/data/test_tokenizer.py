import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecircuits.data.tokenizer import END_OF_TEXT, SPLIT_PATTERN, Tokenizer, train_tokenizer
from sparsecircuits.errors import ConfigError, DataError

RELEASE = Path(__file__).parents[3] / "shared" / "release" / "tinypython_2k"
TEXTS = ['print("hello")\n', "for name in names:\n    print(name)\n", "rows = [[1, 2], [3, 4]]\n"] * 20
SMALL = train_tokenizer(TEXTS, vocab_size=280)


@pytest.fixture(scope="module")
def released() -> Tokenizer:
    if not RELEASE.is_dir():
        pytest.skip(f"the public tokenizer is not beside the checkout ({RELEASE.name})")
    return Tokenizer.from_gpt2_files(RELEASE / "encoder.json", RELEASE / "vocab.bpe")


def test_end_of_text_is_the_last_entry():
    assert SMALL.vocab_size == 280
    assert SMALL.eot_id == 279
    assert SMALL.text(279) == END_OF_TEXT


def test_the_first_entries_are_the_bytes():
    assert sorted(SMALL.token_bytes(index) for index in range(256)) == [bytes([byte]) for byte in range(256)]


def test_merges_are_found_by_hand():
    # Pieces: "ab" (3x) and " ab" (3x). The pair a-b occurs 6 times; then " "+"ab", 3 times.
    tokenizer = train_tokenizer(["ab ab"] * 3, vocab_size=259)
    assert [tokenizer.text(index) for index in (256, 257, 258)] == ["ab", " ab", END_OF_TEXT]
    assert tokenizer.encode("ab ab abab") == [256, 257, 257, 256]


def test_a_small_sample_gives_fewer_entries_and_says_so():
    tokenizer = train_tokenizer(["ab ab"] * 3, vocab_size=2048)
    assert tokenizer.vocab_size == 259
    assert tokenizer.eot_id == 258


def test_no_token_crosses_a_split():
    tokenizer = train_tokenizer(['f("x")\n'] * 50, vocab_size=400)
    assert [tokenizer.text(index) for index in tokenizer.encode('f("x")\n')] == ["f", '("', "x", '")\n']


@given(st.text())
def test_every_text_comes_back(text: str):
    assert SMALL.decode(SMALL.encode(text)) == text


@pytest.mark.parametrize("text", ["", "\r\n \t\n", "é漢🎉", "\x00\x7f", "<|endoftext|>", " " * 1000])
def test_hard_texts_come_back(text: str):
    assert SMALL.decode(SMALL.encode(text)) == text


def test_end_of_text_in_a_text_is_text():
    ids = SMALL.encode(f"a{END_OF_TEXT}b")
    assert SMALL.eot_id not in ids
    assert SMALL.decode(ids) == f"a{END_OF_TEXT}b"
    assert SMALL.decode([SMALL.eot_id]) == END_OF_TEXT


def test_batches_encode_as_single_texts_do():
    assert SMALL.encode_batch(TEXTS[:3]) == [SMALL.encode(text) for text in TEXTS[:3]]


def test_half_a_character_is_shown_as_its_byte():
    first, second = SMALL.encode("é")  # C3 A9
    assert (SMALL.text(first), SMALL.text(second)) == (r"\xc3", r"\xa9")
    assert SMALL.decode([first]) == "\ufffd"


def test_training_is_deterministic():
    assert train_tokenizer(TEXTS, vocab_size=280).hash == SMALL.hash
    assert train_tokenizer(TEXTS, vocab_size=279).hash != SMALL.hash


def test_save_and_load(tmp_path: Path):
    SMALL.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.hash == SMALL.hash
    assert loaded.encode(TEXTS[0] + END_OF_TEXT) == SMALL.encode(TEXTS[0] + END_OF_TEXT)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_vocabulary_below_the_bytes_is_refused():
    with pytest.raises(ConfigError, match="vocab_size is 256; the minimum is 257"):
        train_tokenizer(TEXTS, vocab_size=256)
    assert train_tokenizer(TEXTS, vocab_size=257).vocab_size == 257


def test_a_lone_surrogate_is_refused():
    with pytest.raises(DataError, match=r"text 1: character 2 is the lone surrogate '\\ud800'"):
        SMALL.encode_batch(["fine", "ab\ud800"])


@pytest.mark.parametrize("index", [-1, 280])
def test_an_id_outside_the_vocabulary_is_refused(index: int):
    with pytest.raises(DataError, match=f"token id {index} is outside the vocabulary of 280"):
        SMALL.decode([index])


def _saved(tmp_path: Path) -> tuple[Path, dict]:
    path = tmp_path / "tokenizer.json"
    SMALL.save(path)
    return path, json.loads(path.read_text())


def test_a_missing_or_damaged_file_is_named(tmp_path: Path):
    with pytest.raises(DataError, match="absent.json: not a readable tokenizer file"):
        Tokenizer.load(tmp_path / "absent.json")
    path, _ = _saved(tmp_path)
    path.write_text(path.read_text()[:1000])
    with pytest.raises(DataError, match="tokenizer.json: not a tokenizer file"):
        Tokenizer.load(path)


def test_another_split_pattern_is_refused(tmp_path: Path):
    path, content = _saved(tmp_path)
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="another split pattern"):
        Tokenizer.load(path)


def test_gpt2_s_own_split_is_read_and_is_another_tokenizer(tmp_path: Path):
    path, content = _saved(tmp_path)
    content["pre_tokenizer"] = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True,
    }  # fmt: skip
    path.write_text(json.dumps(content))
    theirs = Tokenizer.load(path)
    assert theirs.hash != SMALL.hash
    assert theirs.decode(theirs.encode("don't  x = 1234\n\n")) == "don't  x = 1234\n\n"
    # By GPT-2's pattern a line's end is no part of the punctuation before it.
    assert [theirs.text(index) for index in theirs.encode('")\n')][-1] == "\n"
    content["pre_tokenizer"]["add_prefix_space"] = True
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="another split pattern than .*, or GPT-2's"):
        Tokenizer.load(path)


def test_another_last_entry_is_refused(tmp_path: Path):
    path, content = _saved(tmp_path)
    content["added_tokens"][0]["content"] = "<|other|>"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"the last entry is '<\|other\|>'"):
        Tokenizer.load(path)


def test_gpt2_files_made_by_hand(tmp_path: Path):
    entries = [SMALL._backend.id_to_token(index) or "" for index in range(256)] + ["ab", END_OF_TEXT]
    (tmp_path / "encoder.json").write_text(json.dumps({entry: index for index, entry in enumerate(entries)}))
    (tmp_path / "vocab.bpe").write_text("#version\na b\n")
    tokenizer = Tokenizer.from_gpt2_files(tmp_path / "encoder.json", tmp_path / "vocab.bpe")
    assert tokenizer.encode("abab") == [256, 256]
    assert tokenizer.eot_id == 257
    (tmp_path / "vocab.bpe").write_text("#version\na b\na c\n")
    with pytest.raises(DataError, match=r"vocab.bpe: line 3: no entry 'ac'"):
        Tokenizer.from_gpt2_files(tmp_path / "encoder.json", tmp_path / "vocab.bpe")
    (tmp_path / "encoder.json").write_text('{"a": 0}')
    (tmp_path / "vocab.bpe").write_text("")
    with pytest.raises(DataError, match="encoder.json: "):
        Tokenizer.from_gpt2_files(tmp_path / "encoder.json", tmp_path / "vocab.bpe")


@pytest.mark.parametrize(("text", "index"), [('")', 1644), ("')", 956), ("]]", 1008)])
def test_known_ids_of_the_released_tokenizer(released: Tokenizer, text: str, index: int):
    assert released.encode(text) == [index]
    assert released.text(index) == text


def test_special_entries_of_the_released_tokenizer(released: Tokenizer, tmp_path: Path):
    assert (released.vocab_size, released.eot_id) == (2048, 2047)
    assert released.text(2046) == "<|startoftext|>"
    assert {2046, 2047}.isdisjoint(released.encode("<|startoftext|><|endoftext|>"))
    released.save(tmp_path / "tokenizer.json")
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    assert content["pre_tokenizer"]["pretokenizers"][0]["pattern"] == {"Regex": SPLIT_PATTERN}
    assert Tokenizer.load(tmp_path / "tokenizer.json").hash == released.hash
