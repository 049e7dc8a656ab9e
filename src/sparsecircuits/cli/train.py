"""``sparsecircuits train``: a preset, a few overrides, a corpus; out comes a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.console import Console
from tyro.conf import Positional, UseAppendAction, arg

from sparsecircuits.cli.arguments import new_run_folder
from sparsecircuits.cli.data import read_mix
from sparsecircuits.cli.progress import Progress
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.cli.settings import flat, override
from sparsecircuits.cli.train_bridge import (
    bridge_settings,
    bridged,
    dense_corpus,
    open_dense,
    require_same_tokens,
)
from sparsecircuits.cli.train_corpus import open_corpus, require_trainable, with_corpus
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError

if TYPE_CHECKING:
    from sparsecircuits.bridges.config import BridgeConfig
    from sparsecircuits.data import Corpus
    from sparsecircuits.presets import Preset
    from sparsecircuits.train import Machine
    from sparsecircuits.train.devices import Team
    from sparsecircuits.train.loop import Progress as Step

#: As :data:`sparsecircuits.train.machine.TrackerName`, which help does not wait for.
Tracker = Literal["wandb", "trackio", "tensorboard"]

COLUMNS = (
    Column("val_loss", "validation loss", ".4f"),
    Column("density", "density", ".4f"),
    Column("tokens", "tokens", ",d"),
    Column("steps", "steps", ",d"),
    Column("seconds", "seconds", ".0f"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Train a model: a preset, changed by a few settings, on a corpus.

    Everything goes into the run's folder. Ctrl-C and SIGTERM save before they end it (a second Ctrl-C ends it
    at once); the same command goes on where it stopped, and ends with the same weights as if it had not been.

    Several processes: torchrun --nproc-per-node 8 -m sparsecircuits train mine, and docs/devices.md.

    Example: sparsecircuits train mine --set model.d_model=256 --set train.density=1/64

    Example: sparsecircuits train bridged --bridge demo/dense

    Example: sparsecircuits train installed --source site-packages --set data.train_tokens=none
    """

    run: Annotated[Positional[str | None], arg(metavar="RUN")] = None
    """The run to make: a folder, or a name in runs/."""
    preset: str = "demo"
    """What to start from: demo, demo_dense, small, tiny, stories, one of the paper's ablations
    (ablate/no_anneal) or of its family of models (paper/4x-3.7M). --presets lists all."""
    presets: bool = False
    """List all presets, a line each, and stop."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """Change a setting of the preset, again for each: train.steps=3000, model.d_model=256,
    data.train_tokens=5000000. --show lists all."""
    data: Path | None = None
    """A corpus that sparsecircuits data has built; otherwise the preset's is built in RUN/data, or with
    --bridge the dense run's is taken."""
    bridge: Annotated[str | None, arg(metavar="DENSE")] = None
    """Train it beside a frozen dense model, and a bridge between their residual streams (docs/bridges.md): a
    run or model of ours, a folder with a GPT-2 of transformers, or transformers:NAME. --set bridge.mixtures=2
    and others change the bridge."""
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:N, or auto: a CUDA device if there is one."""
    parallel: Literal["auto", "none", "ddp", "shard"] = "auto"
    """How processes that torchrun started share the work: ddp: each has the whole model; shard: each has
    some rows of every weight; auto: ddp if there are several."""
    micro_rows: int | None = None
    """Sequences that a process computes at once; fewer take less memory."""
    out_of_memory: Literal["stop", "halve"] = "stop"
    """Where memory runs out in a step: stop with a message, or halve the sequences at once and go on."""
    activations: Literal["all", "sparse", "blocks", "sublayers"] = "all"
    """What is saved for gradients: all; sparse: without zeros; blocks, sublayers: what enters each, the rest
    is computed again. Less memory for more time, and the same result (docs/memory.md)."""
    keep: int = 2
    """Checkpoints that stay, the latest; the one of the lowest validation loss stays beside them."""
    compile: bool = False
    """Compile the model with torch.compile."""
    source: UseAppendAction[tuple[str, ...]] = ()
    """Build the corpus in RUN/data of SOURCE or SOURCE=WEIGHT, again for each, instead of the preset's: a
    folder, a file, site-packages, ... (sparsecircuits data --help has all)."""
    track: Annotated[UseAppendAction[tuple[Tracker, ...]], arg(metavar="wandb|trackio|tensorboard")] = ()
    """Send the metrics there as well as to RUN/metrics.jsonl, again for each: pip install
    'sparsecircuits[track]'. Begin with WANDB_MODE=offline for wandb without a network."""
    show: bool = False
    """Print every setting as it would be, and stop."""
    json: bool = False
    """Print JSON instead of a table."""


PRESET_COLUMNS = (Column("name", "preset"), Column("about", "what it is"), Column("source", "paper"))


def run(options: Options) -> None:
    """Build or open the corpus, train, and print the result."""
    from sparsecircuits.ops.memory import return_freed_memory
    from sparsecircuits.train import Machine
    from sparsecircuits.train.devices import join

    if options.presets:
        _list_presets(options.json)
        return
    machine = Machine(
        track=options.track,
        device=options.device,
        parallel=options.parallel,
        micro_rows=options.micro_rows,
        out_of_memory=options.out_of_memory,
        activations=options.activations,
        keep=options.keep,
        compile=options.compile,
    )
    with join(machine) as team:
        if options.activations != "all" and team.device.type == "cpu":
            return_freed_memory()
        _run(options, machine, team)


def _run(options: Options, machine: Machine, team: Team) -> None:
    """What each process does; the first one alone says something."""
    from sparsecircuits.train import train
    from sparsecircuits.train.lock import run_lock
    from sparsecircuits.train.memory import require_memory
    from sparsecircuits.train.trackers import require_trackers

    require_trackers(options.track)
    words, settings = bridge_settings(options.set, asked=options.bridge is not None)
    dense = None if options.bridge is None else open_dense(options.bridge)
    data = options.data
    if dense is not None and data is None and not options.source:
        data = team.on_main(lambda: dense_corpus(dense))
    built = "the dense run's corpus" if options.data is None else "--data"
    preset = resolve(options.preset, words, sources=options.source, built="" if data is None else built)
    if data is not None:
        preset = with_corpus(preset, data)
    elif dense is not None:
        require_same_tokens(dense, preset)
    if options.show:
        if team.main:
            _show(preset, None if dense is None else settings, options.json)
        return
    if options.run is None:
        raise ConfigError("the following arguments are required: RUN")
    folder = new_run_folder(options.run)
    require_memory(preset.run, machine, team.world)
    method = None if dense is None else bridged(dense, settings, preset)
    beside = None if method is None else method.beside(folder)
    team.on_main(lambda: require_trainable(preset, data, folder, beside))
    with (
        contextlib.ExitStack() as held,
        Progress(None if team.main else Console(quiet=True)) as progress,
    ):
        team.on_main(lambda: held.enter_context(run_lock(folder)))
        corpus = team.main_first(lambda: open_corpus(preset, data, folder, progress.stage))
        if dense is not None:
            dense.require_vocabulary(corpus.tokenizer, str(corpus.folder))
        model = preset.model.replace(vocab_size=corpus.tokenizer.vocab_size)
        config = dataclasses.replace(preset.run, model=model)
        if team.main:
            _say_shortfalls(corpus, config.train.eval_tokens)
        bar = progress.add(f"train {folder.name}", total=config.train.steps)
        per_step = config.train.rows * config.context

        def watch(step: Step) -> None:
            bar.update(step.step, loss=step.loss, tokens=step.step * per_step)

        result = train(config, corpus, folder, watch, machine, team, method)
    if not team.main:
        return
    row = {"run": str(folder), "corpus": str(corpus.folder), **dataclasses.asdict(result)}
    if options.json:
        print_json(row)
        return
    print_table([row], COLUMNS)
    print(f"run: {folder}")
    if dense is not None:
        print(f"what its bridge is worth: sparsecircuits bridge report {shlex.quote(str(folder))}")


def resolve(name: str, words: Sequence[str], *, sources: Sequence[str] = (), built: str = "") -> Preset:
    """The preset ``name`` with the settings that ``words`` change, on text of ``sources`` if there are any.

    The size of the vocabulary is one setting, ``data.vocab_size``; the model's follows.

    Args:
        name: of a preset.
        words: ``KEY=VALUE``.
        sources: ``SOURCE`` or ``SOURCE=WEIGHT``.
        built: what says where the corpus is, if it is there already, so that nothing of it can be set.

    Raises:
        ConfigError: an unknown preset or key (with near misses), or a value that does not fit.
    """
    from sparsecircuits.presets import get_preset

    preset = get_preset(name)
    values = {key: value for key, _, value in (word.partition("=") for word in words)}
    if "model.vocab_size" in values:
        raise ConfigError("model.vocab_size follows the corpus' tokenizer; set data.vocab_size")
    if built and (wrong := sorted(key for key in values if key.startswith("data."))):
        raise ConfigError(f"{built} is built already; leave out {', '.join(wrong)}")
    if built and sources:
        raise ConfigError(f"{built} is built already; leave out --source")
    if sources:
        preset = preset.replace(data=preset.data.replace(mix=read_mix(sources)))
    if "data.vocab_size" in values:
        words = [*words, f"model.vocab_size={values['data.vocab_size']}"]
    return override(preset, words)


def _say_shortfalls(corpus: Corpus, eval_tokens: int) -> None:
    """Where the corpus has less than it, or the validation, was to have: a line each on stderr."""
    from sparsecircuits.data.shortfall import shortfalls

    told = shortfalls(corpus.manifest)
    if len(corpus.val) < eval_tokens:
        told.append(
            f"validation on {len(corpus.val):,} of train.eval_tokens={eval_tokens:,}: there are no more"
        )
    for line in told:
        print(f"not all that was asked for: {line}", file=sys.stderr)


def _list_presets(as_json: bool) -> None:
    from sparsecircuits.presets import PRESETS

    rows = [{"name": name, "about": entry.about, "source": entry.source} for name, entry in PRESETS.items()]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, PRESET_COLUMNS)


def _show(preset: Preset, bridge: BridgeConfig | None, as_json: bool) -> None:
    settings = dict(flat(preset)) | ({} if bridge is None else dict(flat(bridge, "bridge.")))
    if as_json:
        print_json(settings)
        return
    for key, value in settings.items():
        print(f"{key}={'none' if value is None else value}")
