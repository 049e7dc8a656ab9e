"""A run is a folder: config, metrics, checkpoints, the model, and what was found in it.

::

    runs/NAME/
      run.json           the resolved config, where the corpus lies, what it is trained beside
      tokenizer.json     so that the run understands text without its corpus
      metrics.jsonl      one JSON object a line, the figures of a step or an event; the keys TIMING are the
                         only figures that differ between two trainings of the same
      checkpoints/       step_000200/ …, the latest two and the one of the lowest validation loss
      model/             config.json, model.safetensors: the finished model
      result.json        validation loss, density, tokens, seconds
      circuits/          what pruning found
      trackers.json      what wandb, trackio and TensorBoard call the run, if metrics go there too
      lock               while somebody trains in it: who

Every command takes such a folder; nothing else is state.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsecircuits.config import Config
from sparsecircuits.data.shards import Corpus
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import CheckpointError, ConfigError, DataError
from sparsecircuits.files import append_line, make_folder, write_atomic
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.model.checkpoint import (
    CONFIG_FILE,
    READERS,
    WEIGHTS_FILE,
    Reader,
    load_weights,
    locate,
)
from sparsecircuits.train.beside import Beside, beside_differences
from sparsecircuits.train.checkpoint import MODEL_FILE, find_checkpoint
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.finished import RESULT_FILE, load_finished
from sparsecircuits.train.metrics import read_line
from sparsecircuits.train.standing import differences, require_no_checkpoints

if TYPE_CHECKING:
    from sparsecircuits.interop import Pushed

RUN_FILE = "run.json"
RUN_FORMAT = "sparsecircuits.run"
RUN_VERSION = 1
METRICS_FILE = "metrics.jsonl"
#: What training writes into the folder, and into the finished model's.
FILES = (RUN_FILE, METRICS_FILE, "tokenizer.json", RESULT_FILE, "trackers.json")
MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE)
#: Keys of metrics.jsonl that depend on the machine and the hour, and on nothing else.
TIMING = (
    "seconds",
    "tokens_per_second",
    "data_wait",
    "data_wait_share",
    "peak_bytes",
    "peak_bytes_per_token",
)
#: What in run.json tells one corpus from another, wherever they lie.
_CORPUS_KEYS = ("tokenizer_sha256", "tokens_sha256")


@dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """Everything that decides a run's result, beside its corpus."""

    model: GPTConfig = GPTConfig()
    """The model's shape."""
    train: TrainConfig = TrainConfig()
    """The recipe."""

    def validate(self) -> None:
        if self.context > self.model.n_ctx:
            raise ConfigError(
                f"RunConfig: train.context is {self.context}; the model's n_ctx is {self.model.n_ctx}"
            )

    @property
    def context(self) -> int:
        """Tokens of a sequence in training and validation."""
        return self.model.n_ctx if self.train.context is None else self.train.context


@dataclass(frozen=True)
class Run:
    """An opened run folder."""

    folder: Path
    config: RunConfig
    corpus_folder: Path
    beside: Beside | None = None
    """The dense model and the bridge that it is trained with, if it is."""
    origin: str | None = None
    """Its name on the Hub, if it came from there; the folder is the cache's then, and not to be written."""

    @property
    def name(self) -> str:
        return self.origin or self.folder.name

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def circuits(self) -> Path:
        return self.folder / "circuits"

    @classmethod
    def create(
        cls, folder: str | Path, config: RunConfig, corpus: Corpus, beside: Beside | None = None
    ) -> Run:
        """Make the folder, or open it if it holds a run of the same config and corpus, beside the same.

        Raises:
            ConfigError: it holds another run; or the corpus has another vocabulary than the model.
            CheckpointError: it holds checkpoints and no run.
        """
        folder = Path(folder)
        if config.model.vocab_size != corpus.tokenizer.vocab_size:
            raise ConfigError(
                f"the model's vocab_size is {config.model.vocab_size}, the corpus' tokenizer has "
                f"{corpus.tokenizer.vocab_size} entries ({corpus.folder})"
            )
        header = {
            "format": RUN_FORMAT,
            "version": RUN_VERSION,
            "corpus": os.path.relpath(corpus.folder, folder),
            "tokenizer_sha256": corpus.tokenizer.hash,
            "tokens_sha256": corpus.manifest.files["train.bin"].sha256,
            "config": config.to_dict(),
        }
        if beside is not None:
            header["beside"] = beside.to_dict()
        path = folder / RUN_FILE
        if path.exists():
            found = cls.open(folder)
            if other := beside_differences(found.beside, beside, folder):
                raise ConfigError(
                    f"{folder} holds another run: {other}; choose another name, or remove the folder"
                )
            stored = _read_json(path)
            if found.config != config or any(stored.get(key) != header[key] for key in _CORPUS_KEYS):
                there, here = found.config, config
                what = differences({"model": (there.model, here.model), "train": (there.train, here.train)})
                raise ConfigError(
                    f"{folder} holds a run with other settings ({what or 'another corpus'}); "
                    f"choose another name, or remove the folder"
                )
            return found
        require_no_checkpoints(folder)
        make_folder(folder)
        corpus.tokenizer.save(folder / "tokenizer.json")
        write_atomic(path, (json.dumps(header, indent=2) + "\n").encode())
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open an existing run folder; anything else raises :class:`CheckpointError`."""
        folder = Path(folder)
        path = folder / RUN_FILE
        if not folder.exists():
            raise CheckpointError(
                f"{folder}: no run here: there is no such folder (for a run that comes with the package: "
                f"load_run(sparsecircuits.examples.example_folder(NAME)))"
            )
        if not path.is_file():
            raise CheckpointError(f"{folder}: no run here: it holds no {RUN_FILE}")
        data = _read_json(path)
        if data.get("format") != RUN_FORMAT or data.get("version") != RUN_VERSION:
            raise CheckpointError(f"{path}: not a run of this release (version {data.get('version')!r})")
        try:
            config = RunConfig.from_dict(data["config"], where=str(path))
            corpus = (folder / data["corpus"]).resolve()
            beside = Beside.from_dict(data["beside"], where=str(path)) if "beside" in data else None
        except (ConfigError, KeyError) as error:
            raise CheckpointError(f"{path}: damaged: {error}") from error
        return cls(folder, config, corpus, beside)

    def model(self, checkpoint: int | str | None = None) -> SparseGPT:
        """The finished model, in evaluation mode; or one on the way to it.

        Args:
            checkpoint: a step that has a checkpoint, "latest", or "best": the one of the lowest validation
                loss, where all checkpoints are measured on the same tokens.

        Raises:
            CheckpointError: training has not finished, or there is no such checkpoint, or it is damaged: the
                finished model's weights are compared with their hash.
        """
        if checkpoint is not None:
            model = SparseGPT(self.config.model)
            load_weights(model, find_checkpoint(self.checkpoints, checkpoint).path / MODEL_FILE)
            return model.eval()
        return load_finished(self.folder, self.config.train.steps)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the model was trained with."""
        return Tokenizer.load(self.folder / "tokenizer.json")

    def corpus(self) -> Corpus:
        """The corpus that the run was trained on.

        Raises:
            DataError: it was moved or removed, or the run came without it; or it is damaged.
        """
        if not self.corpus_folder.is_dir():
            note = self.folder / "README.md"
            how = f"; {note} says how to build it" if note.is_file() else ""
            raise DataError(f"{self.folder}: the run's corpus is not at {self.corpus_folder}{how}")
        return Corpus.open(self.corpus_folder)

    def corpus_hashes(self) -> tuple[str, ...]:
        """What tells its corpus from others, wherever they lie."""
        stored = _read_json(self.folder / RUN_FILE)
        return tuple(str(stored.get(key)) for key in _CORPUS_KEYS)

    def result(self) -> dict[str, Any] | None:
        """What :meth:`finish` wrote, or None while training goes on."""
        path = self.folder / RESULT_FILE
        return _read_json(path) if path.exists() else None

    def finish(self, model: SparseGPT, result: dict[str, Any]) -> None:
        """Write the model, then the result that marks the run as done."""
        model.save_pretrained(self.folder / "model")
        write_atomic(self.folder / RESULT_FILE, (json.dumps(result, indent=2) + "\n").encode())

    def push_to_hub(
        self,
        name: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        message: str | None = None,
        token: str | bool | None = None,
        license: str | None = None,
        checkpoints: bool = False,
    ) -> Pushed:
        """Push it to the Hugging Face Hub as ``org/name``: :func:`sparsecircuits.interop.push_run`."""
        from sparsecircuits.interop import push_run

        return push_run(
            self,
            name,
            private=private,
            revision=revision,
            message=message,
            token=token,
            license=license,
            checkpoints=checkpoints,
        )

    def log(self, line: str) -> None:
        """Append one JSON line of metrics.

        Raises:
            SaveError: it could not be written; the file is as it was.
        """
        append_line(self.folder / METRICS_FILE, line)

    def metrics(self) -> list[dict[str, Any]]:
        """The figures of all steps that have a line, so far.

        Raises:
            CheckpointError: a line is damaged.
        """
        return [row for _, row in self._rows() if "event" not in row]

    def events(self) -> list[dict[str, Any]]:
        """What happened to the run so far: saves that failed, what diverged."""
        return [row for _, row in self._rows() if "event" in row]

    def truncate_metrics(self, step: int) -> None:
        """Drop the figures of steps after ``step``: a resumed run writes them again. Events stay."""
        kept = [line for line, row in self._rows() if "event" in row or row["step"] <= step]
        write_atomic(self.folder / METRICS_FILE, "".join(line + "\n" for line in kept).encode())

    def _rows(self) -> list[tuple[str, dict[str, Any]]]:
        """Lines of metrics, and what they say.

        Raises:
            CheckpointError: one is damaged.
        """
        path = self.folder / METRICS_FILE
        if not path.exists():
            return []
        # A kill in the middle of a write leaves a last line without its end; it does not count.
        lines = path.read_bytes().split(b"\n")[:-1]
        return [_row(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def load_run(source: str | Path, *, revision: str | None = None, token: str | bool | None = None) -> Run:
    """Open a run: ``run = load_run("runs/demo/sparse"); model = run.model()``.

    Args:
        source: its folder, or ``org/name`` on the Hub, or ``org/name@revision``. What is here, and what is
            written as a path, never touches the network.
        revision: on the Hub, a branch, a tag or a commit.
        token: for the Hub; None: the one that ``huggingface_hub`` finds.

    Raises:
        CheckpointError: no run there, or damaged; a :class:`~sparsecircuits.errors.HubError` if it is the Hub
            that has no such run, or does not let it out.
    """
    folder = locate(source, revision=revision, token=token)
    if folder == Path(source):
        return Run.open(folder)
    if not (folder / RUN_FILE).is_file():
        raise CheckpointError(
            f"{source}: a model alone, not a run: it holds no {RUN_FILE}; SparseGPT.from_pretrained reads it"
        )
    run = Run.open(folder)
    return dataclasses.replace(run, origin=str(source) if revision is None else f"{source}@{revision}")


def _row(line: bytes, where: str) -> tuple[str, dict[str, Any]]:
    try:
        text = line.decode()
        row = read_line(text)
        if not isinstance(row["step"], int):
            raise ValueError("its step is no number")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{where}: damaged: {error}; remove the line to go on without it") from error
    return text, row


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable JSON: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return data


READERS.insert(0, Reader(lambda path: (path / RUN_FILE).is_file(), lambda path: Run.open(path).model()))
