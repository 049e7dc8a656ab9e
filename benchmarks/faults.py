"""Count what training survives; write ``docs/results/faults.json`` and the table of ``docs/faults.md``.

Every kind of fault of ``tests/faults`` with all its cases, and once with the code broken on purpose, which a
case must notice. About twenty minutes on one core; some, with the others' figures as they were::

    python benchmarks/faults.py
    python benchmarks/faults.py --only R5 R8
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import figure, fill, markdown, save, short, source
from sparsecircuits.cli.progress import Progress
from tests.faults.kinds import KINDS

SCRIPT = "benchmarks/faults.py"
RESULT, PAGE = Path("docs/results/faults.json"), Path("docs/faults.md")
#: Of a broken code's cases so many are tried; one must notice.
SABOTAGED = 8


def main() -> None:
    """Count, and write."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    words.add_argument("--only", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    words.add_argument("--as-is", action="store_true", help="write the page from the counts that are there")
    chosen = words.parse_args()
    counts = json.loads(RESULT.read_text())["counts"] if RESULT.exists() else {}
    if not chosen.as_is:
        with Progress() as progress:
            for kind in chosen.only:
                counts[kind] = _count(kind, progress)
                _write(counts)  # what is counted so far is kept, whatever happens next
    print(_write(counts))


def _count(kind: str, progress: Progress) -> dict[str, Any]:
    began = time.monotonic()
    cases = KINDS[kind].cases
    bar = progress.add(f"{kind} {KINDS[kind].about}", total=cases)
    outcomes = []
    for outcome in _outcomes(kind):
        outcomes.append(outcome)
        bar.update(len(outcomes))
    broken = list(_outcomes(kind, "--sabotage", "--cases", str(SABOTAGED)))
    noticed = not all(outcome["good"] for outcome in broken)
    return {
        "cases": cases,
        "good": sum(outcome["good"] for outcome in outcomes),
        "tried": len(outcomes),
        "sabotage_noticed": noticed,
        "failed": [outcome for outcome in outcomes if not outcome["good"]],
        "seconds": round(time.monotonic() - began, 1),
    }


def _outcomes(kind: str, *more: str) -> Any:
    words = [sys.executable, "-W", "ignore", "-m", "tests.faults", kind, *more]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)


def _write(counts: dict[str, Any]) -> str:
    there = {kind: counts[kind] for kind in KINDS if kind in counts}
    rows = [
        figure(f"{kind}: {KINDS[kind].about}", row["good"], row["cases"], "max")
        for kind, row in there.items()
    ]
    rows.append(
        figure(
            "kinds whose cases notice code that is broken on purpose",
            sum(row["sabotage_noticed"] for row in there.values()),
            len(KINDS),
            "max",
        )
    )
    result = save(RESULT, f"python {SCRIPT}", rows, counts=there)
    lines = [["fault", "held", "of", "broken code noticed"]]
    for kind, row in there.items():
        held = f"{row['good']:,}" if row["good"] == row["cases"] else f"**{row['good']:,}**"
        noticed = "yes" if row["sabotage_noticed"] else "**no**"
        lines.append([f"{kind} {KINDS[kind].about}", held, f"{row['cases']:,}", noticed])
    goals = (
        f"The goal of each of the {len(there)} rows is that all its cases hold; one figure more is that in "
        f"every row broken code is noticed. {short(result)}"
    )
    block = "\n\n".join([source(result), markdown(lines), goals])
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), SCRIPT, block), encoding="utf-8")
    return short(result)


if __name__ == "__main__":
    main()
