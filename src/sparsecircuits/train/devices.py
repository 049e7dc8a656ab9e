"""The processes that train one model together, as each of them sees it (``torchrun`` starts them).

All of them run the same loop. The first one alone builds the corpus, writes the run's folder and shows
progress; the others wait for it. What one process decides (a file that is there, a signal) is told to all, so
that none goes another way.

1. :func:`join` finds out from the environment who this process is, on which device it computes, and connects
   it: gloo between CPUs, NCCL between CUDA devices, gloo beside it for what is said.
2. The first error of any process ends them all. Whoever fails writes its message where the others find it
   (the store that ``torchrun`` keeps) before it leaves; an open exchange then breaks in the others, and they
   leave with :class:`~sparsecircuits.errors.PeerFailed` instead of a traceback of their own. Of one that was
   killed there is no message: whose exchange breaks first says :class:`~sparsecircuits.errors.PeerGone`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from sparsecircuits.errors import ConfigError, PeerFailed, PeerGone
from sparsecircuits.train.machine import Machine

T = TypeVar("T")

#: An exchange that takes longer has lost a process.
EXCHANGE = timedelta(minutes=10)
#: The others wait so long for what the first process does alone, such as building a corpus.
WAIT = timedelta(days=1)
_FAILURE = "sparsecircuits/failure"
HOW = "torchrun --nproc-per-node N -m sparsecircuits train ..."


@dataclass(frozen=True)
class Team:
    """The processes of a training; alone, it is one, and nothing is exchanged.

    Attributes:
        rank: which process this is, from 0.
        world: how many there are.
        device: where this one computes.
        kind: how they share the work: ``none`` (alone), ``ddp`` or ``shard``.
    """

    rank: int
    world: int
    device: torch.device
    kind: str
    _talk: dist.ProcessGroup | None = None
    _wait: dist.ProcessGroup | None = None
    _store: dist.Store | None = None

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def on_main(self, function: Callable[[], T]) -> T:
        """What ``function`` returns on the first process (plain data); the others wait for it.

        Raises:
            PeerFailed: on the others, if it raised there.
        """
        if self.world == 1:
            return function()
        said: list[Any] = [None, None]
        if self.main:
            try:
                said[0] = function()
            except BaseException as error:
                said[1] = f"{type(error).__name__}: {error}"
                self._report(error)
                dist.broadcast_object_list(said, src=0, group=self._wait)
                raise
        dist.broadcast_object_list(said, src=0, group=self._wait)
        if said[1] is not None:
            raise PeerFailed(0, said[1])
        return said[0]

    def main_first(self, function: Callable[[], T]) -> T:
        """What ``function`` returns on each process; the others begin when the first one is done.

        Raises:
            PeerFailed: on the others, if it raised on the first.
        """
        first: list[T] = []
        self.on_main(lambda: first.append(function()))
        return first[0] if first else function()

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any of them."""
        return flag if self.world == 1 else bool(sum(map(sum, self.all_of([float(flag)]))))

    def all_of(self, numbers: Sequence[float]) -> list[list[float]]:
        """The ``numbers`` of each process, by rank; everyone has as many."""
        if self.world == 1:
            return [list(numbers)]
        own = torch.tensor(numbers, dtype=torch.float64)
        theirs = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(theirs, own, group=self._talk)
        return [one.tolist() for one in theirs]

    def require_equal(self, what: str, number: int) -> None:
        """Raise :class:`ConfigError` unless all processes found the same ``number``."""
        found = [int(one) for (one,) in self.all_of([number])]
        if len(set(found)) > 1:
            raise ConfigError(
                f"{what} is {', '.join(map(str, found))} to processes 0 to {self.world - 1}; "
                f"all must see the same folder"
            )

    @contextmanager
    def together(self) -> Generator[None]:
        """An error inside, in any process, ends them all with its message.

        Raises:
            PeerFailed: another process failed first.
            PeerGone: another process is gone and has not said why.
        """
        try:
            yield
        except PeerFailed:
            raise
        except BaseException as error:
            gone = self._gone() if _broken(error) else None
            first = self._report(gone or error)
            if first is not None and not isinstance(error, KeyboardInterrupt):
                raise first from error
            if gone is not None:
                raise gone from error
            raise

    def _gone(self) -> PeerGone:
        who = f"process {1 - self.rank}" if self.world == 2 else "another process"
        minutes = EXCHANGE.seconds // 60
        return PeerGone(
            f"{who} is gone: it was killed, or has not answered for {minutes} minutes; "
            f"the last checkpoint stays, and the same command goes on from it"
        )

    def _report(self, error: BaseException) -> PeerFailed | None:
        """Tell the others; returns who failed before."""
        if self._store is None:
            return None
        own = f"{self.rank} {type(error).__name__}: {error}"
        try:
            first = self._store.compare_set(_FAILURE, "", own).decode()
        except dist.DistError:  # who keeps it is gone
            return None
        rank, _, message = first.partition(" ")
        return None if first == own else PeerFailed(int(rank), message)


def _broken(error: BaseException) -> bool:
    """Whether an exchange broke; gloo has no class of its own for that."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo/transport" in str(error)
    )


def alone(device: str = "cpu") -> Team:
    """A team of one."""
    return Team(0, 1, torch.device(device), "none")


@contextmanager
def join(machine: Machine) -> Generator[Team]:
    """Be one of the processes that ``torchrun`` started, or the only one, for as long as it lasts.

    Raises:
        ConfigError: a device that is not there, or a way to share the work that does not go with the number
            of processes.
        PeerFailed: another process failed.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    launched = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    device = device_of(machine.device, int(os.environ.get("LOCAL_RANK", "0")) if launched else None)
    if machine.parallel in ("ddp", "shard") and not launched:
        raise ConfigError(
            f"Machine.parallel is {machine.parallel!r}, but this is one process; start it by {HOW}"
        )
    if not launched or world == 1:
        yield Team(0, 1, device, "none")
        return
    if machine.parallel == "none":
        raise ConfigError(f"Machine.parallel is 'none', but {world} processes would train the same run")
    kind = "ddp" if machine.parallel == "auto" else machine.parallel
    with _connected(rank, world, device) as (store, talk, wait):
        team = Team(rank, world, device, kind, talk, wait, store)
        with team.together():
            yield team


@contextmanager
def _connected(
    rank: int, world: int, device: torch.device
) -> Generator[tuple[dist.Store, dist.ProcessGroup | None, dist.ProcessGroup | None]]:
    """The process group, and in it the store, a group for what is said, and one to wait for the first."""
    from torch.distributed.rendezvous import rendezvous

    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    store, _, _ = next(iter(rendezvous("env://", rank, world)))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo", store=store, rank=rank, world_size=world, timeout=EXCHANGE
    )
    try:
        talk = dist.new_group(backend="gloo", timeout=EXCHANGE)
        wait = dist.new_group(backend="gloo", timeout=WAIT)
        yield store, talk, wait  # type: ignore[misc]
    finally:
        dist.destroy_process_group()


def device_of(name: str, local_rank: int | None = None) -> torch.device:
    """Where this process computes; with several on a machine, each CUDA device has one."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            f"Machine.device is {name!r}, but torch finds no CUDA device here; allowed: cpu, auto"
        )
    if local_rank is not None and ":" in name:
        raise ConfigError(f"Machine.device is {name!r}; with torchrun say cuda, each process takes its own")
    count = torch.cuda.device_count()
    index = int(name.partition(":")[2] or 0) if local_rank is None else local_rank
    if index >= count:
        raise ConfigError(f"no CUDA device {index} here, there are {count}: 0 to {count - 1}")
    return torch.device("cuda", index)
