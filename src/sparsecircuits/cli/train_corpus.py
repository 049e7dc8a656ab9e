"""The corpus of ``sparsecircuits train``: one that is there, the run's own, or one that is built in it.

A run that is there is compared with what was asked for before anything is read, built or replaced.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sparsecircuits.errors import ConfigError, DataError

if TYPE_CHECKING:
    from sparsecircuits.data import Corpus, DataConfig
    from sparsecircuits.data.corpus import Progress
    from sparsecircuits.presets import Preset
    from sparsecircuits.train.beside import Beside


def with_corpus(preset: Preset, built: Path) -> Preset:
    """The preset with the data and the vocabulary of a corpus that is built; its manifest alone is read.

    Raises:
        DataError: there is none, or its manifest is damaged.
    """
    from sparsecircuits.data.corpus import MANIFEST
    from sparsecircuits.data.manifest import read_manifest

    if not built.is_dir():
        raise DataError(f"--data is {built}: no such folder; sparsecircuits data --out {built} makes one")
    manifest = read_manifest(built / MANIFEST)
    size = manifest.vocab_size
    return preset.replace(
        data=manifest.config.replace(vocab_size=size), model=preset.model.replace(vocab_size=size)
    )


def require_trainable(preset: Preset, built: Path | None, folder: Path, beside: Beside | None = None) -> None:
    """Refuse a folder that holds a run of other settings or beside another model, or something else.

    Raises:
        ConfigError: what differs, or what else lies there.
        CheckpointError: its run.json is damaged, or missing beside checkpoints.
    """
    from sparsecircuits.train.beside import beside_differences
    from sparsecircuits.train.run import RUN_FILE, Run
    from sparsecircuits.train.standing import differences, require_free

    if not (folder / RUN_FILE).exists():
        require_free(folder)
        return
    found = Run.open(folder)
    if other := beside_differences(found.beside, beside, folder):
        raise ConfigError(f"{folder} holds another run: {other}; choose another name, or remove the folder")
    vocab_size = found.config.model.vocab_size if built is None else preset.model.vocab_size
    pairs = {
        "model": (found.config.model, preset.model.replace(vocab_size=vocab_size)),
        "train": (found.config.train, preset.train),
    }
    if built is None and (own := _own_data(folder)) is not None:
        pairs["data"] = (own, preset.data)
    if what := differences(pairs):
        raise ConfigError(
            f"{folder} holds a run with other settings ({what}); choose another name, or remove the folder"
        )
    if built is None and not _is_own(found.corpus_folder, folder):
        raise ConfigError(
            f"{folder} holds a run that was trained on {found.corpus_folder}; go on with --data "
            f"{found.corpus_folder}, or choose another name"
        )


def open_corpus(preset: Preset, built: Path | None, folder: Path, progress: Progress) -> Corpus:
    """The corpus that is there, or the preset's in ``RUN/data``.

    Where a run has begun with the latter, it is not built anew as long as it is whole: a run stays on its
    tokens, whatever has changed in its sources since.
    """
    from sparsecircuits.data import Corpus, build_corpus
    from sparsecircuits.train.run import RUN_FILE
    from sparsecircuits.train.standing import CORPUS

    if built is not None:
        return Corpus.open(built)
    own = folder / CORPUS
    if (folder / RUN_FILE).exists() and _own_data(folder) == preset.data:
        try:
            return Corpus.open(own, progress)
        except DataError:  # damaged; it is built again
            pass
    return build_corpus(preset.data, own, progress)


def _own_data(folder: Path) -> DataConfig | None:
    """What the corpus in the run's folder is made of; None where there is none that can be read."""
    from sparsecircuits.data.corpus import MANIFEST
    from sparsecircuits.data.manifest import read_manifest
    from sparsecircuits.train.standing import CORPUS

    try:
        return read_manifest(folder / CORPUS / MANIFEST).config
    except DataError:
        return None


def _is_own(corpus: Path, folder: Path) -> bool:
    from sparsecircuits.train.standing import CORPUS

    return corpus.resolve() == (folder / CORPUS).resolve()
