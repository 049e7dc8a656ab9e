"""Push a model or a run to the Hugging Face Hub, and fetch one from there, through ``huggingface_hub``.

What that library honours is honoured: ``HF_ENDPOINT``, ``HF_HOME`` and its cache, ``HF_TOKEN`` or
``hf auth login``, ``HF_HUB_OFFLINE``. Only files that :mod:`~sparsecircuits.interop.files` lists come or go.

Fetching: 1. the small files, and whether they are of a model of ours; 2. the weights; 3. everything is
compared with the list of hashes. The answer is a folder in the library's cache, which is not to be written.

Pushing: 1. make the repository if it is not there, and look that it is private where that is asked for;
2. lay out a copy of what may go, with a card and a list of hashes; 3. one commit makes the repository's
files of these kinds the same as the copy's.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sparsecircuits import __version__
from sparsecircuits.errors import CheckpointError, HubError, SparseCircuitsError
from sparsecircuits.files import write_atomic
from sparsecircuits.interop import files
from sparsecircuits.interop.card import CardFacts, model_card
from sparsecircuits.interop.names import SCHEME, HubName, hub_name
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.checkpoint import CONFIG_FILE, FORMAT, LOCATORS
from sparsecircuits.train.run import RUN_FILE, Run

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Token = str | bool | None
#: Errors that are the cache's, not the network's: no room, no right to write.
_HERE = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


class Pushed(NamedTuple):
    """What became of a push."""

    name: HubName
    url: str
    """Of the commit."""
    commit: str
    files: tuple[str, ...]
    """What the repository holds of ours now."""


def fetch(name: str | HubName, *, token: Token = None, checkpoints: bool = False) -> Path:
    """Bring a model or a run from the Hub, or find it in the cache.

    Args:
        name: ``org/name`` or ``org/name@revision``.
        token: for the Hub; None: the one that ``huggingface_hub`` finds.
        checkpoints: bring the training's checkpoints as well, if they were pushed.

    Returns:
        Its folder in the cache; nothing is to be written into it.

    Raises:
        HubError: no such model or revision, no access, no answer, or offline and not in the cache.
        CheckpointError: it is none of ours, or a file was damaged.
    """
    name = HubName.parse(name) if isinstance(name, str) else name
    allowed = files.patterns(checkpoints)
    api = _api(token)
    with _explained(name), _without_bars():
        small = [pattern for pattern in allowed if not pattern.endswith(".safetensors")]
        folder = Path(api.snapshot_download(name.repo, revision=name.revision, allow_patterns=small))
    _require_ours(folder, name)
    with _explained(name), contextlib.nullcontext() if sys.stderr.isatty() else _without_bars():
        api.snapshot_download(name.repo, revision=folder.name, allow_patterns=allowed)
    try:
        files.check_list(folder, allowed)
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}; remove {folder.parents[1]} to fetch it anew") from error
    return folder


def push_run(
    run: Run,
    name: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    message: str | None = None,
    token: Token = None,
    license: str | None = None,
    card: str | None = None,
    checkpoints: bool = False,
) -> Pushed:
    """Push a finished run: model, tokenizer, config, results, circuits with their labels and report cards.

    What the repository holds of these kinds, and the run does not, goes away.

    Args:
        run: the run.
        name: ``org/name``, or ``org/name@branch``.
        private: make the repository private, or public; None: as the account has it. An existing repository
            keeps what it is; where private is asked for and it is public, nothing is pushed.
        revision: a branch, made where there is none; None: the main branch.
        message: of the commit.
        token: for the Hub; None: the one that ``huggingface_hub`` finds.
        license: for the card, such as ``apache-2.0``.
        card: the text of README.md; None: :func:`~sparsecircuits.interop.card.model_card`.
        checkpoints: push the training's checkpoints too, with the optimizer's state.

    Raises:
        ConfigError: the name is not of the shape.
        CheckpointError: the run has no finished model.
        HubError: no access, no answer, or a public repository where a private one is asked for.
    """
    target = HubName.parse(name, revision)
    model = run.model()
    with tempfile.TemporaryDirectory() as folder:
        files.copy_run(run.folder, Path(folder), checkpoints=checkpoints)
        text = card or model_card(CardFacts.of_run(run, model, name=target.repo, license=license))
        message = message or f"Push the run {run.name} with sparsecircuits"
        return _push(Path(folder), target, text, private, message, token, files.patterns(checkpoints))


def push_model(
    model: SparseGPT,
    name: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    message: str | None = None,
    token: Token = None,
    license: str | None = None,
    card: str | None = None,
) -> Pushed:
    """Push a model alone; see :func:`push_run`."""
    target = HubName.parse(name, revision)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        text = card or model_card(CardFacts.of_model(model, name=target.repo, license=license))
        message = message or "Push a model with sparsecircuits"
        return _push(Path(folder), target, text, private, message, token, files.patterns())


def _push(
    folder: Path,
    name: HubName,
    card: str,
    private: bool | None,
    message: str,
    token: Token,
    replaced: list[str],
) -> Pushed:
    write_atomic(folder / files.README, card.encode())
    names = files.write_list(folder)
    api = _api(token)
    with _explained(name):
        api.create_repo(name.repo, private=private, exist_ok=True)
        if private and not api.model_info(name.repo).private:
            raise HubError(
                f"{name.repo}: the repository is public; nothing was pushed, as private is asked for"
            )
        if name.revision is not None and not name.revision.startswith("refs/"):
            api.create_branch(name.repo, branch=name.revision, exist_ok=True)
        # Its patterns let * stand for / too, so each file is named, with its own signs in brackets.
        there = api.list_repo_files(name.repo, revision=name.revision)
        old = [glob.escape(path) for path in there if files.is_listed(path, replaced)]
        commit = api.upload_folder(
            repo_id=name.repo,
            folder_path=folder,
            revision=name.revision,
            commit_message=message,
            delete_patterns=old,
        )
    return Pushed(name, commit.commit_url, commit.oid, names)


def _api(token: Token) -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="sparsecircuits", library_version=__version__)


def _require_ours(folder: Path, name: HubName) -> None:
    """Refuse other people's models before their weights are fetched."""
    if (folder / RUN_FILE).is_file():
        return
    path = folder / CONFIG_FILE
    try:
        found = json.loads(path.read_text()) if path.is_file() else None
    except ValueError as error:
        raise CheckpointError(f"{name}: {path}: not a readable config: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise CheckpointError(
            f"{name}: no model of sparsecircuits: it holds neither {RUN_FILE} nor a {CONFIG_FILE} of the "
            f"format {FORMAT!r}"
        )


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """The library shows no progress while it lasts."""
    from huggingface_hub import utils

    shown = not utils.are_progress_bars_disabled()
    if shown:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            utils.enable_progress_bars()


@contextlib.contextmanager
def _explained(name: HubName) -> Iterator[None]:
    """Turn the library's errors into one of ours, of one line."""
    from huggingface_hub import constants, errors

    try:
        yield
    except SparseCircuitsError:
        raise
    except errors.GatedRepoError as error:
        raise HubError(
            f"{name.repo}: its owner must let you in; ask at {constants.ENDPOINT}/{name.repo}, then log in"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{name.repo}: no revision {name.revision or 'main'!r} on the Hub") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{name.repo}: no such model on the Hub ({constants.ENDPOINT}), or it is private and needs a "
            f"token: hf auth login, or the variable HF_TOKEN"
        ) from error
    except errors.HFValidationError as error:
        raise HubError(f"{name}: no name that the Hub takes: {_first_line(error)}") from error
    except errors.OfflineModeIsEnabled as error:
        raise HubError(f"{name}: nothing is sent, as HF_HUB_OFFLINE keeps from the network") from error
    except errors.LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            raise HubError(f"{name}: not in the cache, and HF_HUB_OFFLINE keeps from the network") from error
        raise HubError(
            f"{name}: not in the cache, and no answer from the Hub ({constants.ENDPOINT}): {_reason(error)}"
        ) from error
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        if code in (401, 403):
            raise HubError(
                f"{name.repo}: the Hub refuses ({code}): {_first_line(error)}; it needs a token that may do "
                f"this: hf auth login, or the variable HF_TOKEN"
            ) from error
        raise HubError(f"{name}: the Hub answers {code}: {_first_line(error)}") from error
    except (errors.HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _HERE:
            raise HubError(f"{name}: {error.strerror}: {error.filename or constants.HF_HUB_CACHE}") from error
        raise HubError(
            f"{name}: no answer from the Hub ({constants.ENDPOINT}): {_first_line(error)}"
        ) from error
    except (RuntimeError, ValueError, KeyError) as error:  # an upload that fails, an answer that is none
        raise HubError(f"{name}: {_first_line(error)} {_reason(error)} ({constants.ENDPOINT})") from error


def _reason(error: BaseException) -> str:
    """What lies behind an error of the library."""
    return _first_line(error if error.__cause__ is None else error.__cause__)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _locate(source: str, revision: str | None, token: Token) -> Path | None:
    """Where a model's name leads on the Hub, for :func:`~sparsecircuits.model.checkpoint.locate`."""
    name = hub_name(source)
    if name is None:
        return None
    try:
        return fetch(HubName.parse(str(name), revision), token=token)
    except HubError as error:
        if source.startswith(SCHEME):
            raise
        raise HubError(f"no folder {source!r} here, and on the Hub: {error}") from error


LOCATORS.append(_locate)
