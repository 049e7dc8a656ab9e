"""Make the bundled run anew out of a run of the demo: for those who work on this package.

>>> bundle("runs/demo/sparse", ["single_double_quote", "for_while"])        # doctest: +SKIP

1. copy what the run needs to be looked at: config, tokenizer, result;
2. save the model again, in today's form;
3. copy the chosen circuits, each of which must be of this very model;
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
from sparsecircuits.errors import CheckpointError
from sparsecircuits.examples import example_folder
from sparsecircuits.model.checkpoint import WEIGHTS_FILE, write_atomic
from sparsecircuits.train import Run, load_run
from sparsecircuits.train.run import RUN_FILE

#: Where a copy of the run looks for its corpus: in itself.
CORPUS = "data"
RESULT, TOKENIZER = "result.json", "tokenizer.json"
#: The corpus of the preset ``demo``, as its command makes it.
_TRAIN_TOKENS = 2_400_000

README = """\
# A weight-sparse model of small Python programs, and {count} of its circuits

A run folder as `sparsecircuits` writes it, without its corpus, checkpoints and metrics, and with its model
stored sparse. `sparsecircuits view example` draws the circuits; every command that reads a run takes
`example`; in Python it is `load_run(sparsecircuits.examples.example_folder())`.

## How it was made

| | |
|---|---|
| commands | `sparsecircuits train sparse --preset demo --set train.seed={seed}`, one thread; `prune sparse` |
| versions | sparsecircuits {version}, torch {torch} |
| preset | `demo`; all settings are in [run.json](run.json), those of each pruning in its `circuit.json` |
| seed | {seed} |
| training text | 95% made-up idioms, 5% Python's standard library; {tokens:,} tokens seen |
| validation loss | {val_loss:.4f} nats per token |
| density of the matrices | {density:.5f} |
| SHA-256 of the weights (`circuit.model_hash`) | `{model_sha256}` |
| SHA-256 of `model/{weights}` | `{file_sha256}` |

The same command on another machine gives figures like these, not the same weights: sums come out in another
order there.

| circuit | nodes | edges | loss, held out | accuracy | without it, refitted |
|---|---|---|---|---|---|
{rows}

## To prune it further

Nothing is written into the package: copy the folder, and build its corpus beside it. The standard library's
share depends on the version of Python, so the corpus may differ a little; the tokenizer stays the same.

```
cp -r "$(python -c 'from sparsecircuits.examples import example_folder; print(example_folder())')" mine
sparsecircuits data --out mine/{corpus} --tokenizer mine/{tokenizer} --train-tokens {train_tokens}
sparsecircuits prune mine else_elif
```

## Licence

Apache-2.0, as the package. Of the training text, the idioms are made up by the package, and Python's standard
library is under the PSF licence.
"""


def bundle(source: str | Path, tasks: Sequence[str], target: str | Path | None = None) -> None:
    """Replace the bundled run.

    Args:
        source: a finished run.
        tasks: those of its circuits that are to come along.
        target: the folder to make; None: :func:`~sparsecircuits.examples.example_folder`.

    Raises:
        CheckpointError: the run is not finished, a circuit is missing or damaged, or is of another model.
    """
    run, target = load_run(source), Path(target or example_folder())
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
    for name in (TOKENIZER, RESULT):
        shutil.copyfile(run.folder / name, target / name)
    model.save_pretrained(target / "model")
    for task in tasks:
        (target / "circuits" / task).mkdir(parents=True)
        for name in (CIRCUIT_FILE, VALUES_FILE):
            shutil.copyfile(run.circuits / task / name, target / "circuits" / task / name)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    write_atomic(target / "README.md", _readme(load_run(target), circuits, found).encode())


def _readme(run: Run, circuits: Sequence[Circuit], model_sha256: str) -> str:
    result = run.result() or {}
    return README.format(
        count=len(circuits),
        seed=run.config.train.seed,
        version=__version__,
        torch=torch.__version__,
        tokens=result["tokens"],
        val_loss=result["val_loss"],
        density=result["density"],
        model_sha256=model_sha256,
        weights=WEIGHTS_FILE,
        file_sha256=hashlib.sha256((run.folder / "model" / WEIGHTS_FILE).read_bytes()).hexdigest(),
        rows="\n".join(_row(circuit) for circuit in circuits),
        corpus=CORPUS,
        tokenizer=TOKENIZER,
        train_tokens=_TRAIN_TOKENS,
    )


def _row(circuit: Circuit) -> str:
    info = circuit.info
    figures = f"{info['nodes']} | {info['edges']} | {info['loss']:.4f} | {info['accuracy']:.1%}"
    return f"| `{circuit.task}` | {figures} | {info['necessity']['refitted_accuracy']:.0%} |"
