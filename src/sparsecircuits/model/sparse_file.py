"""Sparse matrices in a safetensors file: their nonzero entries, and one index that says which they are.

The file is an ordinary safetensors file. A matrix NAME that takes fewer bytes so is stored as three tensors:

==============  =========  ==========================================================================
``NAME/counts``   [rows]     how many entries of each row are stored
``NAME/columns``  [entries]  their columns, row after row, strictly increasing within a row
``NAME/values``   [entries]  what stands there, in the matrix' own dtype
==============  =========  ==========================================================================

An entry is stored unless all its bits are zero: -0.0 and the smallest denormals are, +0.0 is not, so that a
matrix comes back bit for bit. (So who makes a matrix sparse should fill in zeros, not multiply by them, which
turns half of them into -0.0.) Counts and columns are U16 in a matrix of fewer than 65,536 columns, else I32.
Every other tensor is stored under its own name as it is.

The file's metadata hold the index as JSON under the key ``sparse_tensors``; without it nothing is sparse.
``rows`` is the one layout there is. An example, the matrix ``[[0, 0, 1.5], [0, 0, 0], [2, 0, -0.0]]``::

    "__metadata__": {"sparse_tensors": "{\"version\": 1, \"tensors\":
        {\"w\": {\"shape\": [3, 3], \"dtype\": \"F32\", \"layout\": \"rows\"}}}"}

    w/counts   U16   1 0 2
    w/columns  U16   2 0 2
    w/values   F32   1.5 2 -0.0

(In so small a matrix the three take 24 bytes of 36: 6, 6 and 12.) Who reads such a file knows beforehand
which tensors it must hold, and of what shape; names, shapes and dtypes are compared before anything of the
size of a matrix is made, so that a header cannot ask for memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sparsecircuits.errors import CheckpointError

INDEX = "sparse_tensors"
VERSION = 1
LAYOUT = "rows"
PARTS = ("counts", "columns", "values")
#: The dtypes of weights, as safetensors calls them.
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_CODES = {dtype: code for code, dtype in DTYPES.items()}
#: Integers as wide as a value, to compare and copy bits.
_BITS = {8: torch.int64, 4: torch.int32, 2: torch.int16}
_ENTRY_KEYS = {"shape", "dtype", "layout"}


class Packed(NamedTuple):
    """What goes into the file."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str] | None


class Entry(NamedTuple):
    """One sparse matrix, as the index has it."""

    shape: tuple[int, int]
    dtype: str


def pack(tensors: Mapping[str, Tensor]) -> Packed:
    """Each tensor as it is, or, if it is a matrix that takes fewer bytes so, as its nonzero entries.

    Args:
        tensors: by name, of any shape; matrices of a dtype in :data:`DTYPES` may become sparse.
    """
    stored: dict[str, Tensor] = {}
    index: dict[str, Any] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        parts = _parts(tensor) if tensor.ndim == 2 and tensor.dtype in _CODES else None
        if parts is None:
            stored[name] = tensor
        else:
            stored |= {_part(name, part): values for part, values in parts.items()}
            index[name] = {"shape": list(tensor.shape), "dtype": _CODES[tensor.dtype], "layout": LAYOUT}
    metadata = {INDEX: json.dumps({"version": VERSION, "tensors": index})} if index else None
    return Packed(stored, metadata)


def read_packed(path: Path, shapes: Mapping[str, Iterable[int]]) -> dict[str, Tensor]:
    """Read a file of :func:`pack`, or one that holds the same tensors as they are.

    Args:
        path: the file.
        shapes: what must be in it, no less and no more: the shape of each tensor by name.

    Returns:
        Every tensor, dense, in the order of ``shapes``.

    Raises:
        CheckpointError: naming the file, and the tensor that is missing, unknown, of another shape, or stored
            in a way that makes no sense.
    """
    wanted = {name: tuple(shape) for name, shape in shapes.items()}
    try:
        with safe_open(path, framework="pt") as file:
            return _read(_Stored(path, file), wanted)
    except CheckpointError:
        raise
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error


def _part(name: str, part: str) -> str:
    return f"{name}/{part}"


def _small(columns: int) -> bool:
    """Whether counts and columns fit into 16 bits."""
    return columns < 1 << 16


def _parts(matrix: Tensor) -> dict[str, Tensor] | None:
    """Counts, columns and values of a matrix, or None where they take no fewer bytes than it does."""
    rows, columns = matrix.shape
    bits = matrix.view(_BITS[matrix.element_size()])
    entries = int(torch.count_nonzero(bits))
    index_size = 2 if _small(columns) else 4
    if index_size * (rows + entries) + matrix.element_size() * entries >= matrix.nbytes:
        return None
    index = torch.uint16 if _small(columns) else torch.int32
    row, column = torch.nonzero(bits, as_tuple=True)
    return {
        "counts": torch.bincount(row, minlength=rows).to(index),
        "columns": column.to(index),
        "values": matrix[row, column],
    }


class _Stored:
    """An open file: what its header says of each tensor, and the tensors one at a time."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self._file = path, file
        self.names = set(file.keys())
        self.index = self._read_index((file.metadata() or {}).get(INDEX))

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._file.get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        return str(self._file.get_slice(name).get_dtype())

    def tensor(self, name: str) -> Tensor:
        return self._file.get_tensor(name)

    def wrong(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: {what}")

    def _read_index(self, text: str | None) -> dict[str, Entry]:
        if text is None:
            return {}
        try:
            index = json.loads(text, object_pairs_hook=_no_key_twice)
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"its index of sparse tensors is damaged: {error}") from error
        if not isinstance(index, dict) or set(index) != {"version", "tensors"}:
            raise self.wrong("its index of sparse tensors is damaged: expected version and tensors")
        if index["version"] != VERSION:
            raise self.wrong(f"its sparse tensors are of version {index['version']!r}, not {VERSION}")
        if not isinstance(index["tensors"], dict):
            raise self.wrong("its index of sparse tensors is damaged: tensors is no mapping")
        return {name: self._entry(name, entry) for name, entry in index["tensors"].items()}

    def _entry(self, name: str, entry: Any) -> Entry:
        if not isinstance(entry, dict) or set(entry) != _ENTRY_KEYS:
            raise self.wrong(f"{name}: its index entry is damaged: expected {', '.join(sorted(_ENTRY_KEYS))}")
        if entry["layout"] != LAYOUT:
            raise self.wrong(f"{name}: unknown layout {entry['layout']!r}; known: {LAYOUT}")
        shape, dtype = entry["shape"], entry["dtype"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise self.wrong(f"{name}: unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
        if not isinstance(shape, list) or len(shape) != 2 or any(type(n) is not int or n < 0 for n in shape):
            raise self.wrong(f"{name}: its shape is {shape!r}; expected rows and columns")
        return Entry((shape[0], shape[1]), dtype)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return found


def _read(stored: _Stored, wanted: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    problems = list(_misfits(stored, wanted))
    if problems:
        raise stored.wrong("does not fit its config: " + "; ".join(problems[:5]))
    return {name: _decode(stored, name) if name in stored.index else stored.tensor(name) for name in wanted}


def _misfits(stored: _Stored, wanted: dict[str, tuple[int, ...]]) -> Iterator[str]:
    """What in the header does not agree with the names and shapes that are wanted."""
    parts = {_part(name, part): name for name in stored.index for part in PARTS}
    there = set(stored.index) | (stored.names - set(parts))
    yield from (f"missing {name}" for name in wanted if name not in there)
    yield from (f"unknown {name}" for name in sorted(there) if name not in wanted)
    yield from (f"missing {part}" for part in parts if part not in stored.names)
    for name in wanted:
        if name in stored.index and name in stored.names:
            yield f"{name} is there twice, dense and sparse"
            continue
        if name in stored.index:
            shape, dtype = stored.index[name]
        elif name in stored.names:
            shape, dtype = stored.shape(name), stored.dtype(name)
        else:
            continue
        if shape != wanted[name]:
            yield f"{name} is {shape}, expected {wanted[name]}"
        elif dtype not in DTYPES:
            yield f"{name} is of dtype {dtype}, expected one of {', '.join(DTYPES)}"


def _decode(stored: _Stored, name: str) -> Tensor:
    """A sparse matrix as a dense one; its shape is known to be the one that is wanted."""
    (rows, columns), code = stored.index[name]
    index = "U16" if _small(columns) else "I32"
    entries = stored.shape(_part(name, "columns"))
    for part, shape, dtype in (
        ("counts", (rows,), index),
        ("columns", entries, index),
        ("values", entries, code),
    ):
        found = stored.shape(_part(name, part)), stored.dtype(_part(name, part))
        if found != (shape, dtype) or len(shape) != 1:
            raise stored.wrong(f"{_part(name, part)} is {found[1]} {found[0]}, expected {dtype} {shape[:1]}")
    counts = stored.tensor(_part(name, "counts")).long()
    column = stored.tensor(_part(name, "columns")).long()
    if counts.numel() and not 0 <= int(counts.min()) <= int(counts.max()) <= columns:
        raise stored.wrong(
            f"{name}: a row of {columns} columns cannot hold so many entries as its count says"
        )
    if int(counts.sum()) != len(column):
        raise stored.wrong(
            f"{name}: its counts add up to {int(counts.sum())}, but {len(column)} columns follow"
        )
    if len(column) and not 0 <= int(column.min()) <= int(column.max()) < columns:
        raise stored.wrong(f"{name}: a column lies outside of 0 to {columns - 1}")
    position = torch.arange(rows).repeat_interleave(counts) * columns + column
    if not (position.diff() > 0).all():
        raise stored.wrong(f"{name}: the columns of a row do not increase")
    values = stored.tensor(_part(name, "values"))
    bits = torch.zeros(rows * columns, dtype=_BITS[values.element_size()])
    bits[position] = values.view(bits.dtype)
    return bits.view(values.dtype).view(rows, columns)
