"""All kinds of faults by the number that they have in the docs, with how many cases each has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.faults import configs, damage, finite, folders, interrupts, reading, room, same, saves, stops
from tests.faults.forks import Outcome
from tests.faults.tiny import Bench


class Kind(NamedTuple):
    """One kind of fault."""

    about: str
    cases: int
    run: Callable[[Bench, int], Iterator[Outcome]]


KINDS: dict[str, Kind] = {
    "R1": Kind("stopped at random steps, dense, sparse and bridged", 60, stops.resumed_anywhere),
    "R3": Kind(
        "in annealing, at its end, in decay, mid pruning, tied magnitudes", 18, stops.resumed_where_it_matters
    ),
    "R4": Kind("the data reader's stream", 9, reading.one_stream),
    "R5": Kind("killed at a random byte of a save", 200, saves.killed_in_a_save),
    "R6": Kind("a disk that refuses, 7 faults at 5 stages", 35, saves.refused),
    "R7": Kind("SIGTERM, Ctrl-C, and Ctrl-C twice", 50, interrupts.interrupted),
    "R8": Kind("flipped bits, cut, empty and swapped files", 1110, damage.damaged),
    "R9": Kind("NaN and infinity in 8 places at 5 steps", 40, finite.not_finite),
    "R10": Kind("memory runs out at 4 places, on a CPU and a GPU", 8, room.out_of_memory),
    "R11": Kind("two runs in a folder; stale locks, other formats", 25, folders.shared),
    "R12": Kind("damaged data", 12, reading.damaged_data),
    "R14": Kind("4 artefacts in 10 fresh processes each", 40, same.same_bytes),
    "R18": Kind("settings that cannot be", 15, configs.bad_settings),
}
