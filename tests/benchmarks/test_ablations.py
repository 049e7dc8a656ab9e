"""The measuring script of the ablations: rows, verdicts and tables of made-up trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ablations, ablations_report
from benchmarks.ablations_report import Key
from sparsecircuits.presets import ABLATIONS


def trained(loss: float | None, *, dead: int = 256) -> dict[str, Any]:
    """Figures of one model; no loss: it diverged."""
    known = {"val_loss": loss, "dead": dead, "neurons": 1024, "nonzero": 17748, "tasks_done": 17}
    return {**known, "error": None if loss is not None else "the loss at step 3 is nan"}


#: Differences 0.10 and 0.12; −0.05 and −0.03; 0.2 (one seed); diverged; noise 0.02 / 0.95388 = 0.02097.
FOUND = {
    **{Key("baseline", 0): trained(2.0), Key("baseline", 1): trained(2.1)},
    **{Key("no_warmup", 0): trained(2.10), Key("no_warmup", 1): trained(2.22)},
    **{Key("no_anneal", 0): trained(1.95, dead=512), Key("no_anneal", 1): trained(2.07, dead=768)},
    **{Key("no_bigram", 0): trained(2.2)},
    **{Key("grad_none", 0): trained(None)},
    **{Key("no_sharkfin", 0): trained(1.99), Key("no_sharkfin", 1): trained(2.11)},
    **{Key("baseline", 0, 1 / 3): trained(2.05), Key("baseline", 0, 3.0): trained(1.98)},
    **{Key("no_anneal", 0, 1 / 3): trained(2.06), Key("no_anneal", 0, 3.0): trained(2.4)},
}


def row(name: str) -> dict[str, Any]:
    return next(row for row in ablations_report.rows(FOUND) if row["name"] == name)


def test_rows_by_hand() -> None:
    assert ablations_report.deviation(FOUND) == pytest.approx(0.02 / 0.95388, rel=1e-4)
    assert [row["name"] for row in ablations_report.rows(FOUND)] == [
        *("no_warmup", "no_sharkfin", "no_anneal", "grad_none", "no_bigram")
    ]
    worse = row("no_warmup")
    assert (worse["mean"], worse["outcome"], worse["holds"]) == (pytest.approx(0.11), "worse", True)
    better = row("no_anneal")
    assert (better["mean"], better["outcome"], better["holds"]) == (pytest.approx(-0.04), "better", False)
    assert better["dead_share"] == pytest.approx(0.625)


def test_one_is_compared_with_another_ablation() -> None:
    # 1.99 - 1.95 and 2.11 - 2.07: 0.04 over no_anneal, though 0.01 within noise of the baseline or so.
    sharkfin = row("no_sharkfin")
    assert sharkfin["against"] == "no_anneal"
    assert (sharkfin["mean"], sharkfin["outcome"], sharkfin["holds"]) == (pytest.approx(0.04), "worse", True)
    assert sharkfin["from_baseline"]["by_seed"] == {"0": pytest.approx(-0.01), "1": pytest.approx(0.01)}
    assert sharkfin["from_baseline"]["outcome"] == "equal"


def test_the_best_of_each_sides_rates_are_compared() -> None:
    # 1.95 at the rate itself against the baseline's 1.98 at three times its own: one seed, within 0.0419.
    best = row("no_anneal")["at_best_rate"]
    assert best["losses"] == {"0.333": 2.06, "1": 1.95, "3": 2.4}
    assert (best["rate"], best["mean"], best["outcome"]) == (1.0, pytest.approx(-0.03), "equal")
    assert row("no_warmup")["at_best_rate"] is None
    assert row("grad_none")["at_best_rate"] is None  # its other rates are not trained yet


def test_what_diverged_has_no_number_and_counts_as_worse() -> None:
    diverged = row("grad_none")
    assert (diverged["losses"], diverged["mean"]) == ({"0": None}, None)
    assert (diverged["outcome"], diverged["holds"]) == ("worse", True)
    assert diverged["errors"] == ["the loss at step 3 is nan"]
    json.dumps(ablations_report.rows(FOUND), allow_nan=False)


def test_without_a_second_seed_nothing_is_judged() -> None:
    found = {key: value for key, value in FOUND.items() if key.seed == 0}
    assert {row["holds"] for row in ablations_report.rows(found)} == {None}


def test_the_page_is_written_from_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(ablations.PAGE).read_text(encoding="utf-8")
    runs = tmp_path / "runs"
    for trial in ablations.trials():
        if trial.key in FOUND:
            path = runs / trial.name / "figures.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(FOUND[trial.key]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmarks.report.commit", lambda: "0123456789")
    (tmp_path / "docs").mkdir()
    (tmp_path / ablations.PAGE).write_text(page, encoding="utf-8")
    planned = list(ablations.trials())
    ablations.write(ablations.collected(planned, runs), planned)
    written = (tmp_path / ablations.PAGE).read_text(encoding="utf-8")
    assert f"**Not complete**: {len(planned) - len(FOUND)} of {len(planned)} models" in written
    assert "4 of 5 findings hold here; not: `no_anneal`." in written
    line = next(line for line in written.splitlines() if line.startswith("| `no_warmup`"))
    assert "| +0.100 | +0.120 | +0.110 | worse | yes | 25% | 17.0 |" in line
    assert "| diverged | – | – | worse | yes |" in written
    result = json.loads((tmp_path / ablations.RESULT).read_text())
    assert result["figures"][0] == {"name": "models trained", "value": 14, "goal": 110, "sense": "max"}
    assert {
        "name": "no_warmup: loss minus baseline",
        "value": pytest.approx(0.11),
        "goal": None,
        "sense": "min",
    } in (result["figures"])
    assert (tmp_path / ablations.PICTURE).stat().st_size > 5_000
    assert (tmp_path / ablations.RATES_PICTURE).stat().st_size > 5_000


def test_the_order_of_work() -> None:
    planned = [trial.key for trial in ablations.trials()]
    assert (
        len(set(planned))
        == len(planned)
        == 2 + 2 * len(ABLATIONS) + sum(len(entry.rates) for entry in (ablations.BASELINE, *ABLATIONS))
    )
    assert planned[:3] == [Key("baseline", 0), Key("baseline", 1), Key("no_warmup", 0)]
    assert planned[len(ABLATIONS) + 2] == Key("no_warmup", 1)
    assert [key.rate for key in planned[: 2 + 2 * len(ABLATIONS)]] == [1.0] * (2 + 2 * len(ABLATIONS))
    names = [trial.name for trial in ablations.trials()]
    assert "baseline/seed0_x0.333" in names
