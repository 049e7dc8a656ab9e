"""From what ``benchmarks/bridges.py`` measured to figures, tables, pictures; what is missing is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, Protocol

from benchmarks.report import figure, fill, goals, markdown, number, save, short, source
from sparsecircuits.viz.bridge_charts import crossings_figure, steering_figure, transfer_figure
from sparsecircuits.viz.style import save_chart

SCRIPT = "benchmarks/bridges.py"
RESULT, PAGE = Path("docs/results/bridges.json"), Path("docs/bridges.md")
PICTURES = {name: Path(f"docs/images/bridge_{name}.png") for name in ("crossings", "steering", "transfer")}
#: What goals are about, and the one whose pictures are shown.
MAIN, SHOWN = "bridged", 0
STEERED = "single_double_quote"
#: Where in ``RUN/bridge`` the steering of one side's prompts alone is.
SIDES = "sides"
#: The side of pairs that Fig 9 steers, and what for.
ASKED = "left"


class Arm(Protocol):
    """What the page needs of an arm."""

    @property
    def words(self) -> str: ...

    @property
    def seeds(self) -> tuple[int, ...]: ...


class Found(NamedTuple):
    """Of one model."""

    report: dict[str, Any]
    steering: dict[str, dict[str, Any]]
    transfer: dict[str, dict[str, Any]]
    sides: dict[str, dict[str, Any]]
    circuits: dict[str, dict[str, Any]]


Everything = dict[str, dict[int, Found]]


def write(arms: Mapping[str, Arm], runs: Path) -> None:
    """The JSON file, the page and its pictures."""
    found = {name: dict(_found(arm, runs / name)) for name, arm in arms.items()}
    cost, resume = _read(runs / "cost.json"), _read(runs / "resume.json")
    rows = [*_hybrids(found), *_steered(found), *_carried(found), *_costs(cost)]
    if resume:
        rows.append(
            figure("resumed after random stops, bitwise equal", resume["good"], resume["cases"], "max")
        )
    result = save(RESULT, f"python {SCRIPT}", rows)
    parts = [short(result), _pictures(found), _hybrid_table(arms, found), _steering_table(arms, found)]
    parts += [_transfer_table(arms, found), _cost_table(cost), "### All figures", goals(rows), source(result)]
    page = fill(PAGE.read_text(encoding="utf-8"), SCRIPT, "\n\n".join(part for part in parts if part))
    PAGE.write_text(page, encoding="utf-8")
    print(RESULT, PAGE, sep="\n")


def _found(arm: Arm, folder: Path) -> Iterator[tuple[int, Found]]:
    for seed in arm.seeds:
        run = folder / f"seed{seed}"
        if (report := _read(run / "bridge" / "report.json")) is not None:
            by_kind = [
                {path.stem: _read(path) or {} for path in sorted((run / "bridge" / kind).glob("*.json"))}
                for kind in ("steering", "transfer", SIDES)
            ]
            circuits = {
                path.parent.name: _read(path) or {} for path in sorted(run.glob("circuits/*/circuit.json"))
            }
            yield seed, Found(report, by_kind[0], by_kind[1], by_kind[2], circuits)


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _hybrids(found: Everything) -> list[dict[str, Any]]:
    rows = []
    for name, by_seed in found.items():
        if not by_seed:
            continue
        goal, of = (lambda value, name=name: value if name == MAIN else None), list(by_seed.values())
        title = f"{name}, {len(of)} seed{'s' * (len(of) > 1)}"
        mean = fmean(one.report["mean_excess"] for one in of)
        worst = max(one.report["largest_excess"] for one in of)
        rows += [
            figure(
                f"{title}: hybrids' loss above the worse model, mean over crossings", mean, goal(0.05), "min"
            ),
            figure(f"{title}: the same at the worst crossing of any seed", worst, goal(0.10), "min"),
        ]
        alone = [one.report["sparse"] - one.report["unbridged"] for one in of if one.report["unbridged"]]
        if alone:
            rows.append(
                figure(f"{title}: sparse loss above the same trained alone", fmean(alone), goal(0.05), "min")
            )
        mixed = fmean(fmean(one.report["mixtures"]) - one.report["worse"] for one in of)
        rows.append(figure(f"{title}: random mixtures' loss above the worse model", mixed, None, "min"))
    return rows


def _curves(one: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {curve["name"]: curve for curve in one["directions"]}


def _each(found: Everything, kind: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(arm and seed, task, result) of all that there are."""
    for name, by_seed in found.items():
        for seed, one in by_seed.items():
            for task, result in getattr(one, kind).items():
                yield f"{name}, seed {seed}", task, result


def _steered(found: Everything) -> list[dict[str, Any]]:
    rows = []
    for title, task, one in _each(found, "sides"):
        name, side = task.rsplit("-", 1)
        curves, where = _curves(one), f"{title}: {name}, {side} prompts"
        judged = name == STEERED and side == ASKED and title == f"{MAIN}, seed {SHOWN}"
        bridge = curves["bridge"]
        for key, words in (("p_other", "P(other answer)"), ("pair", "P(other answer) of the two")):
            rows += [
                figure(f"{where}: {words}, unsteered", bridge[key][0], 0.05 if judged else None, "min"),
                figure(f"{where}: {words}, at strength 1", bridge[key][-1], 0.5 if judged else None, "max"),
                figure(f"{where}: {words}, random directions", curves["random"][key][-1], None, "min"),
            ]
        rises = sum(b > a for a, b in zip(bridge["pair"], bridge["pair"][1:], strict=False))
        monotone = name != STEERED and side == ASKED
        goal = 10 if monotone and title == f"{MAIN}, seed {SHOWN}" else None
        rows.append(figure(f"{where}: steps of 10 at which it rises", rises, goal, "max"))
    return rows


def _carried(found: Everything) -> list[dict[str, Any]]:
    rows = []
    for title, task, one in _each(found, "transfer"):
        for key, words in (("circuit", "the circuit's nodes"), ("random", "as many random nodes")):
            name = f"{title}: {task}: share of the dense model's change of mind, {words}"
            rows.append(
                figure(name, one["share"][key]["estimate"], None, "max" if key == "circuit" else "min")
            )
    return rows


def _costs(cost: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    rows = []
    for depth, ways in (cost or {}).items():
        alone, bridged, graph = (ways[way] for way in ("alone", "bridged", "one graph"))
        time, memory = bridged[0] / alone[0], bridged[1] / graph[1]
        rows += [
            figure(
                f"{depth} layers: time of a step's gradients over the sparse model alone", time, None, "min"
            ),
            figure(f"{depth} layers: memory over all hybrids in one graph", memory, None, "min"),
            figure(
                f"{depth} layers: time with 4 mixtures over none",
                ways["mixtures"][0] / bridged[0],
                None,
                "min",
            ),
        ]
    return rows


def _pictures(found: Everything) -> str:
    shown = found.get(MAIN, {}).get(SHOWN)
    if shown is None:
        return ""
    figures = {"crossings": crossings_figure(shown.report)}
    if of_side := [one for one in shown.sides.values() if one["side"] == ASKED]:
        figures["steering"] = steering_figure(of_side)
    if shown.transfer:
        figures["transfer"] = transfer_figure(list(shown.transfer.values()))
    lines = []
    words = {"crossings": "Hybrids", "steering": "Steering", "transfer": "Circuits carried over"}
    for name, drawn in figures.items():
        save_chart(drawn, PICTURES[name], dpi=110)
        lines.append(f"![{words[name]}](images/{PICTURES[name].name})")
    return "\n\n".join(lines)


def _hybrid_table(arms: Mapping[str, Arm], found: Everything) -> str:
    head = ["model", "seed", "dense", "sparse", "alone", "hybrids, mean", "worst", "mixtures, mean", "worst"]
    lines = [head]
    for name, by_seed in found.items():
        for seed, one in by_seed.items():
            report = one.report
            mixed = [loss - report["worse"] for loss in report["mixtures"]]
            alone = "" if report["unbridged"] is None else f"{report['unbridged']:.4f}"
            models = [f"{report[key]:.4f}" for key in ("dense", "sparse")]
            hybrids = [f"{report[key]:+.4f}" for key in ("mean_excess", "largest_excess")]
            mixtures = [f"{fmean(mixed):+.4f}", f"{max(mixed):+.4f}"]
            words = f"{name}: {arms[name].words}"
            lines.append([words, str(seed), *models, alone, *hybrids, *mixtures])
    words = (
        "### Hybrids\n\nNats a token on 65,536 validation tokens; hybrids and mixtures above the worse of "
        "the two models."
    )
    return f"{words}\n\n{markdown(lines)}" if len(lines) > 1 else ""


def _steering_table(arms: Mapping[str, Arm], found: Everything) -> str:
    head = [
        "model",
        "task",
        "node",
        "unsteered",
        "through the bridge",
        "95%",
        "random",
        "own means",
        "by gradient",
    ]
    blocks = []
    for key, words in (("p_other", "over the vocabulary"), ("pair", "of the two answers")):
        lines = [head]
        for title, task, one in (*_each(found, "steering"), *_each(found, SIDES)):
            curves, name = _curves(one), task.removesuffix(f"-{one.get('side')}")
            bridge, side = curves["bridge"], one.get("side", "both")
            lines.append(
                [
                    title, f"`{name}`", side, f"`{one['node']}`",
                    f"{bridge[key][0]:.3f}", f"{bridge[key][-1]:.3f}",
                    f"{bridge[key + '_low'][-1]:.3f} to {bridge[key + '_high'][-1]:.3f}",
                    *(f"{curves[name][key][-1]:.3f}" for name in ("random", "means", "gradient")),
                ]
            )  # fmt: skip
        if len(lines) > 1:
            blocks.append(f"P(other answer) {words}, at strength 1:\n\n{markdown(lines, words=4)}")
    if not blocks:
        return ""
    prompts = next(one["prompts"] for _, _, one in _each(found, "steering"))
    words = (
        f"{prompts} held-out prompts, half of them left ones of their pairs. The node is the circuit's that "
        f"steers training prompts of that side best; Fig 9 steers one side alone."
    )
    return "\n\n".join([f"### Steering through one node\n\n{words}", *blocks])


def _transfer_table(arms: Mapping[str, Arm], found: Everything) -> str:
    kinds = ("circuit", "random", "rest", "all", "own")
    lines = [["model", "task", "circuit", "carried", *kinds, "answers that flip"]]
    for title, task, one in _each(found, "transfer"):
        name, seed = title.split(", seed ")
        nodes = len(found[name][int(seed)].circuits[task]["nodes"])
        share = one["share"]
        lines.append(
            [
                title, f"`{task}`", f"{nodes} nodes", str(len(one["nodes"])),
                *(f"{share[kind]['estimate']:.1%}" for kind in kinds),
                f"{one['flips']['circuit']['estimate']:.1%}, random {one['flips']['random']['estimate']:.1%}",
            ]
        )  # fmt: skip
    words = (
        "### Does the circuit explain the dense model?\n\nShare of its change of mind that is given by the "
        "circuit's nodes that read the stream (*carried*), by as many random active nodes, by all other "
        "channels, by all, and by its own reads."
    )
    return f"{words}\n\n{markdown(lines, words=2)}" if len(lines) > 1 else ""


def _cost_table(cost: Mapping[str, Any] | None) -> str:
    if not cost:
        return ""
    lines = [
        ["layers", "sparse alone", "bridged", "all in one graph", "alone, MB", "bridged, MB", "one graph, MB"]
    ]
    for depth, ways in cost.items():
        each = [ways[way] for way in ("alone", "bridged", "one graph")]
        lines.append([depth, *(f"{one[0]:.2f} s" for one in each), *(number(one[1]) for one in each)])
    words = (
        "### What it costs\n\nSeconds of one core and megabytes at the peak for the gradients of a step: the "
        "demo's models, but so deep, 16 × 64 tokens, 1/32 of the weights. There are two hybrids a location, "
        "each through the layers behind it: time grows with the square of the depth, memory does not."
    )
    return f"{words}\n\n{markdown(lines)}"
