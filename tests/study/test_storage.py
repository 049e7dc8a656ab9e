"""Studies survive kills; a trial of a dead process is known to be dead."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sparsecircuits.errors import ConfigError
from sparsecircuits.study import storage
from sparsecircuits.study.claims import Owner
from sparsecircuits.study.storage import is_dead, open_study


def trial(owner: Owner | None, hours: float = 0) -> Any:
    told = {} if owner is None else {"owner": dataclasses.asdict(owner)}
    began = datetime.now() - timedelta(hours=hours)
    return SimpleNamespace(datetime_start=began, user_attrs=told)


def test_who_is_dead() -> None:
    me = Owner.me()
    assert not is_dead(trial(me, hours=100))
    assert is_dead(trial(dataclasses.replace(me, began="1")))
    assert not is_dead(trial(Owner("elsewhere", 1), hours=23))
    assert is_dead(trial(Owner("elsewhere", 1), hours=25))
    assert not is_dead(trial(None))
    assert is_dead(trial(None, hours=1))


def test_a_study_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "study.log"
    open_study(path, "a").enqueue_trial({"x": 1.0})
    assert len(open_study(path, "a").trials) == 1
    assert len(open_study(path, "b").trials) == 0


def test_a_journal_whose_last_line_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    open_study(path, "a").enqueue_trial({"x": 1.0})
    path.write_bytes(path.read_bytes() + b'{"op_code": 4, "wor')
    study = open_study(path, "a")
    study.enqueue_trial({"x": 2.0})
    assert len(open_study(path, "a").trials) == 2


def test_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    open_study(url, "a").enqueue_trial({"x": 1.0})
    assert len(open_study(url, "a").trials) == 1


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////not/there/x.db", "nodb://x"])
def test_a_database_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match=f"--storage {url}: "):
        open_study(url, "a")


def test_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str, extra: str) -> None:
        raise ConfigError(f"{package} {extra}")

    monkeypatch.setattr(storage, "need", missing)
    with pytest.raises(ConfigError, match="optuna tune"):
        open_study(tmp_path / "x.log", "a")
