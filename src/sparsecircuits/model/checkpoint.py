"""Save and load a model: a folder with ``config.json`` and ``model.safetensors``.

Matrices that are mostly zero are stored as their nonzero entries (:mod:`~sparsecircuits.model.sparse_file`),
so a weight-sparse model is a small file. Files of format version 1, all dense, are read as well.

``load_model`` dispatches on a small registry of readers, each of which says whether a source is
its own; higher floors add theirs (run folders, foreign releases), so that this file knows no one
above it. Where a source is no folder here, a registry of locators is asked in the same way, of which
one knows the Hugging Face Hub; a source that is here never leaves the machine.

Nothing is loaded by halves: wrong names, shapes, sizes or values raise
:class:`~sparsecircuits.errors.CheckpointError` naming the file. The config has the SHA-256 of the weights, so
that one flipped bit in them is noticed, too; a model that was saved without is read all the same.
"""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from sparsecircuits.errors import CheckpointError, ConfigError, SaveError
from sparsecircuits.files import cause_of, drop_cached, make_folder, placed, saving, sha256_of, write_atomic
from sparsecircuits.memory import require_room
from sparsecircuits.model.config import GPTConfig
from sparsecircuits.model.gpt import SparseGPT
from sparsecircuits.model.sparse_file import pack, read_packed

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
FORMAT = "sparsecircuits.model"
FORMAT_VERSION = 2
#: What in the config is the SHA-256 of the weights' file; older models have none.
HASH_KEY = "weights_sha256"

#: Modules of higher floors that are imported where a source is none of what is known so far: they add to
#: LOCATORS and READERS.
HIGHER = ("sparsecircuits.train.run", "sparsecircuits.interop.hub")
#: From a source that is not here, a revision or None, and a token or None, to a folder; None: not its own.
Locator = Callable[[str, str | None, str | bool | None], Path | None]
LOCATORS: list[Locator] = []


class Reader(NamedTuple):
    """How to read one kind of source."""

    recognises: Callable[[Path], bool]
    load: Callable[[Path], SparseGPT]


def save_model(model: SparseGPT, folder: str | Path) -> None:
    """Write the model's weights and config into ``folder``, each file whole or not at all.

    Raises:
        SaveError: one could not be written.
    """
    folder = Path(folder)
    make_folder(folder)
    save_weights(model, folder / WEIGHTS_FILE)
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, **model.config.to_dict()}
    header[HASH_KEY] = sha256_of(folder / WEIGHTS_FILE)
    write_atomic(folder / CONFIG_FILE, (json.dumps(header, indent=2) + "\n").encode())


def locate(source: str | Path, *, revision: str | None = None, token: str | bool | None = None) -> Path:
    """The folder that a source means: itself, or where a locator brings what is not here.

    Raises:
        CheckpointError: a revision of a folder is asked for; or what the locator raises.
    """
    if isinstance(source, str) and not Path(source).exists():
        _import_higher()
        for locator in LOCATORS:
            if (folder := locator(source, revision, token)) is not None:
                return folder
    if revision is not None:
        raise CheckpointError(f"{source}: a folder has no revision {revision!r}; a name on the Hub has")
    return Path(source)


def load_model(
    source: str | Path, *, revision: str | None = None, token: str | bool | None = None
) -> SparseGPT:
    """Read a model from a saved folder or anything else that a registered reader or locator knows.

    Args:
        source: where it is; see :func:`locate`.
        revision: of a model on the Hub.
        token: for the Hub.

    Raises:
        CheckpointError: nothing there, or a file that is damaged or does not fit its config.
    """
    path = locate(source, revision=revision, token=token)
    if not any(reader.recognises(path) for reader in READERS):
        _import_higher()
    for reader in READERS:
        if reader.recognises(path):
            return reader.load(path)
    what = "is not a folder" if not path.is_dir() else f"holds no {CONFIG_FILE}"
    raise CheckpointError(f"{path}: no model here: it {what}")


def _import_higher() -> None:
    for module in HIGHER:
        importlib.import_module(module)


def save_weights(model: SparseGPT, path: Path) -> None:
    """Write a model's weights as a safetensors file, sparse matrices sparse; whole or not at all."""
    packed = pack(model.state_dict())
    save_tensors(packed.tensors, path, packed.metadata)


def load_weights(model: SparseGPT, path: Path) -> None:
    """Fill ``model`` from what :func:`save_weights` wrote, or from a file that is all dense.

    Raises:
        CheckpointError: damaged, not exactly the model's names and shapes, or NaN or infinity in it.
    """
    model.load_state_dict(_read_weights(model, path))


def save_tensors(
    tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file, every tensor as it is, and read it back; whole or not at all.

    Raises:
        SaveError: it could not be written, or what was read back is something else.
    """
    with placed(path) as temporary, saving(path):
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # it has the system's error in words
            raise cause_of(error) from error
        drop_cached(temporary)
        _require_same(tensors, temporary, path)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file; a damaged one raises :class:`CheckpointError` with its path."""
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error


def glance(path: Path) -> None:
    """Look at a safetensors file's header and size, at no tensor: what is cut, empty or something else shows.

    Raises:
        CheckpointError: it is missing, or not as long as its header says, or has none.
    """
    try:
        with safe_open(path, framework="pt"):
            pass
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error


def verify_weights(folder: Path) -> None:
    """Compare the weights of a saved model with the hash in its config, if that has one.

    Raises:
        CheckpointError: they differ, or one of the two files is missing or no such file.
    """
    glance(folder / WEIGHTS_FILE)
    _verify(folder, _read_config(folder / CONFIG_FILE).get(HASH_KEY))


def _verify(folder: Path, expected: object) -> None:
    if expected is not None and sha256_of(folder / WEIGHTS_FILE) != expected:
        raise CheckpointError(
            f"{folder / WEIGHTS_FILE}: damaged: its content does not match the hash in {CONFIG_FILE}"
        )


def _require_same(tensors: dict[str, torch.Tensor], temporary: Path, path: Path) -> None:
    """Raise :class:`SaveError` unless the file holds these very tensors, bit for bit."""
    try:
        stored = load_tensors(temporary)
    except CheckpointError as error:
        raise SaveError(f"{path}: not saved: what was written cannot be read back: {error}") from error
    for name, tensor in tensors.items():
        if name not in stored or not _same_bits(tensor, stored[name]):
            raise SaveError(f"{path}: not saved: {name} is not what was written when read back")


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    flat = [tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)]
    return torch.equal(*flat)


def _load_saved(folder: Path) -> SparseGPT:
    path = folder / CONFIG_FILE
    data = _read_config(path)
    expected = data.pop(HASH_KEY, None)
    try:
        config = GPTConfig.from_dict(data, where=str(path))
        require_room(4 * config.weight_count, f"{path}: a model of {config.weight_count:,} weights")
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    tensors = _read_weights(_without_memory(config), folder / WEIGHTS_FILE)
    _verify(folder, expected)  # last: where more can be said of what is wrong, that is said
    model = SparseGPT(config)
    model.load_state_dict(tensors)
    return model.eval()


def _read_config(path: Path) -> dict[str, Any]:
    """What a saved model's config says, without its format."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable config: {error}") from error
    if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
        raise CheckpointError(f'{path}: not the config of a saved model (its "format" is not {FORMAT!r})')
    version = data.pop("format_version", None)
    if version not in (1, FORMAT_VERSION):
        raise CheckpointError(f"{path}: format version {version}, this release reads 1 and {FORMAT_VERSION}")
    return data


def _without_memory(config: GPTConfig) -> SparseGPT:
    """Names and shapes alone, so that a wrong size in a config is found before it takes memory."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # of what the model itself will warn
        return SparseGPT(config)


def _read_weights(like: SparseGPT, path: Path) -> dict[str, torch.Tensor]:
    tensors = read_packed(path, {name: tensor.shape for name, tensor in like.state_dict().items()})
    problems = [f"{name} holds NaN or infinity" for name, t in tensors.items() if not torch.isfinite(t).all()]
    if problems:
        raise CheckpointError(f"{path}: " + "; ".join(problems[:5]))
    return tensors


#: Asked in order; higher floors insert their own.
READERS: list[Reader] = [Reader(lambda path: (path / CONFIG_FILE).is_file(), _load_saved)]
