"""Tokenizers of other models: what a token adds to a text, what prompts begin with, which file is what."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from sparsecircuits.data import ForeignTokenizer, Tokenizer, open_tokenizer, train_tokenizer
from sparsecircuits.data.foreign import BEGINNINGS
from sparsecircuits.data.tokenizer import byte_of_character
from sparsecircuits.errors import DataError

RELEASE = Path(
    os.environ.get("TINYPYTHON_TOK_DIR", Path(__file__).parents[3] / "shared" / "release" / "tinypython_2k")
)
ALPHABET = list(byte_of_character())
"""The 256 bytes in GPT-2's spelling; ids 0 to 255 below."""


def byte_level(
    *merges: tuple[str, str], special: tuple[str, ...] = ("<|endoftext|>",)
) -> tokenizers.Tokenizer:
    """GPT-2's kind: 256 bytes, one entry a merge, then the special tokens."""
    entries = [*ALPHABET, *(left + right for left, right in merges)]
    model = models.BPE(vocab={entry: index for index, entry in enumerate(entries)}, merges=list(merges))
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return backend


def llama() -> tokenizers.Tokenizer:
    """``<s>`` 1, bytes 3 to 258, then ``▁`` 259, ``a`` 260, ``b`` 261, ``▁a`` 262, ``ab`` 263."""
    entries = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "ab"]
    model = models.BPE(
        vocab={entry: index for index, entry in enumerate(entries)},
        merges=[("▁", "a"), ("a", "b")],
        unk_token="<unk>",
        byte_fallback=True,
    )
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.Sequence(  # type: ignore[assignment]
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(  # type: ignore[assignment]
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in entries[:3]])
    backend.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return backend


def word_piece() -> tokenizers.Tokenizer:
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "play", "##ed", "."]
    model = models.WordPiece({entry: i for i, entry in enumerate(entries)}, unk_token="[UNK]")
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)  # type: ignore[assignment]
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    backend.decoder = decoders.WordPiece()  # type: ignore[assignment]
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))  # type: ignore[assignment]
    backend.add_special_tokens([AddedToken(entry, special=True) for entry in entries[:4]])
    return backend


def unigram() -> tokenizers.Tokenizer:
    entries = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0), ("▁a", -1.0), ("b", -2.0)]
    backend = tokenizers.Tokenizer(models.Unigram(entries, unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()  # type: ignore[assignment]
    backend.decoder = decoders.Metaspace()  # type: ignore[assignment]
    backend.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    backend.add_special_tokens([AddedToken(entry, special=True) for entry in ("<pad>", "</s>", "<unk>")])
    return backend


def test_byte_level():
    tokenizer = ForeignTokenizer(byte_level(("Ġ", "a"), ('"', ")")))
    byte = {value: index for index, value in enumerate(byte_of_character().values())}
    assert tokenizer.encode('a a")\n') == [byte[ord("a")], 256, 257, byte[ord("\n")]]
    assert [tokenizer.text(index) for index in (256, 257, byte[10], byte[0xC3])] == [
        " a",
        '")',
        "\n",
        r"\xc3",
    ]
    assert (tokenizer.vocab_size, tokenizer.eot_id, tokenizer.text(258)) == (259, 258, "<|endoftext|>")
    assert tokenizer.decode(tokenizer.encode("é 漢\n\t🎉")) == "é 漢\n\t🎉"


def test_spaces_and_bytes_as_llama_spells_them():
    tokenizer = ForeignTokenizer(llama())
    assert tokenizer.encode("ab a\nb") == [262, 261, 262, 3 + 0x0A, 261]
    assert [tokenizer.text(index) for index in (262, 261, 13, 3 + 0xC3)] == [" a", "b", "\n", r"\xc3"]
    assert tokenizer.decode(tokenizer.encode("ab é\n")) == " ab é\n"  # the space in front is its own
    assert (tokenizer.vocab_size, tokenizer.eot_id) == (264, 1)


def test_words_and_their_parts():
    tokenizer = ForeignTokenizer(word_piece())
    assert tokenizer.encode("Played.\nPlay") == [4, 5, 6, 4]
    assert tokenizer.decode([4, 5, 6, 4]) == " played . play"
    assert (tokenizer.eot_id, tokenizer.text(2), tokenizer.text(5)) == (2, "[CLS]", "ed")
    assert tokenizer.encode("é") == [1]


def test_unigram():
    tokenizer = ForeignTokenizer(unigram())
    assert tokenizer.encode("ab\n") == [4, 5, 2]
    assert tokenizer.decode([4, 5, 2]) == " ab<unk>"
    assert (tokenizer.eot_id, tokenizer.vocab_size) == (1, 6)


def test_a_word_end_is_a_space():
    model = models.BPE(
        vocab={"<s>": 0, "a": 1, "b</w>": 2, "ab</w>": 3}, merges=[("a", "b</w>")], end_of_word_suffix="</w>"
    )
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer = ForeignTokenizer(backend)
    assert tokenizer.encode("ab ab") == [3, 3]
    assert tokenizer.decode([3, 1]) == "ab a"


def test_special_text_in_a_text_is_text():
    tokenizer = ForeignTokenizer(llama())
    assert 1 not in tokenizer.encode("a<s>b")
    assert tokenizer.decode(tokenizer.encode("a<s>b")) == " a<s>b"
    assert tokenizer.decode([1]) == "<s>"


def test_limits_of_length_and_padding_are_off():
    backend = byte_level()
    backend.enable_truncation(2)
    backend.enable_padding(length=9)
    assert len(ForeignTokenizer(backend).encode("abcd")) == 4


def test_ours_has_no_limits_either(tmp_path: Path):
    ours = train_tokenizer(["ab ab"] * 3, vocab_size=259)
    ours.save(tmp_path / "tokenizer.json")
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.enable_truncation(2)
    assert Tokenizer(backend).encode("ab ab abab") == [256, 257, 257, 256]


def test_an_id_between_entries_adds_nothing_and_one_outside_is_refused():
    model = models.BPE(vocab={"<s>": 0, "a": 1, "b": 5}, merges=[])
    tokenizer = ForeignTokenizer(tokenizers.Tokenizer(model))
    assert (tokenizer.vocab_size, tokenizer.text(3), tokenizer.text(5)) == (6, "", "b")
    with pytest.raises(DataError, match="token id 6 is outside the vocabulary of 6"):
        tokenizer.text(6)


def test_equal_hashes_encode_equally():
    one = ForeignTokenizer(byte_level(("a", "b")))
    assert one.hash == ForeignTokenizer(byte_level(("a", "b"))).hash
    assert one.hash != ForeignTokenizer(byte_level(("a", "c"))).hash
    two = byte_level(("a", "b"), special=("<s>", "</s>"))
    assert ForeignTokenizer(two).hash != ForeignTokenizer(two, begins_with="</s>").hash
    limited = byte_level(("a", "b"))
    limited.enable_truncation(3)
    assert ForeignTokenizer(limited).hash == one.hash


def test_lone_surrogates_are_refused():
    with pytest.raises(DataError, match=r"text 1: character 1 is the lone surrogate '\\ud800'"):
        ForeignTokenizer(byte_level()).encode_batch(["fine", "a\ud800"])


def test_what_cannot_be_encoded_is_refused():
    backend = tokenizers.Tokenizer(models.WordLevel({"<s>": 0, "a": 1}, unk_token="<unk>"))
    with pytest.raises(DataError, match="mine: a text cannot be encoded: WordLevel error: Missing"):
        ForeignTokenizer(backend, "mine").encode("b")


BOS = {"bos_token": {"content": "</s>", "lstrip": False}}


@pytest.mark.parametrize(
    ("special", "settings", "wanted", "expected"),
    [
        (("<s>", "</s>"), {}, None, "<s>"),
        (("</s>", "<|endoftext|>"), {}, None, "<|endoftext|>"),
        (("<s>", "</s>"), BOS, None, "</s>"),
        (("<s>", "</s>"), {"bos_token": "</s>"}, None, "</s>"),
        (("<s>", "</s>"), {"bos_token": None, "eos_token": "</s>"}, None, "<s>"),
        (("<|eot|>",), {"bos_token": "<|gone|>", "eos_token": "<|eot|>"}, None, "<|eot|>"),
        (("<s>", "</s>"), BOS, "<s>", "<s>"),
    ],
)
def test_what_prompts_begin_with(
    special: tuple[str, ...], settings: dict[str, Any], wanted: str | None, expected: str
):
    tokenizer = ForeignTokenizer(byte_level(special=special), settings=settings, begins_with=wanted)
    assert tokenizer.text(tokenizer.eot_id) == expected


def test_what_it_puts_in_front_itself_goes_before_its_settings():
    assert ForeignTokenizer(llama(), settings=BOS).eot_id == 1


def test_nothing_to_begin_with():
    with pytest.raises(DataError, match="mine: nothing says which token prompts begin with") as error:
        ForeignTokenizer(byte_level(special=("<|eot|>",)), "mine")
    assert all(entry in str(error.value) for entry in BEGINNINGS)
    with pytest.raises(DataError, match=r"no entry '<\|eos\|>' to begin with; did you mean '<\|eot\|>'"):
        ForeignTokenizer(byte_level(special=("<|eot|>",)), begins_with="<|eos|>")


def test_a_file_and_the_settings_beside_it(tmp_path: Path):
    byte_level(special=("<s>", "</s>")).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(BOS))
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        tokenizer = open_tokenizer(path)
        assert isinstance(tokenizer, ForeignTokenizer)
        assert tokenizer.text(tokenizer.eot_id) == "</s>"
        assert open_tokenizer(path, begins_with="<s>").eot_id == 256
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(DataError, match="tokenizer_config.json: expected a JSON object, got a list"):
        open_tokenizer(tmp_path)


def test_ours_is_ours(tmp_path: Path):
    ours = train_tokenizer(["ab ab"] * 3, vocab_size=259)
    ours.save(tmp_path / "tokenizer.json")
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        opened = open_tokenizer(path)
        assert isinstance(opened, Tokenizer)
        assert opened.hash == ours.hash


def test_ours_and_foreign_agree_on_ours(tmp_path: Path):
    ours = train_tokenizer(['print("hello")\n', "for x in y:\n    f(x)\n"] * 9, vocab_size=280)
    ours.save(tmp_path / "tokenizer.json")
    foreign = ForeignTokenizer.load(tmp_path / "tokenizer.json")
    assert (foreign.vocab_size, foreign.eot_id) == (ours.vocab_size, ours.eot_id) == (278, 277)
    assert foreign.encode_batch(['f("x")\n', "é"]) == ours.encode_batch(['f("x")\n', "é"])
    assert [foreign.text(index) for index in range(278)] == [ours.text(index) for index in range(278)]


def two_files(folder: Path, names: tuple[str, str], *merges: tuple[str, str]) -> None:
    entries = [*ALPHABET, *(left + right for left, right in merges), "<|endoftext|>"]
    folder.mkdir(exist_ok=True)
    (folder / names[0]).write_text(json.dumps({entry: index for index, entry in enumerate(entries)}))
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / names[1]).write_text("\n".join(lines) + "\n")


def test_the_paper_s_two_files(tmp_path: Path):
    two_files(tmp_path, ("encoder.json", "vocab.bpe"), ('"', ")"), ('")', "Ċ"))
    tokenizer = open_tokenizer(tmp_path)
    assert isinstance(tokenizer, Tokenizer)
    assert [tokenizer.text(index) for index in tokenizer.encode('a")\n')] == ["a", '")\n']


def test_gpt2_s_two_files_have_gpt2_s_pattern(tmp_path: Path):
    """`` 12`` is one piece with its pattern, two with ours, so that the entry tells whose files they are."""
    two_files(tmp_path, ("encoder.json", "vocab.bpe"), ('"', ")"), ("Ġ", "1"), ("Ġ1", "2"))
    tokenizer = open_tokenizer(tmp_path)
    assert isinstance(tokenizer, ForeignTokenizer)
    assert [tokenizer.text(index) for index in tokenizer.encode('a 12")\n')] == ["a", " 12", '")', "\n"]
    assert tokenizer.text(tokenizer.eot_id) == "<|endoftext|>"


def test_vocab_and_merges(tmp_path: Path):
    names = ("vocab.json", "merges.txt")
    two_files(tmp_path, names, ('"', ")"))
    tokenizer = open_tokenizer(tmp_path)
    assert isinstance(tokenizer, ForeignTokenizer)
    assert tokenizer.encode("<|endoftext|>") != [tokenizer.eot_id]
    assert tokenizer.eot_id == 257
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2TokenizerFast"}')
    assert open_tokenizer(tmp_path).eot_id == 257
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    with pytest.raises(DataError, match="of a Qwen2Tokenizer, which splits a text in another way than GPT-2"):
        open_tokenizer(tmp_path)


def test_entries_that_are_no_bytes_are_refused(tmp_path: Path):
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("#version\n")
    with pytest.raises(DataError, match="no entry is spelled in GPT-2's bytes"):
        open_tokenizer(tmp_path)


def test_what_is_no_tokenizer_is_named(tmp_path: Path):
    with pytest.raises(DataError, match="absent: no such file or folder; allowed: a tokenizer.json"):
        open_tokenizer(tmp_path / "absent")
    with pytest.raises(DataError, match="no tokenizer: found nothing; allowed: a tokenizer.json"):
        open_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_text("x")
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(DataError, match="no tokenizer: found tokenizer.model, vocab.json; allowed: "):
        open_tokenizer(tmp_path)
    with pytest.raises(
        DataError, match="tokenizer.model: not a tokenizer file: .*; allowed: a tokenizer.json"
    ):
        open_tokenizer(tmp_path / "tokenizer.model")
    (tmp_path / "vocab.json").write_text("{")
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(DataError, match="vocab.json: not JSON"):
        open_tokenizer(tmp_path)


@pytest.mark.parametrize(("text", "index"), [('")', 1644), ("')", 956), ("]]", 1008)])
def test_the_released_tokenizer(text: str, index: int):
    if not RELEASE.is_dir():
        pytest.skip(f"the public tokenizer is not beside the checkout ({RELEASE.name})")
    tokenizer = open_tokenizer(RELEASE)
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.encode(text) == [index]
