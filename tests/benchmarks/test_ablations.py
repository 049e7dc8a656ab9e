"""The measuring script of the ablations: rows, verdicts and tables of made-up trainings."""

from __future__ import annotations

import json
import math
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


#: Baseline 2.0 and 2.02, and each setting's two seeds 0.02 apart: the spread is 0.02 / sqrt 2 = 0.01414, and
#: two standard errors of two seeds against two are 0.02828.
FOUND = {
    **{Key("baseline", 0): trained(2.0), Key("baseline", 1): trained(2.02)},
    **{Key("no_warmup", 0): trained(2.10), Key("no_warmup", 1): trained(2.12)},
    **{Key("no_anneal", 0): trained(1.95, dead=512), Key("no_anneal", 1): trained(1.97, dead=768)},
    **{Key("no_bigram", 0): trained(2.2)},
    **{Key("grad_none", 0): trained(None), Key("grad_none", 1): trained(2.0)},
    **{Key("no_sharkfin", 0): trained(1.99), Key("no_sharkfin", 1): trained(2.01)},
    **{Key("baseline", 0, 1 / 3): trained(2.05), Key("baseline", 0, 3.0): trained(1.98)},
    **{Key("no_anneal", 0, 1 / 3): trained(2.06), Key("no_anneal", 0, 3.0): trained(2.4)},
}


def row(name: str) -> dict[str, Any]:
    return next(row for row in ablations_report.rows(FOUND) if row["name"] == name)


def test_rows_by_hand() -> None:
    assert ablations_report.deviation(FOUND) == pytest.approx(0.02 / math.sqrt(2))
    assert [row["name"] for row in ablations_report.rows(FOUND)] == [
        *("no_warmup", "no_sharkfin", "no_anneal", "grad_none", "no_bigram")
    ]
    worse = row("no_warmup")
    assert (worse["mean"], worse["outcome"], worse["holds"]) == (pytest.approx(0.10), "worse", "yes")
    assert worse["error"] == pytest.approx(0.01414, abs=1e-5)
    better = row("no_anneal")
    assert (better["mean"], better["outcome"], better["holds"]) == (
        pytest.approx(-0.05),
        "better",
        "opposite",
    )
    assert better["dead_share"] == pytest.approx(0.625)


def test_one_is_compared_with_another_ablation() -> None:
    # 2.00 against no_anneal's mean of 1.96: 0.04; against the baseline's of 2.01: -0.01.
    sharkfin = row("no_sharkfin")
    assert sharkfin["against"] == "no_anneal"
    assert (sharkfin["mean"], sharkfin["outcome"], sharkfin["holds"]) == (pytest.approx(0.04), "worse", "yes")
    assert sharkfin["from_baseline"]["by_seed"] == {"0": pytest.approx(-0.02), "1": pytest.approx(0.0)}
    assert sharkfin["from_baseline"]["outcome"] == "not seen"


def test_the_best_of_each_sides_rates_are_compared_and_not_judged() -> None:
    # 1.95 at the rate itself against the baseline's 1.98 at three times its own: one seed.
    best = row("no_anneal")["at_best_rate"]
    assert best == {"rate": 1.0, "losses": {"0.333": 2.06, "1": 1.95, "3": 2.4}, "mean": pytest.approx(-0.03)}
    assert row("no_warmup")["at_best_rate"] is None
    assert row("grad_none")["at_best_rate"] is None  # its other rates are not trained yet


def test_what_diverged_has_no_number_and_counts_as_worse() -> None:
    diverged = row("grad_none")
    assert (diverged["losses"], diverged["mean"]) == ({"0": None, "1": 2.0}, None)
    assert (diverged["outcome"], diverged["holds"]) == ("worse", "yes")
    assert diverged["errors"] == ["the loss at step 3 is nan"]
    json.dumps(ablations_report.rows(FOUND), allow_nan=False)


def test_with_one_seed_nothing_is_judged() -> None:
    assert (row("no_bigram")["outcome"], row("no_bigram")["holds"]) == (None, None)


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
    ablations.write(ablations.collected(planned, runs), planned, runs)
    written = (tmp_path / ablations.PAGE).read_text(encoding="utf-8")
    assert f"**Not complete**: {len(planned) - len(FOUND)} of {len(planned)} models" in written
    assert "Of 4 findings 3 hold here, 1 is the other way round (`no_anneal`)." in written
    assert "of two seeds against the baseline's 2, a difference beyond 0.0283 counts as worse" in written
    assert "By chance alone 0.2 of 4 judged rows would do so." in written
    line = next(line for line in written.splitlines() if line.startswith("| `no_warmup`"))
    assert "| +0.090 | +0.110 | +0.100 | worse | yes | 25% | 17.0 |" in line
    assert "| diverged | −0.010 | – | worse | yes |" in written
    result = json.loads((tmp_path / ablations.RESULT).read_text())
    assert result["figures"][0] == {"name": "models trained", "value": 15, "goal": 114, "sense": "max"}
    assert {
        "name": "no_warmup: loss minus baseline",
        "value": pytest.approx(0.10),
        "goal": None,
        "sense": "min",
    } in (result["figures"])
    assert (tmp_path / ablations.PICTURE).stat().st_size > 5_000
    assert (tmp_path / ablations.RATES_PICTURE).stat().st_size > 5_000


def test_the_page_says_whether_the_clip_ever_acts(tmp_path: Path) -> None:
    clip, none = Key("grad_clip", 0), Key("grad_none", 0)
    found = FOUND | {clip: trained(2.4), none: trained(2.4), Key("grad_clip", 0, 10.0): trained(2.3)}
    planned = list(ablations.trials())
    for folder, sizes in (("seed0", [0.007, 0.003]), ("seed0_x10", [0.5, "inf", None])):
        path = tmp_path / "grad_clip" / folder / "metrics.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps({"step": 1, "grad_rms": size}) + "\n" for size in sizes))
    logged = ablations.gradients(planned, found, tmp_path)
    assert logged == {clip: [0.007, 0.003], Key("grad_clip", 0, 10.0): [0.5]}
    told = ablations_report.clipped(found, logged)
    assert told is not None
    assert told == {"largest": 0.5, "steps": 3, "above": 0, "models": 2, "pairs": 1, "equal": 1}
    rows = ablations_report.rows(found)
    result = {"command": "c", "commit": "1234567", "machine": "m", "rows": rows, "clip": told, "planned": 1}
    result |= {"missing": [], "baseline": ablations_report.baseline(found), "deviation": 0.01}
    page = ablations_report.tables(result)
    assert "In 3 logged steps of 2 trainings it is 0.5 at most, and above 1 in none of them: the clip" in page
    assert "Of 1 pairs of one seed and rate 1 end at exactly `grad_none`'s loss." in page
    page = ablations_report.tables(result | {"clip": told | {"largest": 3.0, "above": 2, "equal": 0}})
    assert "it is 3 at most, and above 1 in 2 of them. Of 1" in page
    assert ablations_report.clipped(found, {}) is None


def test_the_order_of_work() -> None:
    planned = [trial.key for trial in ablations.trials()]
    assert (
        len(set(planned))
        == len(planned)
        == 6 + 2 * len(ABLATIONS) + sum(len(entry.rates) for entry in (ablations.BASELINE, *ABLATIONS))
    )
    assert planned[:7] == [*(Key("baseline", seed) for seed in range(6)), Key("no_warmup", 0)]
    assert planned[len(ABLATIONS) + 6] == Key("no_warmup", 1)
    assert [key.rate for key in planned[: 6 + 2 * len(ABLATIONS)]] == [1.0] * (6 + 2 * len(ABLATIONS))
    names = [trial.name for trial in ablations.trials()]
    assert "baseline/seed0_x0.333" in names
