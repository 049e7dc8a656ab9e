"""Where Optuna's studies are kept, so that they can be gone on with: a journal file, or a database."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsecircuits.errors import ConfigError
from sparsecircuits.study.claims import STALE, Owner
from sparsecircuits.study.extras import need

if TYPE_CHECKING:
    import optuna

#: A trial of another machine that began so many seconds ago is taken for dead.
LONGEST = 24 * 3600.0


def open_study(storage: str | Path, name: str) -> optuna.Study:
    """The study of that name, made if it is not there.

    Args:
        storage: a journal file, or a database's URL.
        name: of the study.

    Raises:
        ConfigError: Optuna is not installed, or the database cannot be opened.
    """
    optuna = need("optuna", "tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    from sqlalchemy.exc import SQLAlchemyError

    backend = _journal(storage) if isinstance(storage, Path) else storage
    try:
        return optuna.create_study(
            storage=backend, study_name=name, direction="minimize", load_if_exists=True
        )
    except (ImportError, SQLAlchemyError) as error:
        raise ConfigError(f"--storage {storage}: {str(error).splitlines()[0]}") from error


def _journal(path: Path) -> optuna.storages.JournalStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:  # what a kill has left of a line would spoil the next one
        text = path.read_bytes() if path.exists() else b""
        if not text.endswith(b"\n") and text:
            with path.open("rb+") as file:
                file.truncate(text.rfind(b"\n") + 1)
    finally:
        lock.release()
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def trial_states() -> Any:
    """Optuna's ``TrialState``, imported when it is needed."""
    from optuna.trial import TrialState

    return TrialState


def is_dead(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a running trial's process is gone: seen, on this machine; else by its age."""
    assert trial.datetime_start is not None
    age = (datetime.now() - trial.datetime_start).total_seconds()
    owner = trial.user_attrs.get("owner")
    if owner is None:  # killed between the question and the note of whose it is
        return age > STALE
    alive = Owner(**owner).alive()
    return age > LONGEST if alive is None else not alive
