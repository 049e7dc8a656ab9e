"""Measure what the tasks promise; write ``docs/results/tasks.json`` and the tables of ``docs/tasks.md``.

Through the commands that users type: train ``small`` and ``stories`` where they are not in ``runs/`` yet
(together about half an hour on two cores), take ``runs/demo`` as ``benchmarks/demo.py`` leaves it, evaluate
all of them; follow ``docs/own_tasks.md`` with a task that does not exist; feed in broken files::

    python benchmarks/tasks.py --tokenizer tinypython_2k=FOLDER
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script; imported, the package is found already
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.report import figure, fill, goals, markdown, save, short, source
from sparsecircuits.circuit import model_hash
from sparsecircuits.data import open_tokenizer
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import TaskError
from sparsecircuits.examples import example_folder
from sparsecircuits.tasks import TASKS, VARIANTS, Task, TaskRow, describe_tasks
from sparsecircuits.train import Run, load_run
from sparsecircuits.viz.tokens import visible

SCRIPT = "benchmarks/tasks.py"
RESULT = Path("docs/results/tasks.json")
PAGE = Path("docs/tasks.md")
OWN_PAGE = Path("docs/own_tasks.md")

#: The last token decides this one (Gao et al. 2025, Table 1), so that a bigram model does it.
DECIDED_BY_LAST = "else_elif"
_SPEED_PAIRS = 1000


def main() -> None:
    """Train and measure what is missing, and write the figures."""
    options = _arguments().parse_args()
    runs: Path = options.runs
    for name in ("small", "stories"):
        if not (runs / name / "result.json").is_file():
            command("train", runs / name, "--preset", name)
    small, demo = load_run(runs / "small"), load_run(runs / "demo" / "sparse")
    evaluated = {
        "small": evaluate(small.folder, "python"),
        "demo": evaluate(demo.folder, "python"),
        "stories": evaluate(runs / "stories", "stories"),
    }
    own = follow_own_tasks(demo)
    refused = feed_broken_files()
    tokenizers: dict[str, TextTokenizer] = {"of the demo": demo.tokenizer(), "of small": small.tokenizer()}
    for word in options.tokenizer:
        name, _, path = word.partition("=")
        tokenizers[name] = open_tokenizer(path)
    seconds = times(small.tokenizer(), small.config.model.n_ctx)
    demo_seconds = json.loads((runs / "demo" / "summary.json").read_text())["seconds"]["total"]
    named = [row["name"] for row in json.loads(command("task", "list", "--json")) if row["name"] in TASKS]
    rows = [
        figure("tasks that the command names", len(named), 20, "max"),
        *model_figures("small", evaluated["small"], 18),
        figure("small: minutes of training", _seconds(small) / 60, 40, "min"),
        figure("small: the bundled model is this one", is_bundled(small), 1, "max"),
        *model_figures("demo", evaluated["demo"], 14),
        figure("demo: seconds, whole", demo_seconds, 300, "min"),
        *model_figures("stories", evaluated["stories"], 5),
        figure("stories: minutes of training", _seconds(load_run(runs / "stories")) / 60, None, "min"),
        figure("1,000 pairs: seconds, slowest task", max(seconds.values()), 2, "min"),
        *bigram_figures(small),
        figure("a new task: lines of its file", own["lines"], 20, "min"),
        figure("a new task: of check, eval, prune and view, those that worked", own["worked"], 4, "max"),
        figure("broken files: refused with file, row and reason, of 8", sum(refused.values()), 8, "max"),
        *(
            figure(f"tasks that fit the tokenizer {name}", fits(it), 20, "max")
            for name, it in tokenizers.items()
        ),
    ]
    words = "".join(f" --tokenizer {word.partition('=')[0]}=FOLDER" for word in options.tokenizer)
    extra = {"own": own, "refused": refused, "seconds": seconds}
    result = save(RESULT, f"python {SCRIPT}{words}", rows, **extra, models=evaluated)
    block = tables(result, describe_tasks(small.tokenizer()))
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), SCRIPT, block), encoding="utf-8")
    print(short(result), RESULT, PAGE, sep="\n")


# --- What is measured ---


def command(*words: str | Path) -> str:
    """What ``sparsecircuits WORDS`` prints; its progress goes to the terminal.

    Raises:
        subprocess.CalledProcessError: it ended with another code than 0.
    """
    line = [sys.executable, "-m", "sparsecircuits", *map(str, words)]
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def evaluate(run: Path, suite: str) -> dict[str, Any]:
    """What ``sparsecircuits eval`` says of a run."""
    return without(json.loads(command("eval", run, "--suite", suite, "--json")), "templates")


def without(tree: Any, key: str) -> Any:
    """Plain data less everything that is called ``key``."""
    if isinstance(tree, dict):
        return {name: without(value, key) for name, value in tree.items() if name != key}
    return [without(value, key) for value in tree] if isinstance(tree, list) else tree


def model_figures(name: str, evaluated: dict[str, Any], goal: int) -> list[dict[str, Any]]:
    """Tasks done, the worst gap among them, and the prompts that the corpus holds."""
    done = [row for row in evaluated["tasks"] if row["done"]]
    return [
        figure(f"{name}: tasks done, of {len(evaluated['tasks'])}", len(done), goal, "max"),
        figure(f"{name}: held-out minus train loss, worst of these", _worst_gap(done), 0.05, "min"),
        figure(f"{name}: prompts that stand in the training corpus", evaluated["overlap"]["found"], 0, "min"),
    ]


def _worst_gap(rows: Iterable[dict[str, Any]]) -> float:
    return max(row["gap"] for row in rows)


def is_bundled(run: Run) -> int:
    """1 if the model that comes with the package is this run's, bit for bit."""
    return int(model_hash(run.model()) == model_hash(load_run(example_folder("example-small")).model()))


def times(tokenizer: TextTokenizer, max_tokens: int) -> dict[str, float]:
    """Seconds for 1,000 held-out pairs of each task and variant."""
    seconds = {}
    for task in (*TASKS.values(), *VARIANTS.values()):
        if task.suite == "python":
            start = time.perf_counter()
            task.pairs(tokenizer, "heldout", _SPEED_PAIRS, max_tokens=max_tokens)
            seconds[task.name] = time.perf_counter() - start
    return seconds


def bigram_figures(run: Run) -> list[dict[str, Any]]:
    """How often the corpus' own bigram counts choose rightly; the lowest and the highest of the tasks."""
    tokenizer = run.tokenizer()
    tokens = torch.from_numpy(run.corpus().train.astype("int64"))
    size = tokenizer.vocab_size
    counts = torch.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).view(size, size)
    shares = []
    for task in TASKS.values():
        if task.name != DECIDED_BY_LAST:
            shares.append(_bigram_share(task, run, counts.log1p()))
    return [
        figure("bigram model: lowest accuracy of the tasks", min(shares), 0.45, "max"),
        figure("bigram model: highest accuracy of the tasks", max(shares), 0.55, "min"),
    ]


def _bigram_share(task: Task, run: Run, scores: torch.Tensor) -> float:
    pairs = task.pairs(run.tokenizer(), "heldout", 512, max_tokens=run.config.model.n_ctx)
    n = len(pairs)
    rows = scores[pairs.tokens[torch.arange(2 * n), pairs.last]]
    first, second = pairs.target[:n], pairs.other[n:]
    if pairs.form == "contrast":
        wins = rows.gather(1, pairs.target[:, None]) - rows.gather(1, pairs.other[:, None])
        return float((wins > 0).float().mean() + 0.5 * (wins == 0).float().mean())
    # One against all: the candidate follows on the left and does not on the right.
    said = torch.cat([rows[:n].argmax(1) == first, rows[n:].argmax(1) != second])
    return float(said.float().mean())


def fits(tokenizer: TextTokenizer) -> int:
    """How many of the twenty tasks have pairs with this tokenizer, in every split."""
    count = 0
    for task in TASKS.values():
        try:
            for split in ("train", "validation", "heldout"):
                task.pairs(tokenizer, split, 64)
            count += 1
        except TaskError:
            pass
    return count


def follow_own_tasks(run: Run) -> dict[str, Any]:
    """Do with the task of ``docs/own_tasks.md`` what the page says."""
    shown = re.search(
        r"^```yaml\n(# (\w+)\.yaml\n.*?)^```$", OWN_PAGE.read_text(encoding="utf-8"), re.M | re.S
    )
    assert shown is not None, f"{OWN_PAGE} shows no task"
    text, name = shown.groups()
    worked, circuit = 0, None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.yaml"
        file.write_text(text, encoding="utf-8")
        page = Path(folder) / "page.html"
        command("task", "check", file, "--run", run.folder)
        (score,) = json.loads(command("eval", run.folder, "--task", file, "--json"))["tasks"]
        worked += 1 + score["done"]
        (circuit,) = json.loads(command("prune", run.folder, file, "--json"))["tasks"]
        worked += circuit["state"] == "found"
        command("view", run.folder, name, "--export", page)
        worked += name in page.read_text(encoding="utf-8")
    sizes = {key: circuit[key] for key in ("nodes", "edges", "loss", "accuracy")}
    return {
        "name": name,
        "lines": len(text.splitlines()),
        "worked": worked,
        "heldout_loss": score["loss"],
        "circuit": sizes,
    }


def _pair(text: str, **changes: str) -> dict[str, str]:
    """A row of a task file; what is changed to nothing is left out."""
    row = {"left": f"use('{text}", "right": f'use("{text}', "left_answer": "')\n", "right_answer": '")\n'}
    return {key: value for key, value in (row | changes).items() if value}


#: A task file without a fault.
GOOD = [_pair(f"{a} {b}") for a in ("name", "item", "data", "line") for b in ("word", "user", "path")]
LONG = "name " * 90
BROKEN: dict[str, tuple[list[dict[str, str]], int, str]] = {
    "missing_side": ([*GOOD, _pair("size", right="")], 13, "right"),
    "missing_answer": ([*GOOD, _pair("size", right_answer="")], 13, "right_answer"),
    "equal_answers": ([*GOOD, _pair("size", right_answer="')\n")], 13, "answer"),
    "long_answer": ([*GOOD, _pair("size", left_answer="') + name")], 13, "token"),
    "one_label": ([row | {"right_answer": row["left_answer"]} for row in GOOD], 1, "answer"),
    "leakage": ([*(row | {"split": "train"} for row in GOOD), GOOD[3] | {"split": "heldout"}], 13, "train"),
    "too_long": ([*GOOD, _pair(LONG)], 13, "tokens"),
    "padding": ([*GOOD, _pair("size", left="\0\0use('size", right='\0\0use("size')], 13, "pad"),
}
"""Name -> the rows of a broken file, which of them is wrong, and a word of the reason."""


def feed_broken_files() -> dict[str, bool]:
    """Whether each broken file is refused with exit code 2, and with its file, row and reason."""
    refused = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (rows, row, reason) in BROKEN.items():
            file = Path(folder) / f"{name}.jsonl"
            file.write_text("".join(json.dumps(line) + "\n" for line in rows), encoding="utf-8")
            line = [sys.executable, "-m", "sparsecircuits", "task", "check", str(file)]
            asked = subprocess.run(line, capture_output=True, encoding="utf-8")
            said = [text for text in asked.stderr.splitlines() if f"row {row}" in text and reason in text]
            refused[name] = asked.returncode == 2 and any(file.name in text for text in said)
    return refused


def _seconds(run: Run) -> float:
    result = run.result()
    assert result is not None, f"{run.folder} is not trained to its end"
    return result["seconds"]


# --- Tables ---


def tables(result: dict[str, Any], described: list[TaskRow]) -> str:
    """What stands in the page: the goals, the twenty tasks, and what the models do."""
    models = result["models"]
    return "\n\n".join(
        [
            source(result),
            goals(result["figures"]),
            short(result),
            "## The twenty tasks",
            "Candidates as the models' own tokenizer has them, and the first training pair of each.",
            task_table(described),
            "## What `small` does",
            score_table(models["small"]["tasks"]),
            "## What the demo's sparse model does",
            score_table(models["demo"]["tasks"]),
            "## In shifted surroundings",
            variant_table({name: models[name]["variants"] for name in ("small", "demo", "stories")}),
            "## Plain English",
            score_table(models["stories"]["tasks"]),
        ]
    )


def task_table(described: list[TaskRow]) -> str:
    """Each task's candidates, form of loss and an example pair."""
    lines = [["task", "candidates", "form", "left prompt", "right prompt"]]
    for row in described:
        candidates = " ".join(_code(visible(text)) for text in row.candidates)
        prompts = [_code(visible(side)) for side in (row.example.left, row.example.right)]
        lines.append([f"`{row.name}`", candidates, row.form.replace("_", " "), *prompts])
    return markdown(lines)


def score_table(rows: list[dict[str, Any]]) -> str:
    """Loss on each split, accuracy on held-out prompts, the gap, and whether the task is done."""
    lines = [["task", "train", "validation", "held out", "raw", "accuracy", "gap", "done"]]
    for row in rows:
        losses = [row["splits"][split]["loss"] for split in ("train", "validation", "heldout")]
        figures = [f"{loss:.3f}" for loss in (*losses, row["raw_loss"])]
        done = "yes" if row["done"] else "**no**"
        lines.append([f"`{row['name']}`", *figures, f"{row['accuracy']:.1%}", f"{row['gap']:+.3f}", done])
    return markdown(lines)


def variant_table(by_model: dict[str, list[dict[str, Any]]]) -> str:
    """Loss and accuracy on held-out prompts of every variant."""
    lines = [["variant", "model", "loss", "accuracy"]]
    for model, rows in by_model.items():
        lines += [[f"`{row['name']}`", model, f"{row['loss']:.3f}", f"{row['accuracy']:.1%}"] for row in rows]
    return markdown(lines)


def _code(text: str) -> str:
    ticks = "``" if "`" in text else "`"
    return f"{ticks}{text}{ticks}".replace("|", "\\|")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    parser.add_argument(
        "--tokenizer",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="count the tasks that fit this tokenizer too; may be given again",
    )
    return parser


if __name__ == "__main__":
    main()
