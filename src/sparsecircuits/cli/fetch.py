"""``sparsecircuits fetch``: a run from the Hugging Face Hub, as a folder of one's own."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from tyro.conf import Positional, arg

from sparsecircuits.cli.arguments import new_run_folder
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Bring a run from the Hugging Face Hub into a folder of your own, to prune it further and to label it.

    To look at one no copy is needed: every command takes ORG/NAME for RUN. A run comes without its corpus;
    its README.md says how to build that.

    Example: sparsecircuits fetch me/my-sparse-model --out mine
    """

    name: Annotated[Positional[str], arg(metavar="ORG/NAME")]
    """The run's name on the Hub; ORG/NAME@REVISION for a branch, a tag or a commit."""
    out: str | None = None
    """The folder to make, or a name in runs/; NAME if not given."""
    checkpoints: bool = False
    """Bring the training's checkpoints as well, if they were pushed."""


def run(options: Options) -> None:
    """Fetch, copy, and print the folder."""
    from sparsecircuits.interop import HubName, fetch
    from sparsecircuits.interop.files import copy_fetched

    name = HubName.parse(options.name)
    folder = new_run_folder(options.out or name.repo.partition("/")[2])
    if folder.exists():
        raise ConfigError(f"{folder} is there already; --out names another")
    copy_fetched(fetch(name, checkpoints=options.checkpoints), folder, checkpoints=options.checkpoints)
    print(folder)
