"""The finished model of a run, compared with its hash; and what is said where it is missing or damaged."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.checkpoint import load_model, verify_weights
from sparsecircuits.train.checkpoint import found_checkpoints

RESULT_FILE = "result.json"
"""What marks a run as done."""


def load_finished(folder: Path, steps: int) -> SparseGPT:
    """The finished model of the run in ``folder``, in evaluation mode.

    Args:
        folder: of the run.
        steps: it has in all.

    Raises:
        CheckpointError: training has not finished, or the model is damaged; the message says what to do.
    """
    if not (folder / "model").is_dir():
        looks = "--checkpoint latest lets eval and generate look at it"
        raise CheckpointError(
            f"{folder}: training has not finished; to go on: "
            f"sparsecircuits train {shlex.quote(str(folder))}, with the options that it began with"
            + (f"; {looks}" if found_checkpoints(folder / "checkpoints") else "")
        )
    with _advising(folder, steps):
        return load_model(folder / "model")


def verify_finished(folder: Path, steps: int, more: Callable[[Path], None] | None = None) -> None:
    """Compare the finished model's weights with their hash; arguments as of :func:`load_finished`.

    ``more`` looks at what else the run ended with.

    Raises:
        CheckpointError: they are damaged or missing; the message says what to do.
    """
    with _advising(folder, steps):
        verify_weights(folder / "model")
        if more is not None:
            more(folder)


@contextlib.contextmanager
def _advising(folder: Path, steps: int) -> Iterator[None]:
    """Say of a model that is damaged where another comes from."""
    try:
        yield
    except CheckpointError as error:
        if (folder / "checkpoints" / f"step_{steps:06d}").is_dir():
            how = (
                f"remove {shlex.quote(str(folder / RESULT_FILE))} and give the command that trained it "
                f"again: it writes the model anew, from its last checkpoint"
            )
        else:
            how = "copy or fetch the run again"
        raise CheckpointError(f"{error}; {how}") from error
