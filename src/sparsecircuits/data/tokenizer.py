r"""Byte-level BPE with the split pattern of the public models; ``<|endoftext|>`` is the last entry.

In goes text, out come token ids, and back again without loss: every byte is an entry, so no text is
unknown. Steps of :meth:`Tokenizer.encode` (Gao et al. 2025; the pattern is that of their public
tokenizer ``tinypython_2k``):

1. the text is cut by :data:`SPLIT_PATTERN` into pieces that no token crosses: a word with the one
   character before it, up to three digits, a run of punctuation with the newlines after it (so that
   a closing ``")`` at a line's end is the token ``")\n``), white space;
2. each piece becomes UTF-8 bytes, each byte one of the first 256 entries;
3. merges are applied in the order in which training found them.

``<|endoftext|>`` separates documents. Only the program writes it: where those thirteen characters
occur in a text they are encoded as ordinary characters.

The fast part is the ``tokenizers`` library; a saved file is its ordinary ``tokenizer.json``.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers

from sparsecircuits.data.files import written
from sparsecircuits.errors import ConfigError, DataError

END_OF_TEXT = "<|endoftext|>"
SPLIT_PATTERN = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""That of GPT-2's own tokenizer, which is read as well: a dense model of others may have it."""
SMALLEST_VOCABULARY = 257
"""256 bytes and ``<|endoftext|>``."""


class TextTokenizer(Protocol):
    """What a task needs of a tokenizer: less than :class:`Tokenizer`, so that others can serve too.

    Attributes:
        vocab_size: one more than the largest id.
        eot_id: the id of the token that every prompt begins with.
    """

    @property
    def vocab_size(self) -> int: ...

    @property
    def eot_id(self) -> int: ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without any added."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """What the tokens add up to: the text that was encoded, as far as the tokenizer keeps it."""
        ...

    def text(self, id: int) -> str:
        """What a token adds to a text, the space in front of a word included."""
        ...


class Tokenizer:
    """Text to token ids and back. Made by :func:`train_tokenizer`, :meth:`load`, :meth:`from_gpt2_files`.

    Attributes:
        vocab_size: the number of entries, ``<|endoftext|>`` included.
        eot_id: the id of ``<|endoftext|>``, always ``vocab_size - 1``.
        hash: sha256 over pattern, entries and merges; equal hashes encode every text equally.

    >>> tokenizer = train_tokenizer(["x = 1\\n"] * 9, vocab_size=260)
    >>> tokenizer.decode(tokenizer.encode("y = 2\\n"))
    'y = 2\\n'
    """

    def __init__(self, backend: tokenizers.Tokenizer, origin: str = "tokenizer") -> None:
        """Wrap a ``tokenizers.Tokenizer``.

        Raises:
            DataError: it is not byte-level BPE with our split pattern or GPT-2's, lacks a byte, has gaps in
                its ids, or its last entry is not ``<|endoftext|>``. The message starts with ``origin``.
        """
        content = json.loads(backend.to_str())
        pattern = _pattern_of(content, origin)
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True  # the text "<|endoftext|>" is text
        vocabulary = backend.get_vocab(with_added_tokens=True)
        texts = [text for text, _ in sorted(vocabulary.items(), key=lambda entry: entry[1])]
        if sorted(vocabulary.values()) != list(range(len(texts))):
            raise DataError(f"{origin}: the ids are not 0 to {len(texts) - 1} without gaps")
        if not texts or texts[-1] != END_OF_TEXT:
            last = texts[-1] if texts else "missing"
            raise DataError(f"{origin}: the last entry is {last!r}; it must be {END_OF_TEXT!r}")
        missing = [byte for character, byte in byte_of_character().items() if character not in vocabulary]
        if missing:
            raise DataError(
                f"{origin}: not byte-level: {len(missing)} bytes lack an entry, {missing[0]} first"
            )
        self._backend = backend
        self._bytes = [_to_bytes(text, origin) for text in texts]
        self.vocab_size = len(texts)
        self.eot_id = len(texts) - 1
        parts = [pattern, texts, content["model"]["merges"]]
        self.hash = hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``, without any added.

        Raises:
            DataError: the text holds a lone surrogate, which no UTF-8 file can.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """:meth:`encode` of each text, on all cores."""
        try:
            encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            for index, text in enumerate(texts):
                require_utf8(text, f"text {index}", error)
            raise
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``; bytes that are no UTF-8 (a token cut in a character) become U+FFFD.

        Raises:
            DataError: an id outside the vocabulary.
        """
        return b"".join(self.token_bytes(index) for index in ids).decode("utf-8", errors="replace")

    def text(self, id: int) -> str:
        r"""The token's own text; a byte that is part of a character is shown as ``\xc3``."""
        return self.token_bytes(id).decode("utf-8", errors="backslashreplace")

    def token_bytes(self, id: int) -> bytes:
        """The bytes that a token stands for.

        Raises:
            DataError: an id outside the vocabulary.
        """
        if not 0 <= id < self.vocab_size:
            raise DataError(f"token id {id} is outside the vocabulary of {self.vocab_size} entries")
        return self._bytes[id]

    def save(self, path: str | Path) -> None:
        """Write ``tokenizer.json``, whole or not at all."""
        with written(Path(path)) as file:
            file.write(self._backend.to_str(pretty=True).encode())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the file is missing, damaged, or of another kind of tokenizer.
        """
        content = read_text(path)
        try:
            backend = tokenizers.Tokenizer.from_str(content)
        except Exception as error:  # the library raises bare Exception for every kind of damage
            raise DataError(f"{path}: not a tokenizer file: {error}") from error
        return cls(backend, origin=str(path))

    @classmethod
    def from_gpt2_files(cls, encoder_json: str | Path, vocab_bpe: str | Path) -> Self:
        """Read the two files of GPT-2's format, as the public ``tinypython_2k`` has them.

        Args:
            encoder_json: entry to id.
            vocab_bpe: a heading line, then one merge a line: two entries with a space between.

        Raises:
            DataError: a file is missing or damaged, or a merge speaks of an entry that does not exist.
        """
        vocabulary = read_vocabulary(encoder_json)
        merges = list(read_merges(vocab_bpe, vocabulary))
        return cls(_backend(vocabulary, merges), origin=str(encoder_json))


def train_tokenizer(texts: Iterable[str], vocab_size: int = 2048) -> Tokenizer:
    """Train on ``texts``; the same texts in the same order give the same tokenizer.

    Merges stop early where no pair of entries occurs twice, so that a small sample gives fewer
    entries than asked for: ``Tokenizer.vocab_size`` says how many there are.

    Raises:
        ConfigError: ``vocab_size`` is below 257.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise ConfigError(
            f"vocab_size is {vocab_size}; the minimum is {SMALLEST_VOCABULARY} (256 bytes and {END_OF_TEXT})"
        )
    backend = _backend(None, None)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,  # <|endoftext|> comes after
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer=trainer)
    backend.add_special_tokens([_end_of_text()])
    return Tokenizer(backend)


def _backend(vocabulary: dict[str, int] | None, merges: list[tuple[str, str]] | None) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = _pre_tokenizer()  # type: ignore[assignment]
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    if vocabulary is not None:
        backend.add_special_tokens([_end_of_text()])
    return backend


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _end_of_text() -> AddedToken:
    return AddedToken(END_OF_TEXT, special=True, normalized=False)


def _pattern_of(content: dict[str, Any], origin: str) -> str:
    """The split pattern of a file: ours or GPT-2's.

    Raises:
        DataError: it would encode in another way, rather than that it is changed silently.
    """
    if content["model"]["type"] != "BPE":
        raise DataError(f"{origin}: a {content['model']['type']} model; expected BPE")
    if content["normalizer"] is not None:
        raise DataError(f"{origin}: it changes the text before encoding ({content['normalizer']['type']})")
    found = content["pre_tokenizer"]
    if found == json.loads(_backend(None, None).to_str())["pre_tokenizer"]:
        return SPLIT_PATTERN
    gpt2 = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    if found is not None and {key: found.get(key) for key in gpt2} == gpt2:
        return GPT2_PATTERN
    raise DataError(f"{origin}: another split pattern than {SPLIT_PATTERN!r}, or GPT-2's")


@functools.cache
def byte_of_character() -> dict[str, int]:
    """GPT-2's spelling of bytes: the printable ones as they are, the others from U+0100 on, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _to_bytes(entry: str, origin: str) -> bytes:
    table = byte_of_character()
    try:
        return bytes(table[character] for character in entry)
    except KeyError as error:
        raise DataError(f"{origin}: the entry {entry!r} is not spelled in GPT-2's bytes") from error


def read_text(path: str | Path) -> str:
    """The text of one of a tokenizer's files."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable tokenizer file: {error}") from error


def read_json(path: str | Path) -> dict[str, Any]:
    """The JSON object in one of a tokenizer's files."""
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, got a {type(content).__name__}")
    return content


def read_vocabulary(path: str | Path) -> dict[str, int]:
    """The mapping from entry to id that GPT-2's formats keep in a file of its own."""
    vocabulary = read_json(path)
    if not all(type(index) is int for index in vocabulary.values()):
        raise DataError(f"{path}: expected a mapping from entry to id")
    return vocabulary


def read_merges(path: str | Path, vocabulary: dict[str, int]) -> Iterator[tuple[str, str]]:
    """The merges of GPT-2's formats, each of two entries, in their order."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line or (number == 1 and line.startswith("#")):
            continue
        pair = line.split(" ")
        if len(pair) != 2:
            raise DataError(f"{path}: line {number}: expected two entries, got {line!r}")
        left, right = pair
        for entry in (left, right, left + right):
            if entry not in vocabulary:
                raise DataError(f"{path}: line {number}: no entry {entry!r} in the vocabulary")
        yield left, right


def require_utf8(text: str, where: str, cause: Exception) -> None:
    """Refuse a text that no UTF-8 file can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        surrogate = text[error.start]
        raise DataError(
            f"{where}: character {error.start} is the lone surrogate {surrogate!r}; that is no UTF-8 text"
        ) from cause
