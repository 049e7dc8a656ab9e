"""Measure trainings: two processes against one, and a corpus of real code.

Writes ``docs/results/training.json``, a table of ``docs/devices.md`` and one of ``docs/training.md``::

    python benchmarks/training.py
    python benchmarks/training.py --only corpus

It takes about a quarter of an hour on two cores. What ``--only`` leaves out keeps the figures that it has.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import devices, training_corpus
from benchmarks.report import fill, goals, save, source

SCRIPT = "benchmarks/training.py"
RESULT = Path("docs/results/training.json")
PARTS = {"devices": devices, "corpus": training_corpus}
PAGES = {"devices": Path("docs/devices.md"), "corpus": Path("docs/training.md")}


def main() -> None:
    """Measure, and write."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    words.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    words.add_argument("--folder", type=Path, help="where runs go; those that are there are not repeated")
    chosen = words.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        fresh = {part: PARTS[part].measure(chosen.folder or Path(scratch)) for part in chosen.only}
    kept = json.loads(RESULT.read_text(encoding="utf-8"))["figures"] if RESULT.is_file() else []
    rows = {part: fresh.get(part, _of(kept, PARTS[part].TOPIC)) for part in PARTS}
    result = save(RESULT, f"python {SCRIPT}", [row for part in PARTS for row in rows[part]])
    for part in chosen.only:
        block = f"{goals(rows[part])}\n\n{source(result)}"
        page = PAGES[part]
        page.write_text(fill(page.read_text(encoding="utf-8"), SCRIPT, block), encoding="utf-8")
        print(block)


def _of(figures: list[dict[str, Any]], topic: str) -> list[dict[str, Any]]:
    return [row for row in figures if row["name"].startswith(topic)]


if __name__ == "__main__":
    main()
