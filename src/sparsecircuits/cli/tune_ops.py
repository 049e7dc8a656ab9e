"""``sparsecircuits tune-ops``: measure when sparse products are faster on this machine, and remember it."""

from __future__ import annotations

import dataclasses

from sparsecircuits.cli.progress import Progress
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError

#: (rows, columns, tokens) whose crossovers are shown.
SHOWN = ((128, 128, 1024), (256, 256, 1024), (1024, 1024, 1024), (1024, 1024, 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Measure dense and sparse products on this machine, and keep what decides between them.

    The rule that chooses for each matrix is small and ships with measured constants; this replaces them by
    those of your machine, in ops.json in the folder SPARSECIRCUITS_CACHE (or the user's cache folder). Takes
    seconds. Results of the same run on two machines can differ in their last bits if the choices differ.

    Example: sparsecircuits tune-ops --show
    """

    threads: tuple[int, ...] = ()
    """Numbers of threads to measure; none: one, and as many as torch uses."""
    show: bool = False
    """Measure nothing: print the constants in use and where they come from."""
    json: bool = False
    """Print JSON instead of a table."""


def run(options: Options) -> None:
    """Measure, store, and print where the paths cross."""
    import torch

    from sparsecircuits.ops import choice, native, tuning

    if any(threads < 1 for threads in options.threads):
        raise ConfigError(f"--threads is {options.threads}; each must be at least 1")
    wanted = sorted(set(options.threads or (1, torch.get_num_threads())))
    path = choice.cache_folder() / choice.FILE
    if options.show:
        found = path if path.is_file() else "the constants that ship"
        table = {threads: choice.costs(threads) for threads in wanted}
    else:
        if native.kernels() == native.OFF:
            raise ConfigError("there are no sparse kernels to measure: " + _why_none())
        with Progress() as progress:
            bar = progress.add("products", total=tuning.STEPS * len(wanted))
            done = 0

            def tick() -> None:
                nonlocal done
                done += 1
                bar.update(done)

            table = {threads: tuning.measure(threads, tick) for threads in wanted}
        found = choice.store(table)
    rows = [row for threads, costs in table.items() for row in _rows(threads, costs)]
    if options.json:
        costs = {str(threads): one.to_dict() for threads, one in table.items()}
        print_json({"file": str(found), "kernels": native.kernels(), "costs": costs, "crossovers": rows})
        return
    print_table(rows, COLUMNS)
    print(f"kernels: {native.kernels()}; constants: {found}")


def _why_none() -> str:
    from sparsecircuits.ops import native

    return f"{native.VARIABLE}={native.OFF}, or the package was installed without a C++ compiler"


COLUMNS = (
    Column("threads", "threads", "d"),
    Column("matrix", "matrix"),
    Column("tokens", "tokens", ",d"),
    Column("sparse_below", "sparse below a density of", ".1%"),
)


def _rows(threads: int, costs: object) -> list[dict[str, object]]:
    from sparsecircuits.ops import choice, tuning

    assert isinstance(costs, choice.Costs)
    return [
        {
            "threads": threads,
            "matrix": f"{rows} x {columns}",
            "tokens": tokens,
            "sparse_below": tuning.crossover(costs, rows, columns, tokens),
        }
        for rows, columns, tokens in SHOWN
    ]
