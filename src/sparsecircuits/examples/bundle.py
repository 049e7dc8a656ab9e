"""Make a bundled run anew out of a run of its preset: for those who work on this package.

>>> bundle("runs/demo/sparse", ["single_double_quote", "for_while"])        # doctest: +SKIP

1. copy what the run needs to be looked at: config, tokenizer, result;
2. save the model again, in today's form;
3. copy the chosen circuits, each of which must be of this very model, and their report cards;
4. write README.md, whose figures come from these files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from sparsecircuits import __version__
from sparsecircuits.circuit import Circuit, load_circuit, model_hash
from sparsecircuits.circuit.files import CIRCUIT_FILE, VALUES_FILE
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.examples import EXAMPLE, EXAMPLES, example_folder
from sparsecircuits.files import write_atomic
from sparsecircuits.model.checkpoint import WEIGHTS_FILE
from sparsecircuits.presets import get_preset
from sparsecircuits.train import Run, load_run
from sparsecircuits.train.run import RUN_FILE
from sparsecircuits.validate.card import CARD_FILE

#: Where a copy of the run looks for its corpus: in itself.
CORPUS = "data"
RESULT, TOKENIZER = "result.json", "tokenizer.json"

README = """\
# A weight-sparse model of small Python programs, of the preset `{preset}`

A run folder as `sparsecircuits` writes it, without its corpus, checkpoints and metrics, and with its model
stored sparse. Every command that reads a run takes `{name}`: `sparsecircuits eval {name}` says what it
does{view}; in Python it is `load_run(sparsecircuits.examples.example_folder("{name}"))`.

## How it was made

| | |
|---|---|
| commands | `sparsecircuits train NAME --preset {preset} --set train.seed={seed}`, one thread{prune} |
| versions | sparsecircuits {version}, torch {torch} |
| preset | `{preset}`; all settings are in [run.json](run.json), those of a pruning in its `circuit.json` |
| seed | {seed} |
| training text | 95% made-up idioms, 5% Python's standard library |
| tokens seen | {tokens:,}, in {minutes:.1f} minutes |
| validation loss | {val_loss:.4f} nats per token |
| density of the matrices | {density:.5f} |
| SHA-256 of the weights (`circuit.model_hash`) | `{model_sha256}` |
| SHA-256 of `model/{weights}` | `{file_sha256}` |

The same command on another machine gives figures like these, not the same weights: sums come out in another
order there.
{circuits}
## To prune it further

Nothing is written into the package: copy the folder, and build its corpus beside it. The standard library's
share depends on the version of Python, so the corpus may differ a little; the tokenizer stays the same.

```
cp -r "$(python -c 'from sparsecircuits.examples import *; print(example_folder("{name}"))')" mine
sparsecircuits data --out mine/{corpus} --tokenizer mine/{tokenizer} --train-tokens {train_tokens}
sparsecircuits prune mine else_elif
```

## Licence

Apache-2.0, as the package. Of the training text, the idioms are made up by the package, and Python's standard
library is under the PSF licence.
"""


CIRCUITS = """
| circuit | nodes | edges | loss, held out | accuracy | without it, refitted |
|---|---|---|---|---|---|"""


def bundle(
    source: str | Path, tasks: Sequence[str], name: str = EXAMPLE, target: str | Path | None = None
) -> None:
    """Replace a bundled run.

    Args:
        source: a finished run of the preset that :data:`~sparsecircuits.examples.EXAMPLES` has for the name.
        tasks: those of its circuits that are to come along, possibly none.
        name: what commands call it.
        target: the folder to make; None: :func:`~sparsecircuits.examples.example_folder`.

    Raises:
        CheckpointError: the run is not finished, a circuit is missing or damaged, or is of another model.
        ConfigError: the run's settings are not those of the preset.
    """
    run, target = load_run(source), Path(target or example_folder(name))
    preset = get_preset(EXAMPLES[name])
    seed = run.config.train.seed
    if run.config != preset.run.replace(train=preset.train.replace(seed=seed)):
        raise ConfigError(f"{run.folder}: not of the preset {EXAMPLES[name]!r}, whatever its seed")
    model = run.model()
    found = model_hash(model)
    circuits = [load_circuit(run.circuits / task) for task in tasks]
    for circuit in circuits:
        if circuit.info.get("model_sha256") != found:
            raise CheckpointError(f"{run.circuits / circuit.task}: the circuit is of another model")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    header = json.loads((run.folder / RUN_FILE).read_text()) | {"corpus": CORPUS}
    write_atomic(target / RUN_FILE, (json.dumps(header, indent=2) + "\n").encode())
    for part in (TOKENIZER, RESULT):
        shutil.copyfile(run.folder / part, target / part)
    model.save_pretrained(target / "model")
    for task in tasks:
        (target / "circuits" / task).mkdir(parents=True)
        for part in (CIRCUIT_FILE, VALUES_FILE, CARD_FILE):
            if part != CARD_FILE or (run.circuits / task / part).is_file():
                shutil.copyfile(run.circuits / task / part, target / "circuits" / task / part)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    write_atomic(target / "README.md", _readme(load_run(target), circuits, name, found).encode())


def _readme(run: Run, circuits: Sequence[Circuit], name: str, model_sha256: str) -> str:
    result = run.result() or {}
    preset = EXAMPLES[name]
    table = "\n".join((CIRCUITS, *map(_row, circuits), ""))
    return README.format(
        name=name,
        preset=preset,
        view=f", `sparsecircuits view {name}` draws its circuits" if circuits else "",
        prune=f", then `sparsecircuits prune NAME{_words(circuits[0])}`" if circuits else "",
        circuits=table if circuits else "",
        seed=run.config.train.seed,
        version=__version__,
        torch=torch.__version__,
        tokens=result["tokens"],
        minutes=result["seconds"] / 60,
        val_loss=result["val_loss"],
        density=result["density"],
        model_sha256=model_sha256,
        weights=WEIGHTS_FILE,
        file_sha256=hashlib.sha256((run.folder / "model" / WEIGHTS_FILE).read_bytes()).hexdigest(),
        corpus=CORPUS,
        tokenizer=TOKENIZER,
        train_tokens=get_preset(preset).data.train_tokens,
    )


def _words(circuit: Circuit) -> str:
    config = circuit.info["config"]
    if config["objective"] == "task":
        return ""  # as `demo` prunes
    return f" --max-tokens {config['max_tokens']}" + " --edges" * bool(config["edges"])


def _row(circuit: Circuit) -> str:
    info = circuit.info
    figures = f"{info['nodes']} | {info['edges']} | {info['loss']:.4f} | {info['accuracy']:.1%}"
    return f"| `{circuit.task}` | {figures} | {info['necessity']['refitted_accuracy']:.0%} |"
