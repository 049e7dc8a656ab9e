"""From report cards to figures with their goals, and the tables and pictures of ``docs/truth.md``."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import figure, goals, markdown, number, short, source
from benchmarks.truth_matching import matching_figures, matching_table
from sparsecircuits.validate.catalogue import KINDS, VERDICTS
from sparsecircuits.viz.card_charts import cards_figure, controls_figure, restored_figure
from sparsecircuits.viz.style import save_chart

#: The models, and the ways in which their circuits were found.
RUNS = ("demo", "small")
METHODS = ("faithful", "paper")
#: Goals: the share of circuits with each verdict.
SHARES = {"Sufficient": 1.0, "Robust": 0.75, "Controlled": 0.5}
#: Seconds that a check of one circuit of the demo's model may take.
SECONDS = {"quick": 20, "standard": 180}
#: A control's circuit has at least so many times the nodes.
RATIO = 10

Card = Mapping[str, Any]
Found = Mapping[str, Any]


def state(card: Card, verdict: str) -> str:
    """Of one verdict: yes, no or open."""
    return next(one["state"] for one in card["verdicts"] if one["name"] == verdict)


def outcome_in(card: Card, test: str) -> Mapping[str, Any] | None:
    """One test of a card, if it was run."""
    return next((one for one in card["tests"] if one["test"] == test), None)


def judged(cards: Sequence[Card], verdict: str) -> list[Card]:
    """Those cards on which the verdict is not open."""
    return [card for card in cards if state(card, verdict) != "open"]


def share(cards: Sequence[Card], verdict: str) -> float:
    """Of the cards on which it is not open, how many have the verdict."""
    some = judged(cards, verdict)
    return sum(state(card, verdict) == "yes" for card in some) / len(some) if some else 0.0


def control_ratios(cards: Iterable[Card], test: str) -> list[float | None]:
    """The smallest size ratio of each task's controls; None: the target is out of reach."""
    found = (outcome_in(card, test) for card in cards)
    return [one["estimate"] for one in found if one is not None and one["passed"] is not None]


def figures(found: Found) -> list[dict[str, Any]]:
    """Every row of the promises."""
    told, cards = found["calibration"], found["cards"]
    *fails, some = told["false_fails"]
    assert some["name"] == "any of them"
    rows = [
        figure("calibration: models", told["models"], 40, "max"),
        figure("calibration: true circuits that fail any test", some["share"], 0.05, "min"),
        figure("calibration: false fails, worst test", max(r["share"] for r in fails), 0.05, "min"),
        figure(
            "calibration: false passes, worst decoy",
            max(r["share"] for r in told["false_passes"]),
            0.05,
            "min",
        ),
    ]
    for method in METHODS:
        both = [card for name in RUNS for card in cards.get(f"{name} {method}", ())]
        ours = method == "faithful"
        rows.append(figure(f"{method}: circuits of demo and small", len(both), None, "max"))
        for verdict in VERDICTS:
            goal = SHARES.get(verdict) if ours else None
            count = len(judged(both, verdict))
            rows.append(
                figure(f"{method}: share {verdict}, of {count} judged", share(both, verdict), goal, "max")
            )
    every = [card for name in RUNS for card in cards.get(f"{name} faithful", ())]
    for test, what in (("T8", "nonsense tasks"), ("T9", "random weights")):
        ratios = control_ratios(every, test)
        reached = [ratio for ratio in ratios if ratio is not None]
        if ratios:
            enough = sum(ratio is None or ratio >= RATIO for ratio in ratios) / len(ratios)
            rows.append(
                figure(f"{what}: share of tasks with ratio >= {RATIO}, or out of reach", enough, 1, "max")
            )
        if reached:
            rows.append(
                figure(
                    f"{what}: smallest ratio of nodes, median over tasks",
                    statistics.median(reached),
                    RATIO,
                    "max",
                )
            )
            rows.append(figure(f"{what}: smallest ratio of nodes", min(reached), RATIO, "max"))
    rows += matching_figures(found["matching"])
    replays = [
        one["estimate"] for some in cards.values() for card in some if (one := outcome_in(card, "T24"))
    ]
    if replays:
        rows.append(figure("replay: largest change of a loss", max(replays), 1e-5, "min"))
    for level, seconds in found["cost"].items():
        rows.append(figure(f"cost, one demo circuit, {level}: seconds", seconds, SECONDS[level], "min"))
    return rows


def summary(found: Found) -> dict[str, Any]:
    """What stands beside the figures in the JSON: verdicts and failed tests of every circuit."""
    return {
        "calibration": {
            key: found["calibration"][key] for key in ("models", "false_fails", "bare", "false_passes")
        },
        "matching": found["matching"],
        "circuits": {name: [_brief(card) for card in cards] for name, cards in found["cards"].items()},
    }


def _brief(card: Card) -> dict[str, Any]:
    return {
        "task": card["task"],
        "nodes": card["about"]["nodes"],
        "edges": card["about"]["edges"],
        "level": card["level"],
        "verdicts": {one["name"]: one["state"] for one in card["verdicts"]},
        "failed": [one["test"] for one in card["tests"] if one["passed"] is False],
        "estimates": {one["test"]: one["estimate"] for one in card["tests"]},
    }


def tables(result: Mapping[str, Any], found: Found) -> str:
    """The block of the page."""
    parts = [
        source(dict(result)),
        goals(result["figures"]),
        short(dict(result)),
        "### Calibration on planted models",
        _rates(found["calibration"]),
    ]
    for name, cards in found["cards"].items():
        if cards:
            run, method = name.split()
            parts += [f"### Circuits of `{run}`, found with `{method}`", _verdicts(cards)]
    parts += ["### Which test fails how often", _by_test(found["cards"])]
    if found["matching"]:
        parts += ["### Nodes added until T13 passes", matching_table(found["matching"])]
    return "\n\n".join(parts)


def _rates(told: Mapping[str, Any]) -> str:
    lines = [["", "wrong", "of", "share"]]
    kinds = (
        ("true, fails {}", "false_fails"),
        ("true without the pair that cancels (not judged), fails {}", "bare"),
        ("false, {}", "false_passes"),
    )
    for title, key in kinds:
        for rate in told[key]:
            name = rate["name"]
            words = f"{name} {KINDS[name].name}" if name in KINDS else name
            lines.append(
                [title.format(words), str(rate["wrong"]), str(rate["count"]), f"{rate['share']:.1%}"]
            )
    return markdown(lines)


def _verdicts(cards: Sequence[Card]) -> str:
    lines = [["task", "level", "nodes", "edges", *VERDICTS, "fails"]]
    for card in cards:
        failed = " ".join(one["test"] for one in card["tests"] if one["passed"] is False)
        size = [f"{card['about'][key]:,}" for key in ("nodes", "edges")]
        lines.append(
            [
                f"`{card['task']}`",
                card["level"],
                *size,
                *(state(card, verdict) for verdict in VERDICTS),
                failed,
            ]
        )
    return markdown(lines)


def _by_test(groups: Mapping[str, Sequence[Card]]) -> str:
    names = [name for name, cards in groups.items() if cards]
    lines = [["test", *names]]
    for test, kind in KINDS.items():
        cells = []
        for name in names:
            asked = [
                one for card in groups[name] if (one := outcome_in(card, test)) and one["passed"] is not None
            ]
            estimates = [one["estimate"] for one in asked if one["estimate"] is not None]
            middle = f", median {number(statistics.median(estimates))}" if estimates else ""
            failed = sum(not one["passed"] for one in asked)
            cells.append(f"{failed} of {len(asked)}{middle}" if asked else "")
        if any(cells):
            lines.append([f"{test} {kind.name} ({kind.figure}; {kind.passes})", *cells])
    return markdown(lines)


def pictures(found: Found, folder: Path) -> None:
    """Draw every circuit's tests, what comes back, and the controls."""
    groups = {name: cards for name, cards in found["cards"].items() if cards}
    for run in RUNS:
        some = {name: cards for name, cards in groups.items() if name.startswith(f"{run} ")}
        if some:
            save_chart(cards_figure(some), folder / f"cards_{run}.png", dpi=130)
            save_chart(restored_figure(some), folder / f"restored_{run}.png", dpi=130)
    rows = [
        {"task": f"{card['task']} ({run})", "kind": one["kind"], "nodes": one["nodes"]}
        for run in RUNS
        for card in groups.get(f"{run} faithful", ())
        for one in _controls(card)
    ]
    if rows:
        save_chart(controls_figure(rows), folder / "controls.png", dpi=130)


def _controls(card: Card) -> list[dict[str, Any]]:
    """The real circuit of the search, and its controls."""
    found: list[dict[str, Any]] = []
    for test in ("T8", "T9"):
        outcome = outcome_in(card, test)
        if outcome is not None and outcome["passed"] is not None and "real" in outcome["figures"]:
            real = [outcome["figures"]["real"]] if not found else []
            found += [*real, *outcome["figures"]["controls"]]
    return found
