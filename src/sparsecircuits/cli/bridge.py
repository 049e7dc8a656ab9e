"""``sparsecircuits bridge``: what a bridge is worth, and the dense model read and steered through it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from sparsecircuits.cli import bridge_report, bridge_task
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError

Action = Literal["report", "steer", "transfer"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """What a bridge is worth, and the dense model read and steered through it.

    RUN is a sparse model that was trained with a bridge: sparsecircuits train RUN --bridge DENSE.

    "report" measures on validation tokens: which share of the variance of either model's residual stream is
    missed at each location, and the loss of every hybrid that is the one model up to there and the other from
    there on. A good bridge's hybrids are not worse than the worse of the two models.

    "steer" changes the dense model's answer through one node of a circuit: what the node is on the other
    prompt of a pair, less what it is on its own, goes through the bridge into what the dense model reads, or
    into its residual stream for a node that writes there, at strengths from 0 to 1. Beside it are directions
    of equal norm: random ones, the one by which the dense model's own reads differ, and the best that
    gradients find.

    "transfer" asks whether the circuit explains the dense model: all nodes of a circuit that read the
    residual stream are changed so at once. How much of the dense model's change of mind do they give, against
    random nodes?

    Results go to RUN/bridge, with a picture.

    Example: sparsecircuits bridge report bridged

    Example: sparsecircuits bridge steer bridged --task single_double_quote
    """

    action: Annotated[Positional[Action], arg(metavar="report|steer|transfer")]
    """What to do."""
    run: Annotated[Positional[str], arg(metavar="RUN")]
    """The sparse model's run: a folder, or a name in runs/."""
    dense: Annotated[str | None, arg(metavar="DENSE")] = None
    """Where the dense model is, if not where it was in training."""
    task: UseAppendAction[tuple[str, ...]] = ()
    """steer, transfer: of the run's circuits the one for this task, again for each; all if not given."""
    node: Annotated[str | None, arg(metavar="NODE")] = None
    """steer: through this node, such as 0.attn.act_in.17 or 1.attn.resid_delta.3; if not given, through the
    circuit's node that steers best on training prompts."""
    side: Literal["left", "right", "both"] = "both"
    """steer: the left prompts of pairs, to be answered like right ones, the other way round, or both. A node
    may say of one answer alone that it is due."""
    pairs: int = 128
    """steer, transfer: held-out pairs to measure on, and training pairs to choose and fit by."""
    draws: int = 16
    """steer, transfer: random directions, and draws of random nodes."""
    unbridged: Annotated[str | None, arg(metavar="RUN")] = None
    """report: a run of the same sparse model trained alone, to compare losses with."""
    tokens: int = 65_536
    """report: validation tokens to measure on."""
    mixtures: int = 32
    """report: random mixtures of the two models, in which each sublayer is of either."""
    seed: int = 0
    """Chooses mixtures, prompts and random directions."""
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:N, or auto."""
    picture: Annotated[Path | None, arg(metavar="FILE")] = None
    """Where to draw it: .png, .svg or .pdf; into RUN/bridge if not given."""
    json: bool = False
    """Print JSON instead of a table."""


_ACTIONS: dict[Action, Callable[[Options], None]] = {
    "report": bridge_report.run,
    "steer": bridge_task.steer,
    "transfer": bridge_task.transfer,
}


def run(options: Options) -> None:
    """Do what was asked."""
    for name in ("tokens", "mixtures"):
        if getattr(options, name) < 1:
            raise ConfigError(f"--{name} is {getattr(options, name)}; it must be at least 1")
    _ACTIONS[options.action](options)
