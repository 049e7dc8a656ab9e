"""One owner at a time, and what a dead one had is taken over once."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparsecircuits.study.claims import STALE, Claims, Owner


def put(claims: Claims, name: str, owner: Owner, number: int = 1) -> Path:
    path = claims.folder / f"{name}.{number}"
    path.write_text(json.dumps(dataclasses.asdict(owner)))
    return path


def ended() -> Owner:
    """A process that was, on this machine."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return Owner(Owner.me().host, process.pid, "1")


def test_only_one_can_take_it(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "claims")
    claim = claims.take("job")
    assert claim is not None
    assert (claim.number, claim.owner, claim.stale) == (1, Owner.me(), False)
    assert claims.take("job") is None
    assert claims.take("job2") is not None
    claims.give_back(claim)
    again = claims.take("job")
    assert again is not None
    assert again.number == 1


def test_a_dead_process_has_nothing(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    put(claims, "job", ended())
    claim = claims.take("job")
    assert claim is not None
    assert claim.number == 2
    assert claims.take("job") is None


def test_a_process_id_that_was_used_again_is_another_process(tmp_path: Path) -> None:
    me = Owner.me()
    assert me.began is not None
    assert me.alive() is True
    assert Owner(me.host, me.pid, str(int(me.began) - 1)).alive() is False
    assert Owner("elsewhere", me.pid, me.began).alive() is None


def test_a_zombie_is_dead() -> None:
    """Ended, but its parent has not looked yet."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    from sparsecircuits.study.claims import _began

    owner = Owner(Owner.me().host, process.pid, _began(process.pid))
    assert owner.alive() is True
    process.kill()
    deadline = time.monotonic() + 10
    while owner.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert owner.alive() is False
    process.communicate()


def test_another_machine_is_judged_by_its_silence(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    path = put(claims, "job", Owner("elsewhere", 1))
    assert claims.take("job") is None
    long_ago = time.time() - STALE - 5
    os.utime(path, (long_ago, long_ago))
    claim = claims.take("job")
    assert claim is not None
    assert claim.number == 2


def test_a_claim_whose_maker_was_killed_while_writing_it(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    path = tmp_path / "job.1"
    path.write_text('{"host": "els')
    assert claims.take("job") is None
    os.utime(path, (0, 0))
    assert claims.take("job") is not None


def test_beating_touches_it(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    claim = claims.take("job")
    assert claim is not None
    os.utime(claim.path, (0, 0))
    with claims.beating(claim, seconds=0.01):
        deadline = time.monotonic() + 10
        while claim.path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert time.time() - claim.path.stat().st_mtime < 60


def test_who_comes_a_moment_late_has_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen that nobody has it, then both try."""
    claims = Claims(tmp_path)
    monkeypatch.setattr(claims, "latest", lambda name: None)
    assert claims.take("job") is not None
    assert claims.take("job") is None


def _race(folder: str, barrier, won) -> None:
    barrier.wait()
    if Claims(Path(folder)).take("job") is not None:
        with won.get_lock():
            won.value += 1
    barrier.wait()  # the winner must live until all have tried


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_at_once_one_wins(tmp_path: Path, stale: bool) -> None:
    if stale:
        put(Claims(tmp_path), "job", ended())
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(4), context.Value("i", 0)
    team = [context.Process(target=_race, args=(str(tmp_path), barrier, won)) for _ in range(4)]
    for process in team:
        process.start()
    for process in team:
        process.join()
    assert won.value == 1


def test_clear_forgets_all(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    put(claims, "job", ended())
    claims.take("job")
    claims.clear("job")
    assert claims.latest("job") is None
