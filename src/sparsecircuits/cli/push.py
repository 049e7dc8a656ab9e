"""``sparsecircuits push``: put a run on the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from sparsecircuits.cli.arguments import open_run
from sparsecircuits.cli.report import print_json
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Put a run on the Hugging Face Hub: model, tokenizer, settings, results, circuits, and a card.

    The corpus stays here; so do checkpoints, unless asked for. What the repository holds of these kinds, and
    the run does not, goes away. The token is that of hf auth login, or the variable HF_TOKEN.

    Example: sparsecircuits push demo/sparse me/my-sparse-model --private --license apache-2.0

    sparsecircuits push demo/sparse me/my-sparse-model --show
    """

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A finished run: its folder, or its name in runs/."""
    name: Annotated[Positional[str], arg(metavar="ORG/NAME")]
    """What it is to be called on the Hub."""
    private: bool = False
    """Let only you, or your organisation, see it. An existing repository keeps what it is; if that is public,
    nothing is pushed."""
    revision: str | None = None
    """The branch to push to, made where there is none; main if not given."""
    message: str | None = None
    """Of the commit."""
    license: str | None = None
    """For the card, such as apache-2.0."""
    card: Path | None = None
    """A README.md of your own in place of the card that is made."""
    checkpoints: bool = False
    """Push the training's checkpoints as well, with the optimizer's state."""
    show: bool = False
    """Print the card, and push nothing."""
    json: bool = False
    """Print JSON instead of the address, or of the card."""


def run(options: Options) -> None:
    """Push, and print where it is; or print the card."""
    from sparsecircuits.interop import CardFacts, HubName, model_card, push_run

    run = open_run(options.run)
    card = None if options.card is None else _read(options.card)
    if options.show:
        name = HubName.parse(options.name).repo
        facts = CardFacts.of_run(run, run.model(), name=name, license=options.license)
        text = card or model_card(facts)
        if options.json:
            print_json({"name": name, "card": text})
        else:
            print(text, end="")
        return
    pushed = push_run(
        run,
        options.name,
        private=options.private or None,
        revision=options.revision,
        message=options.message,
        license=options.license,
        card=card,
        checkpoints=options.checkpoints,
    )
    if options.json:
        print_json({"name": str(pushed.name), **{k: v for k, v in pushed._asdict().items() if k != "name"}})
        return
    print(f"{pushed.name}: {len(pushed.files)} files, {pushed.url}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--card is {path}, which cannot be read: {error}") from error
