"""Which files of a model or a run go to the Hub and come from it: those listed here, and no others.

JSON, JSON lines, YAML of tasks, Markdown and safetensors; no code, nothing pickled, no corpus. A list of them
with their hashes, :data:`LIST_FILE`, goes along, so that damage on the way is noticed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from sparsecircuits.bridges.files import BRIDGE_FILE
from sparsecircuits.circuit.files import CIRCUIT_FILE, VALUES_FILE
from sparsecircuits.data.files import FileRecord
from sparsecircuits.errors import CheckpointError, ConfigError, DataError
from sparsecircuits.files import placed_folder, write_atomic
from sparsecircuits.model.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from sparsecircuits.train.run import METRICS_FILE, RUN_FILE
from sparsecircuits.validate.card import CARD_FILE

README = "README.md"
LIST_FILE = "files.json"
LIST_FORMAT = "sparsecircuits.files"
#: Where a run from the Hub looks for its corpus: in itself. A folder's true place is nobody's business.
CORPUS = "data"

MODEL = (CONFIG_FILE, WEIGHTS_FILE)
RUN = (
    RUN_FILE,
    "tokenizer.json",
    "result.json",
    "tasks.json",
    METRICS_FILE,
    *(f"model/{name}" for name in MODEL),
    f"model/{BRIDGE_FILE}",
    "bridge/report.json",
    "bridge/steering/*.json",
    "bridge/transfer/*.json",
    *(f"circuits/*/{name}" for name in (CIRCUIT_FILE, VALUES_FILE, CARD_FILE)),
    "tasks/*.jsonl",
    "tasks/*.yaml",
    "tasks/*.yml",
)
CHECKPOINTS = ("checkpoints/*/*.json", "checkpoints/*/*.safetensors")


def patterns(checkpoints: bool = False) -> list[str]:
    """All that may come from the Hub or be replaced there."""
    return [README, LIST_FILE, *MODEL, *RUN, *(CHECKPOINTS if checkpoints else ())]


def is_listed(path: str, allowed: Iterable[str]) -> bool:
    """Whether a file may come or go: as many parts as one of the patterns, each of which fits.

    >>> is_listed("circuits/quotes/card.json", RUN), is_listed("circuits/a/b/card.json", RUN)
    (True, False)
    """
    parts = PurePosixPath(path).parts
    return any(
        len(parts) == len(PurePosixPath(pattern).parts) and PurePosixPath(path).match(pattern)
        for pattern in allowed
    )


def copy_run(folder: Path, target: Path, *, checkpoints: bool = False) -> None:
    """Copy what of a run may go to the Hub.

    In the copy its corpus is called :data:`CORPUS`, a dense model beside it by the last part of its path, and
    events do not say which error they had: it has paths.
    """
    _copy(folder, target, (*RUN, *(CHECKPOINTS if checkpoints else ())))
    header = json.loads((target / RUN_FILE).read_text()) | {"corpus": CORPUS}
    if "beside" in header:
        header["beside"]["source"] = shown_source(header["beside"]["source"])
    write_atomic(target / RUN_FILE, (json.dumps(header, indent=2) + "\n").encode())
    metrics = target / METRICS_FILE
    if metrics.is_file():
        lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        # A kill in the middle of a write leaves a last line without its end.
        told = [_without_error(line) for line in lines if line.endswith("\n")]
        write_atomic(metrics, "".join(told).encode())


def shown_source(source: str) -> str:
    """A dense model's place without the folders above it; its name where it has one.

    >>> shown_source("../../somewhere/dense"), shown_source("transformers:openai-community/gpt2")
    ('dense', 'transformers:openai-community/gpt2')
    """
    is_path = source.startswith((".", "/")) or source.count("/") > 1
    return PurePosixPath(source).name if is_path else source


def _without_error(line: str) -> str:
    row = json.loads(line)
    if "event" not in row or "error" not in row:
        return line
    return json.dumps({key: value for key, value in row.items() if key != "error"}) + "\n"


def copy_fetched(folder: Path, target: Path, *, checkpoints: bool = False) -> None:
    """Copy what came from the Hub out of the cache; ``target`` is there whole or not at all."""
    with placed_folder(target) as copy:
        _copy(folder, copy, patterns(checkpoints))


def _copy(folder: Path, target: Path, allowed: Iterable[str]) -> None:
    for pattern in allowed:
        for path in sorted(folder.glob(pattern)):
            copy = target / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def write_list(folder: Path) -> tuple[str, ...]:
    """Write :data:`LIST_FILE` over everything in a folder; returns the names, its own included."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    records = {path: FileRecord.of(folder / path).to_dict() for path in paths if path != README}
    data = {"format": LIST_FORMAT, "version": 1, "files": records}
    write_atomic(folder / LIST_FILE, (json.dumps(data, indent=2) + "\n").encode())
    return (*paths, LIST_FILE)


def check_list(folder: Path, allowed: Iterable[str]) -> None:
    """Compare a folder with its list, if it has one; the README may be edited.

    Args:
        folder: what came from the Hub.
        allowed: patterns of the files that were asked for.

    Raises:
        CheckpointError: a file is missing, or is not what was pushed; or the list is damaged.
    """
    path, allowed = folder / LIST_FILE, list(allowed)
    if not path.is_file():
        return
    try:
        data = json.loads(path.read_text())
        if data["format"] != LIST_FORMAT or data["version"] != 1:
            raise CheckpointError(f"{path}: not a list of files of this release")
        records = {str(name): FileRecord.from_dict(record) for name, record in data["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: damaged: {error}") from error
    for name, record in records.items():
        if is_listed(name, allowed):
            try:
                record.check(folder / name)
            except DataError as error:
                raise CheckpointError(f"{error} (so {LIST_FILE} says)") from error
