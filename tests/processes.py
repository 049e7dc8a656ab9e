"""Processes that run a function together, as ``torchrun`` would start them; made once, used by many tests."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import torch


class Processes:
    """Processes on this machine, each with one thread.

    Each waits with torch loaded and forks for a job, so that a job ends as a process does: what it was
    connected to is closed.
    """

    def __init__(self) -> None:
        self._pipes: list[Connection] = []
        self._processes: list[SpawnProcess] = []

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, len(self._pipes)), daemon=True)
        process.start()
        there.close()
        self._pipes.append(here)
        self._processes.append(process)

    def run(self, count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What ``function`` (of a module) returns in each of the first ``count`` processes, by rank.

        One that was killed has "signal N".

        Raises:
            RuntimeError: with the tracebacks of those that raised.
        """
        while len(self._pipes) < count:
            self._start()
        # As with torchrun, it is not one of them who keeps what they tell one another.
        store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        for pipe in self._pipes[:count]:
            pipe.send_bytes(pickle.dumps((store.port, count, function, arguments)))
        answers = []
        for rank, pipe in enumerate(self._pipes[:count]):
            if not pipe.poll(120):
                raise RuntimeError(f"process {rank} hangs")
            answers.append(pickle.loads(pipe.recv_bytes()))
        if wrong := [f"process {rank}: {text}" for rank, (ok, text) in enumerate(answers) if not ok]:
            raise RuntimeError("\n".join(wrong))
        return [answer for _, answer in answers]

    def close(self) -> None:
        """End them."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.close()
            process.kill()
            process.join()


def _serve(pipe: Connection, rank: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    importlib.import_module("torch.distributed.fsdp")  # once, not in every fork

    while True:
        try:
            port, count, function, arguments = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        os.environ |= {"MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
        if child := os.fork():
            _, status = os.waitpid(child, 0)
            if os.WIFSIGNALED(status):
                pipe.send_bytes(pickle.dumps((True, f"signal {os.WTERMSIG(status)}")))
            continue
        try:
            answer = (True, function(*arguments))
        except Exception:  # noqa: BLE001 the test is told
            answer = (False, traceback.format_exc())
        pipe.send_bytes(pickle.dumps(answer))  # by value: nobody is here to share tensors' memory
        os._exit(0)
