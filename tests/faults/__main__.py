"""``python -m tests.faults R5 --cases 20``: put training to one kind of fault; a JSON line for each case."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import warnings
from pathlib import Path

import torch

from tests.faults import shim, tiny
from tests.faults.kinds import KINDS
from tests.faults.tiny import Bench


def main() -> int:
    """Run the cases; exit code 1 if one is not good."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("kind", nargs="+", choices=list(KINDS))
    words.add_argument("--cases", type=int, help="so many of each; all if not given")
    words.add_argument(
        "--sabotage", action="store_true", help="break the code on purpose: a case must notice"
    )
    words.add_argument("--keep", type=Path, help="work in this folder, and leave it")
    chosen = words.parse_args()
    folder = chosen.keep or shim.scratch()
    folder.mkdir(parents=True, exist_ok=True)
    if shim.available() and not shim.preloaded():
        again = [
            sys.executable,
            "-m",
            "tests.faults",
            *sys.argv[1:],
            *(() if chosen.keep else ("--keep", folder)),
        ]
        code = os.spawnve(os.P_WAIT, sys.executable, list(map(str, again)), shim.environment(folder))
        if not chosen.keep:
            shutil.rmtree(folder)
        return code
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
    torch.set_num_threads(1)
    warnings.simplefilter("default")
    good = True
    for name in chosen.kind:
        kind = KINDS[name]
        bench = Bench.open(folder, chosen.sabotage)
        bench.straight(tiny.config())
        for outcome in kind.run(bench, chosen.cases or kind.cases):
            sys.stdout.write(json.dumps({"kind": name, **outcome._asdict()}) + "\n")
            sys.stdout.flush()
            good = good and outcome.good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
