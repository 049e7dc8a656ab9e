"""What stands in a folder before a run is trained in it: what is not a run's must not be mixed up with it.

A run that is just beginning may have left its corpus and its tokenizer, and no ``run.json`` yet. Checkpoints
without one are another matter: nothing says which run they are of.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sparsecircuits.config import Config
from sparsecircuits.data.corpus import MANIFEST
from sparsecircuits.data.shards import BUILDING
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.train.checkpoint import found_checkpoints
from sparsecircuits.train.lock import LOCK_FILE

CORPUS = "data"
"""Where in the folder of a run its own corpus is built."""
#: All that a run may hold when it has no run.json yet; and names that begin with a dot.
_EARLY = (CORPUS, LOCK_FILE, "tokenizer.json")


def require_no_checkpoints(folder: Path) -> None:
    """Refuse a folder with checkpoints, for which nothing says what run they are of.

    Raises:
        CheckpointError: it has some.
    """
    if found := found_checkpoints(folder / "checkpoints"):
        raise CheckpointError(
            f"{folder}: it holds checkpoints (the latest: {found[-1].name}) but no run.json that says which "
            f"run they are of; put that back, remove the folder, or choose another name"
        )


def require_free(folder: Path) -> None:
    """Refuse a folder without ``run.json`` in which something else lies than what a run begins with.

    Raises:
        CheckpointError: it has checkpoints.
        ConfigError: it is a file, or other things are in it.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose another name for the run")
    require_no_checkpoints(folder)
    others = sorted(path for path in folder.glob("[!.]*") if path.name not in _EARLY)
    corpus = folder / CORPUS
    if corpus.exists() and not any((corpus / name).exists() for name in (MANIFEST, BUILDING)):
        others += sorted(corpus.glob("*")) if corpus.is_dir() else [corpus]
    if others:
        names = ", ".join(path.relative_to(folder).as_posix() for path in others[:3])
        more = f" and {len(others) - 3:,} more" if len(others) > 3 else ""
        raise ConfigError(
            f"{folder} is no run, and not empty ({names}{more}); choose another name, or a folder of its "
            f"own, such as {Path('runs') / folder.resolve().name}"
        )


def differences(pairs: Mapping[str, tuple[Config, Config]]) -> str:
    """The fields that two configs do not share, the first five: ``train.lr: 0.01 there, 0.5 here``.

    Args:
        pairs: what each pair's fields are called before the dot; the one there, and the one here.

    Returns:
        Nothing, where there are none.
    """
    rows = []
    for part, (there, here) in pairs.items():
        before, after = there.to_dict(), here.to_dict()
        rows += [
            f"{part}.{key}: {before[key]!r} there, {after[key]!r} here"
            for key in after
            if before[key] != after[key]
        ]
    return "; ".join(rows[:5])
