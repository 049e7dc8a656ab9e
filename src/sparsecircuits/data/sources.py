"""Named sources of text, each a stream of documents in an order that depends on the seed only.

====================  =========================================================================
``idioms``            small Python files of simple, repetitive idioms, made up without end
``stories``           simple stories in plain English, made up without end
``stdlib``            the source code of the running interpreter's standard library
``site-packages``     the Python source of every package installed beside the running program
a folder              every ``.py`` and ``.txt`` file below it (hidden and cache folders left out);
                      where there are none, every ``.jsonl`` file, or else every ``.parquet`` file;
                      those of the other kinds are skipped, counted and named, and files of other endings
                      counted
``src/**/*.md``       the files that a pattern matches; any that is no table is read as text
a text file           that one file, whatever its ending if a pattern, else ``.py``, ``.txt``, ``.md``
``rows.jsonl``        one JSON object a line; the text is its field ``text``, or ``?column=NAME``
``rows.parquet``      the same of a column
``hf:ORG/NAME``       a data set of the Hugging Face Hub, streamed; ``hf:ORG/NAME:CONFIG``, ``hf:FOLDER``
====================  =========================================================================

Text and ``.jsonl`` files may be compressed: ``.gz``, ``.zst``. Options are ``?column=``, and of ``hf:``
``?split=`` and ``?revision=`` too, joined by ``&``; see :mod:`~sparsecircuits.data.specs`.

What is read, for files:

1. the files are listed by name, then shuffled by the seed (rows keep their order);
2. :mod:`~sparsecircuits.data.texts` and :mod:`~sparsecircuits.data.tables` make documents of each;
3. what cannot be read is skipped, counted and named in the :class:`SourceReport`; a source in which
   nothing is left is an error.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import random
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sparsecircuits.data.extras import import_extra
from sparsecircuits.data.reports import Document, SourceReport
from sparsecircuits.data.rows import read_jsonl
from sparsecircuits.data.specs import MADE_SOURCES, Spec, parse_spec
from sparsecircuits.data.tables import check_hub_name, read_hub, read_parquet
from sparsecircuits.data.texts import PACKED, kind_of, read_text_file
from sparsecircuits.errors import DataError, near_misses

TEXT_SUFFIXES = (".py", ".txt")
"""What is read of a folder."""
TABLE_SUFFIXES = (".jsonl", ".parquet")
"""What has fields or columns."""
FILE_SUFFIXES = (*TEXT_SUFFIXES, ".md", *TABLE_SUFFIXES)
"""What a file that is named may be."""
_ENDINGS_TOLD = 5

_STDLIB_SKIPPED_FOLDERS = frozenset(
    ("test", "tests", "idle_test", "turtledemo")  # not how programs are written
    + ("site-packages", "dist-packages", "lib-dynload")  # not the standard library, or not Python
    + ("lib2to3", "pydoc_data", "encodings")  # grammars and tables
)
_STDLIB_FILE_BYTES = 300_000
_PACKAGES = ("site-packages", "dist-packages")


def read_source(spec: str, seed: int, report: SourceReport | None = None) -> Iterator[Document]:
    """The documents of a source: a pure function of the source's content and ``seed``.

    Args:
        spec: see the table on top. A folder that bears the name of a made source is given as ``./idioms``.
        seed: chooses the idioms and stories, and the order of files.
        report: filled with what is skipped.

    Raises:
        DataError: at once for a source that does not exist, is of no known kind or needs a package that is
            not installed, and for a column of what has none; at the end of the stream where it held no
            document at all, with the reasons.
    """
    report = report if report is not None else SourceReport()
    return _counted(_open_source(check_source(spec), seed, report), spec, report)


def check_source(text: str) -> Spec:
    """The source taken apart; :class:`DataError` unless it exists and can be read here."""
    spec = parse_spec(text)
    if spec.kind == "hub":
        check_hub_name(spec.name)
        _check_installed("datasets", text)
    elif spec.kind == "pattern":
        if not (files := _matched(spec.name)):
            raise DataError(f"source {text!r}: no file matches the pattern")
        _check_files(files, text)
    elif spec.kind == "path":
        path = Path(spec.name)
        if not path.exists():
            hint = near_misses(spec.name, MADE_SOURCES)
            raise DataError(f"source {text!r}: no such file or folder, and no made source; {hint}")
        if not path.is_file() and not path.is_dir():
            raise DataError(f"source {text!r}: neither a file nor a folder")
        if path.is_file():
            if kind_of(path) not in FILE_SUFFIXES:
                raise DataError(
                    f"source {text!r}: a file of kind {kind_of(path)!r}; allowed: {', '.join(FILE_SUFFIXES)} "
                    f"(also {', '.join(PACKED)}), or any text file by a pattern, such as '*{path.suffix}'"
                )
            _check_files([path], text)
    return spec


def _check_files(files: Iterable[Path], text: str) -> None:
    """Ask for what these files need before anything is read."""
    if any(path.suffix == ".zst" for path in files):
        _check_installed("zstandard", text)
    if any(kind_of(path) == ".parquet" for path in files):
        _check_installed("pyarrow", text)


def _check_installed(package: str, text: str) -> None:
    if importlib.util.find_spec(package) is None:
        import_extra(package, text)


def _open_source(spec: Spec, seed: int, report: SourceReport) -> Iterator[Document]:
    if spec.name == "idioms" and spec.kind == "made":
        from sparsecircuits.data.idioms import endless_idioms

        return (Document(text, "idioms") for text in endless_idioms(seed))
    if spec.name == "stories" and spec.kind == "made":
        from sparsecircuits.data.stories import endless_stories

        return (Document(text, "stories") for text in endless_stories(seed))
    if spec.kind == "made":
        listed = _listed_stdlib if spec.name == "stdlib" else _listed_packages
        return _read_files(listed(report), spec, seed, report)
    if spec.kind == "hub":
        options = spec.options
        return read_hub(spec.name, spec.column, options.get("split"), options.get("revision"), report)
    if spec.kind == "pattern":
        files = _matched(spec.name)
    elif Path(spec.name).is_dir():
        files = _listed_folder(Path(spec.name), report)
        _check_files(files, spec.text)
    else:
        files = [Path(spec.name)]
    if "column" in spec.options and not any(kind_of(path) in TABLE_SUFFIXES for path in files):
        raise DataError(
            f"source {spec.text!r}: text has no columns; ?column= is for {' and '.join(TABLE_SUFFIXES)} "
            "files, of which none is read here"
        )
    return _read_files([(path, str(path)) for path in files], spec, seed, report)


def _counted(documents: Iterable[Document], spec: str, report: SourceReport) -> Iterator[Document]:
    for document in documents:
        report.documents += 1
        yield document
    if report.documents == 0:
        named = "".join(f"\n  {line}" for line in report.named[:5])
        raise DataError(f"source {spec!r}: no text in it ({report}){named}")


def _read_files(
    files: Sequence[tuple[Path, str]], spec: Spec, seed: int, report: SourceReport
) -> Iterator[Document]:
    """The documents of files, each with its origin, in the seed's order."""
    shuffled = list(files)
    random.Random(seed).shuffle(shuffled)
    for path, origin in shuffled:
        if (kind := kind_of(path)) == ".jsonl":
            yield from read_jsonl(path, spec.column, report, chosen="column" in spec.options)
        elif kind == ".parquet":
            yield from read_parquet(path, spec.column, report)
        else:
            yield from read_text_file(path, report, origin)


def _listed_stdlib(report: SourceReport) -> list[tuple[Path, str]]:
    """The interpreter's own modules; origins are relative, so that they read the same on any machine."""
    root = Path(sysconfig.get_path("stdlib"))
    files = []
    for path in _listed(root, (".py",), report, _STDLIB_SKIPPED_FOLDERS):
        origin = f"stdlib/{path.relative_to(root).as_posix()}"
        if path.name.startswith("_sysconfigdata") or path.stat().st_size > _STDLIB_FILE_BYTES:
            report.skip(origin, "a table, not code")
        else:
            files.append((path, origin))
    return files


def _listed_packages(report: SourceReport) -> list[tuple[Path, str]]:
    """Every module below the folders for packages that the running program imports from."""
    roots = dict.fromkeys(Path(entry).resolve() for entry in sys.path if Path(entry).name in _PACKAGES)
    return [
        (path, f"site-packages/{path.relative_to(root).as_posix()}")
        for root in roots
        for path in _listed(root, (".py",), report)
    ]


def _listed_folder(folder: Path, report: SourceReport) -> list[Path]:
    """The folder's text files; without any, its .jsonl or else .parquet files. The others are skipped."""
    kinds = (TEXT_SUFFIXES, (".jsonl",), (".parquet",))
    others: Counter[str] = Counter()
    found = _listed(folder, tuple(suffix for kind in kinds for suffix in kind), report, others=others)
    if others and not found:
        raise DataError(_nothing_to_read(folder, others))
    for ending, count in others.most_common():
        report.skip(str(folder), f"{_ending(ending)}, not read", count)
    read = next((kind for kind in kinds if any(kind_of(path) in kind for path in found)), ())
    for path in found:
        if kind_of(path) not in read:
            report.skip(str(path), f"not read beside {' and '.join(read)} files")
    return [path for path in found if kind_of(path) in read]


def _nothing_to_read(folder: Path, others: Counter[str]) -> str:
    """What is said of a folder all of whose files have other endings; and the pattern that reads them."""
    there = ", ".join(f"{count:,} {_ending(name)}" for name, count in others.most_common(_ENDINGS_TOLD))
    likely = next((name for name in FILE_SUFFIXES if name in others), others.most_common(1)[0][0])
    pattern = os.path.join(glob.escape(str(folder)), "**", f"*{likely}")
    return (
        f"source {str(folder)!r}: no file that is read of a folder ({', '.join(TEXT_SUFFIXES)}; or "
        f"{', '.join(TABLE_SUFFIXES)}), but {there}; a pattern reads text of any ending: {pattern!r}"
    )


def _ending(suffix: str) -> str:
    return f"of ending {suffix}" if suffix else "without an ending"


def _listed(
    folder: Path,
    suffixes: tuple[str, ...],
    report: SourceReport,
    without: frozenset[str] = frozenset(),
    others: Counter[str] | None = None,
) -> list[Path]:
    """The files below ``folder``, by name. Links to folders are not followed: no file comes twice.

    Files of other endings, but for hidden ones, are counted in ``others``.
    """
    found = []

    def unreadable(error: OSError) -> None:
        report.skip(str(error.filename), "cannot be read")

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        hidden = {name for name in folders if name.startswith(".") or name == "__pycache__"}
        folders[:] = sorted(set(folders) - hidden - without)
        for path in (Path(parent, name) for name in sorted(files)):
            if (kind := kind_of(path)) not in suffixes:
                if others is not None and not path.name.startswith("."):
                    others[kind] += 1
            elif path.is_file():
                found.append(path)
            else:  # a pipe, which would never end, or a link to nothing
                report.skip(str(path), "cannot be read")
    return found


def _matched(pattern: str) -> list[Path]:
    """The files that match, by name; hidden ones only where the pattern says so."""
    return [Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(name)]
