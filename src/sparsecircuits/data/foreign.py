r"""Any tokenizer that a model came with: Hugging Face's ``tokenizer.json``, or GPT-2's two files.

In goes a path, out comes what a task needs of a tokenizer (:class:`TextTokenizer`): ours where the file is
of our kind (:class:`~sparsecircuits.data.tokenizer.Tokenizer`), a :class:`ForeignTokenizer` where not.
:func:`open_tokenizer` decides. What differs between kinds of tokenizers is settled here, once:

1. *Texts and nothing else.* Limits of length, padding and added special tokens are off. Special tokens'
   own text is encoded as ordinary text.
2. *What a token adds to a text* follows from how its entry is spelled: GPT-2's spelling of bytes, ``▁`` for a
   space, ``<0x0A>`` for a byte, WordPiece's ``##`` for a word going on, ``</w>`` for a word's end.
3. *The token that prompts begin with* is chosen by :func:`beginning`.

Some tokenizers change a text: they write it in small letters, drop line ends, or have no entry for a
character. That is no error here, as plain English may bear it; a task compares what
:meth:`ForeignTokenizer.decode` gives with its prompts, and refuses, with the tokens shown, where what it asks
about is lost.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

from sparsecircuits.data.tokenizer import (
    END_OF_TEXT,
    SPLIT_PATTERN,
    TextTokenizer,
    Tokenizer,
    byte_of_character,
    read_json,
    read_merges,
    read_text,
    read_vocabulary,
    require_utf8,
)
from sparsecircuits.errors import DataError, near_misses

BEGINNINGS = (
    END_OF_TEXT,
    "<|begin_of_text|>",
    "<|startoftext|>",
    "<bos>",
    "<s>",
    "[CLS]",
    "[BOS]",
    "</s>",
    "<eos>",
    "[EOS]",
)
"""Entries that begin a prompt where nothing says which does, the likeliest first."""

KINDS = (
    "a tokenizer.json (ours, or any of Hugging Face's fast tokenizers), or a folder with tokenizer.json, "
    "with encoder.json and vocab.bpe, or with vocab.json and merges.txt (GPT-2's formats)"
)
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_GPT2_CLASSES = ("GPT2Tokenizer", "RobertaTokenizer", "BartTokenizer")
"""Whose ``vocab.json`` and ``merges.txt`` mean GPT-2's split pattern."""


class ForeignTokenizer:
    """A tokenizer of any of the kinds that the ``tokenizers`` library runs. Made by :meth:`load`.

    Attributes:
        vocab_size: one more than the largest id.
        eot_id: the id of the token that prompts begin with; see :func:`beginning`.
        hash: sha256 over everything that the ids of a text depend on, and ``eot_id``.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        origin: str = "tokenizer",
        *,
        settings: Mapping[str, Any] | None = None,
        begins_with: str | None = None,
    ) -> None:
        """Wrap a ``tokenizers.Tokenizer``.

        Args:
            backend: is kept, with its limits of length and its padding switched off.
            origin: what error messages start with.
            settings: the content of its ``tokenizer_config.json``.
            begins_with: the text of the entry that prompts begin with.

        Raises:
            DataError: no entries, or none to begin prompts with.
        """
        backend.no_truncation()
        backend.no_padding()
        vocabulary = backend.get_vocab(with_added_tokens=True)
        if not vocabulary:
            raise DataError(f"{origin}: a tokenizer without entries")
        content = json.loads(backend.to_str())
        first = beginning(backend, settings or {}, begins_with, origin)
        backend.encode_special_tokens = True  # the text "<s>" is text
        self._backend = backend
        self._origin = origin
        self._entries = {index: entry for entry, index in vocabulary.items()}
        self._added = {index: token.content for index, token in backend.get_added_tokens_decoder().items()}
        self._spelling = _Spelling(content)
        self._bytes: dict[int, bytes] = {}
        self.vocab_size = max(self._entries) + 1
        self.eot_id = vocabulary[first]
        kept = {
            part: content[part]
            for part in ("added_tokens", "normalizer", "pre_tokenizer", "decoder", "model")
        }
        self.hash = hashlib.sha256(json.dumps([kept, first], sort_keys=True).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``, without any added.

        Raises:
            DataError: the text holds a lone surrogate, or what this tokenizer cannot encode.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """:meth:`encode` of each text, on all cores."""
        try:
            encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        except Exception as error:  # the library raises bare Exception where it has no unknown token
            for index, text in enumerate(texts):
                require_utf8(text, f"text {index}", error)
            raise DataError(f"{self._origin}: a text cannot be encoded: {error}") from error
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """What the tokens add up to, with the space that some tokenizers put in front of a text.

        Bytes that are no UTF-8 become U+FFFD.

        Raises:
            DataError: an id outside the vocabulary.
        """
        return b"".join(self.token_bytes(index) for index in ids).decode("utf-8", errors="replace")

    def text(self, id: int) -> str:
        r"""What a token adds to a text, the space in front of a word included; half a character is ``\xc3``.

        Raises:
            DataError: an id outside the vocabulary.
        """
        return self.token_bytes(id).decode("utf-8", errors="backslashreplace")

    def token_bytes(self, id: int) -> bytes:
        """The bytes of :meth:`text`; none for an id that has no entry between those that have.

        Raises:
            DataError: an id outside the vocabulary.
        """
        if not 0 <= id < self.vocab_size:
            raise DataError(f"token id {id} is outside the vocabulary of {self.vocab_size} entries")
        if id not in self._bytes:
            added = self._added.get(id)
            self._bytes[id] = (
                self._spelling.bytes_of(self._entries.get(id, "")) if added is None else added.encode()
            )
        return self._bytes[id]

    @classmethod
    def load(cls, path: str | Path, *, begins_with: str | None = None) -> Self:
        """Read a ``tokenizer.json``, and ``tokenizer_config.json`` where that lies beside it.

        Raises:
            DataError: a file is missing or damaged, or nothing says how prompts begin.
        """
        return cls(_backend(path), str(path), settings=_settings(Path(path).parent), begins_with=begins_with)

    @classmethod
    def from_gpt2_files(
        cls, vocab_json: str | Path, merges_txt: str | Path, *, begins_with: str | None = None
    ) -> Self:
        """Read entries and merges of byte-level BPE with GPT-2's own split pattern.

        Raises:
            DataError: a file is missing or damaged, ``tokenizer_config.json`` beside it speaks of another
                kind, or the entries are not spelled in GPT-2's bytes.
        """
        settings = _settings(Path(vocab_json).parent)
        kind = settings.get("tokenizer_class")
        if kind is not None and str(kind).removesuffix("Fast") not in _GPT2_CLASSES:
            raise DataError(
                f"{vocab_json}: of a {kind}, which splits a text in another way than GPT-2; "
                "give its tokenizer.json"
            )
        vocabulary = read_vocabulary(vocab_json)
        if "Ġ" not in vocabulary:
            raise DataError(f"{vocab_json}: no entry is spelled in GPT-2's bytes (no 'Ġ' for a space)")
        backend = tokenizers.Tokenizer(
            models.BPE(vocab=vocabulary, merges=list(read_merges(merges_txt, vocabulary)))
        )
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
        backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
        special = [
            token for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>", END_OF_TEXT) if token in vocabulary
        ]
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
        return cls(backend, str(vocab_json), settings=settings, begins_with=begins_with)


def beginning(
    backend: tokenizers.Tokenizer, settings: Mapping[str, Any], wanted: str | None, origin: str
) -> str:
    """The entry that prompts begin with: the first of these that there is.

    1. ``wanted``;
    2. what the tokenizer itself puts in front of a text when asked to add special tokens, such as ``<s>``;
    3. ``bos_token`` of its settings;
    4. one of :data:`BEGINNINGS` that is an entry;
    5. ``eos_token`` of its settings.

    Raises:
        DataError: ``wanted`` is no entry, or there is none of them.
    """
    vocabulary = backend.get_vocab(with_added_tokens=True)
    if wanted is not None:
        if wanted not in vocabulary:
            special = [token.content for token in backend.get_added_tokens_decoder().values()]
            raise DataError(f"{origin}: no entry {wanted!r} to begin with; {near_misses(wanted, special)}")
        return wanted
    bos, eos = (_content(settings.get(name)) for name in ("bos_token", "eos_token"))
    for token in (_put_in_front(backend), bos, *BEGINNINGS, eos):
        if token is not None and token in vocabulary:
            return token
    raise DataError(
        f"{origin}: nothing says which token prompts begin with: it adds none itself, has none of "
        f"{', '.join(BEGINNINGS)}, and no tokenizer_config.json names one; give it as begins_with"
    )


def open_tokenizer(path: str | Path, *, begins_with: str | None = None) -> TextTokenizer:
    """The tokenizer of a file or folder, of whatever kind it is.

    | found | read as |
    |---|---|
    | ``tokenizer.json`` of our kind | :class:`Tokenizer` |
    | any other ``tokenizer.json`` | :class:`ForeignTokenizer` |
    | ``encoder.json`` and ``vocab.bpe`` | :class:`Tokenizer`: the paper's files |
    | ``vocab.json`` and ``merges.txt`` | :class:`ForeignTokenizer` with GPT-2's split pattern |

    GPT-2's own ``encoder.json`` has entries that cross the paper's split pattern; it is read as the last.
    Of a folder the first of these counts.

    Args:
        path: a file called as one likes, or a folder.
        begins_with: the text of the entry that prompts begin with, if not what :func:`beginning` takes.

    Raises:
        DataError: nothing there, none of these kinds, a damaged file, or no token to begin prompts with.
    """
    path = Path(path)
    if path.is_dir():
        if (path / "tokenizer.json").is_file():
            return open_tokenizer(path / "tokenizer.json", begins_with=begins_with)
        for first, second in (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")):
            if (path / first).is_file() and (path / second).is_file():
                return _from_two_files(path / first, path / second, begins_with)
        found = sorted(entry.name for entry in path.iterdir())
        shown = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "") if found else "nothing"
        raise DataError(f"{path}: no tokenizer: found {shown}; allowed: {KINDS}")
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; allowed: {KINDS}")
    if begins_with in (None, END_OF_TEXT) and _is_ours(path):
        return Tokenizer.load(path)
    return ForeignTokenizer.load(path, begins_with=begins_with)


class _Spelling:
    """How a tokenizer's entries are spelled, read from its steps."""

    def __init__(self, content: dict[str, Any]) -> None:
        model = content["model"]
        steps = [*_steps(content["decoder"]), *_steps(content["pre_tokenizer"])]
        kinds = {step["type"] for step in steps}
        self.byte_level = "ByteLevel" in kinds
        self.byte_fallback = bool(model.get("byte_fallback")) or "ByteFallback" in kinds
        self.going_on = model.get("continuing_subword_prefix") if model["type"] == "WordPiece" else None
        self.word_end = model.get("end_of_word_suffix") if model["type"] == "BPE" else None
        self.spaces = {step["replacement"] for step in steps if step["type"] == "Metaspace"} | {
            step["pattern"]["String"]
            for step in _steps(content["decoder"])
            if step["type"] == "Replace" and step["content"] == " " and "String" in step["pattern"]
        }

    def bytes_of(self, entry: str) -> bytes:
        """What an entry adds to a text."""
        behind = b""
        if self.word_end and entry.endswith(self.word_end):
            entry, behind = entry.removesuffix(self.word_end), b" "
        if self.byte_level:
            table = byte_of_character()
            if all(character in table for character in entry):
                return bytes(table[character] for character in entry) + behind
        if self.byte_fallback and (byte := _BYTE.fullmatch(entry)):
            return bytes([int(byte[1], 16)])
        if self.going_on is not None:
            goes_on = entry.startswith(self.going_on)
            entry = entry.removeprefix(self.going_on) if goes_on else " " + entry
        for space in self.spaces:
            entry = entry.replace(space, " ")
        return entry.encode() + behind


def _steps(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The steps of a part of a pipeline, those of sequences one by one."""
    if part is None:
        return
    inner = part.get("decoders") or part.get("pretokenizers")
    if part["type"] == "Sequence" and inner:
        for step in inner:
            yield from _steps(step)
    else:
        yield part


def _content(token: object) -> str | None:
    """The text of a token in ``tokenizer_config.json``: written plainly, or with its properties."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _put_in_front(backend: tokenizers.Tokenizer) -> str | None:
    """The first special token that the tokenizer itself puts in front of a text."""
    if backend.num_special_tokens_to_add(False) == 0:
        return None
    if not backend.encode("a", add_special_tokens=False).ids:
        return None
    encoding = backend.encode("a", add_special_tokens=True)
    return encoding.tokens[0] if encoding.special_tokens_mask[0] == 1 else None


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.is_file() else {}


def _backend(path: str | Path) -> tokenizers.Tokenizer:
    content = read_text(path)
    try:
        return tokenizers.Tokenizer.from_str(content)
    except Exception as error:  # the library raises bare Exception for every kind of damage
        raise DataError(f"{path}: not a tokenizer file: {error}; allowed: {KINDS}") from error


def _is_ours(path: Path) -> bool:
    try:
        Tokenizer(_backend(path), str(path))
    except DataError:
        return False
    return True


def _from_two_files(entries: Path, merges: Path, begins_with: str | None) -> TextTokenizer:
    ours = entries.name == "encoder.json" and begins_with in (None, END_OF_TEXT)
    if ours and not _crosses_our_pattern(read_vocabulary(entries)):
        return Tokenizer.from_gpt2_files(entries, merges)
    return ForeignTokenizer.from_gpt2_files(entries, merges, begins_with=begins_with)


def _crosses_our_pattern(entries: Iterable[str]) -> bool:
    """Whether an entry goes across our split pattern, so that it was found with another."""
    table = byte_of_character()
    cut = pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated")
    for entry in entries:
        try:
            text = bytes(table[character] for character in entry).decode()
        except (KeyError, UnicodeDecodeError):
            continue
        if not text.startswith("<|") and len(cut.pre_tokenize_str(text)) > 1:
            return True
    return False
