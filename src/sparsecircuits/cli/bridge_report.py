"""``sparsecircuits bridge report``: errors by location, and the loss of hybrids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsecircuits.cli.arguments import dense_place, is_read_only, open_run
from sparsecircuits.cli.progress import Progress
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.errors import ConfigError

if TYPE_CHECKING:
    from sparsecircuits.cli.bridge import Options
    from sparsecircuits.model import SparseGPT
    from sparsecircuits.train import Run

COLUMNS = (
    Column("location", "location"),
    Column("encode", "encoder misses", ".1%"),
    Column("decode", "decoder misses", ".1%"),
    Column("to_sparse", "dense, then sparse", ".4f"),
    Column("to_sparse_excess", "above", "+.4f"),
    Column("to_dense", "sparse, then dense", ".4f"),
    Column("to_dense_excess", "above", "+.4f"),
)


def run(options: Options) -> None:
    """Measure, write, draw and print."""
    if options.node is not None or options.task or options.side != "both":
        raise ConfigError("--task, --node and --side are of steer and transfer; report is of all text")
    from sparsecircuits.bridges.files import load_pair
    from sparsecircuits.bridges.measure import measure
    from sparsecircuits.bridges.report import report_of, report_path, write_result
    from sparsecircuits.train import evaluate
    from sparsecircuits.train.devices import device_of
    from sparsecircuits.viz.bridge_charts import crossings_figure
    from sparsecircuits.viz.style import save_chart

    opened = open_run(options.run)
    pair = load_pair(opened, dense_place(options.dense)).to(device_of(options.device))
    corpus, other = opened.corpus(), None
    alone = None if options.unbridged is None else _unbridged(opened, open_run(options.unbridged))
    with Progress() as progress:
        bar = progress.add(f"hybrids of {opened.name}", total=min(options.tokens, len(corpus.val) - 1))
        found = measure(
            pair.dense.side,
            pair.sparse,
            pair.bridge,
            corpus.val,
            limit=options.tokens,
            context=opened.config.context,
            mixtures=options.mixtures,
            seed=options.seed,
            watch=bar.update,
        )
    if alone is not None:
        other = evaluate(alone, corpus.val, limit=options.tokens, context=opened.config.context)
    report = report_of(found, pair.sparse.model.locations, other)
    if not is_read_only(opened):
        write_result(report, report_path(opened))
        picture = options.picture or report_path(opened).with_suffix(".png")
    else:
        picture = options.picture
    if picture is not None:
        save_chart(crossings_figure(report), picture)
    if options.json:
        print_json(report)
        return
    _print(report, pair.dense.source)
    if picture is not None:
        print(f"picture: {picture}")


def _unbridged(bridged: Run, alone: Run) -> SparseGPT:
    """The same sparse model trained alone.

    Raises:
        ConfigError: it is another model, recipe or corpus, or has a bridge, or has not finished.
    """
    if alone.beside is not None or alone.config != bridged.config or alone.result() is None:
        raise ConfigError(
            f"--unbridged {alone.folder}: expected a finished run of the same model and recipe, trained alone"
        )
    if alone.corpus_hashes() != bridged.corpus_hashes():
        raise ConfigError(
            f"--unbridged {alone.folder}: it was trained on another corpus ({alone.corpus_folder})"
        )
    return alone.model()


def _print(report: dict[str, Any], dense: str) -> None:
    rows = [
        {
            "location": name,
            **{key: report[key][index] for key in ("encode", "decode", "to_sparse", "to_dense")},
            **{f"{key}_excess": report[key][index] - report["worse"] for key in ("to_sparse", "to_dense")},
        }
        for index, name in enumerate(report["locations"])
    ]
    print_table(rows, COLUMNS)
    alone = report["unbridged"]
    beside = "" if alone is None else f" ({report['sparse'] - alone:+.4f} against the same trained alone)"
    print(f"loss: dense {report['dense']:.4f} ({dense}), sparse {report['sparse']:.4f}{beside} nats/token")
    mixtures = [loss - report["worse"] for loss in report["mixtures"]]
    print(
        f"above the worse of them: {report['mean_excess']:+.4f} on average over crossings, at worst "
        f"{report['largest_excess']:+.4f}; random mixtures {sum(mixtures) / len(mixtures):+.4f}, at worst "
        f"{max(mixtures):+.4f}"
    )
