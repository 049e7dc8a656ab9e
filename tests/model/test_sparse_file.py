"""Sparse matrices in a file: the promised bytes, every bit back, no damage that goes unnoticed."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from sparsecircuits.errors import CheckpointError
from sparsecircuits.model.sparse_file import DTYPES, pack, read_packed

#: The example of the module's docstring.
W = torch.tensor([[0, 0, 1.5], [0, 0, 0], [2, 0, -0.0]])
INDEX = {"version": 1, "tensors": {"w": {"shape": [3, 3], "dtype": "F32", "layout": "rows"}}}


def written(tensors: dict[str, Tensor], path: Path) -> Path:
    packed = pack(tensors)
    save_file(packed.tensors, path, packed.metadata)
    return path


def test_the_example_of_the_docstring():
    packed = pack({"w": W})
    assert {name: (t.dtype, t.tolist()) for name, t in packed.tensors.items()} == {
        "w/counts": (torch.uint16, [1, 0, 2]),
        "w/columns": (torch.uint16, [2, 0, 2]),
        "w/values": (torch.float32, [1.5, 2.0, -0.0]),
    }
    assert packed.metadata == {"sparse_tensors": json.dumps(INDEX)}
    assert sum(tensor.nbytes for tensor in packed.tensors.values()) == 24
    assert W.nbytes == 36


@pytest.mark.parametrize(
    ("rows", "columns", "entries", "sparse"),
    [
        # 2 bytes for a row and 6 for an entry against 4 for every place
        (3, 4, 6, True),  # 6 + 36 = 42 of 48
        (3, 4, 7, False),  # 6 + 42 = 48: not smaller
        # 4 bytes for a row and 8 for an entry from 65,536 columns on
        (1, 65_535, 43_689, True),  # 2 + 6 * 43,689 = 262,136 of 262,140
        (1, 65_535, 43_690, False),  # 262,142
        (1, 65_536, 32_767, True),  # 4 + 8 * 32,767 = 262,140 of 262,144
        (1, 65_536, 32_768, False),  # 262,148
    ],
)
def test_the_smaller_form_is_taken(rows: int, columns: int, entries: int, sparse: bool, tmp_path: Path):
    matrix = torch.zeros(rows * columns)
    matrix[-entries:] = torch.arange(1.0, entries + 1)
    matrix = matrix.view(rows, columns)
    packed = pack({"w": matrix})
    assert ("w" not in packed.tensors) is sparse
    assert (packed.metadata is not None) is sparse
    stored = sum(tensor.nbytes for tensor in packed.tensors.values())
    assert stored < matrix.nbytes if sparse else stored == matrix.nbytes
    again = read_packed(written({"w": matrix}, tmp_path / "file"), {"w": (rows, columns)})
    assert torch.equal(again["w"], matrix)


def test_vectors_and_integers_stay_as_they_are():
    tensors = {"vector": torch.zeros(100), "cube": torch.zeros(9, 9, 9), "whole": torch.zeros(9, 9).long()}
    packed = pack(tensors)
    assert packed.metadata is None
    assert {name: tensor.shape for name, tensor in packed.tensors.items()} == {
        name: tensor.shape for name, tensor in tensors.items()
    }


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (1, 1), (7, 300)])
@pytest.mark.parametrize("code", DTYPES)
def test_empty_and_zero_matrices(shape: tuple[int, int], code: str, tmp_path: Path):
    matrix = torch.zeros(shape, dtype=DTYPES[code])
    again = read_packed(written({"w": matrix}, tmp_path / "file"), {"w": shape})["w"]
    assert again.dtype == matrix.dtype
    assert torch.equal(again, matrix)


def test_a_transposed_view_is_written_as_it_reads(tmp_path: Path):
    matrix = torch.zeros(40, 30)
    matrix[3, 7] = 1.0
    again = read_packed(written({"w": matrix.T}, tmp_path / "file"), {"w": (30, 40)})["w"]
    assert torch.equal(again, matrix.T)


#: Any bits at all, and often those that look like zero: -0.0 and the smallest denormals of float32 and 16.
BITS = st.one_of(
    st.just(0), st.sampled_from([0x8000_0000, 1, 0x8000_0001, 0x8000, 0x7F80_0000]), st.integers(0, 2**32 - 1)
)


@given(
    rows=st.integers(0, 6),
    columns=st.integers(0, 12),
    dtype=st.sampled_from(["F32", "F16", "BF16", "F64"]),
    data=st.data(),
)
def test_every_bit_comes_back(
    rows: int, columns: int, dtype: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
):
    size = rows * columns * DTYPES[dtype].itemsize // 2  # in 16-bit halves
    words = data.draw(st.lists(BITS, min_size=(size + 1) // 2, max_size=(size + 1) // 2))
    halves = [half for word in words for half in (word & 0xFFFF, word >> 16)][:size]
    matrix = torch.tensor(halves, dtype=torch.uint16).view(DTYPES[dtype]).view(rows, columns)
    path = written({"w": matrix, "b": torch.ones(2)}, tmp_path_factory.mktemp("bits") / "file")
    again = read_packed(path, {"b": (2,), "w": (rows, columns)})
    assert list(again) == ["b", "w"]
    assert again["w"].dtype == matrix.dtype
    assert again["w"].view(torch.uint8).tolist() == matrix.view(torch.uint8).tolist()


def parts() -> dict[str, Tensor]:
    return dict(pack({"w": W}).tensors)


def fails(path: Path, message: str) -> None:
    """Reading names the file, then says what is wrong."""
    with pytest.raises(CheckpointError, match=re.escape(str(path)) + ": .*" + message):
        read_packed(path, {"w": (3, 3)})


def u16(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.uint16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": u16(1, 0, 1)}, "w: its counts add up to 2, but 3 columns follow"),
        ({"counts": u16(1, 4, 0)}, "w: a row of 3 columns cannot hold so many entries"),
        ({"counts": u16(1, 2)}, r"w/counts is U16 \(2,\), expected U16 \(3,\)"),
        ({"counts": torch.tensor([1, 0, 2])}, r"w/counts is I64 \(3,\), expected U16 \(3,\)"),
        ({"counts": u16(1, 0, 2).view(3, 1)}, r"w/counts is U16 \(3, 1\), expected"),
        ({"columns": u16(2, 0, 3)}, "w: a column lies outside of 0 to 2"),
        ({"columns": u16(2, 2, 0)}, "w: the columns of a row do not increase"),
        ({"columns": u16(2, 1, 1)}, "w: the columns of a row do not increase"),
        ({"columns": torch.tensor([2, 0, 2], dtype=torch.int32)}, r"w/columns is I32 \(3,\), expected U16"),
        ({"columns": u16(2, 0, 2).view(1, 3)}, r"w/columns is U16 \(1, 3\), expected"),
        ({"values": torch.ones(2)}, r"w/values is F32 \(2,\), expected F32 \(3,\)"),
        ({"values": torch.ones(3, dtype=torch.half)}, r"w/values is F16 \(3,\), expected F32 \(3,\)"),
        ({"values": None}, "missing w/values"),
        ({"counts": None}, "missing w/counts"),
        ({"more": torch.ones(3)}, "unknown w/more"),
    ],
)
def test_damaged_parts(changes: dict[str, Tensor | None], message: str, tmp_path: Path):
    tensors = {**parts(), **{f"w/{part}": tensor for part, tensor in changes.items() if tensor is not None}}
    for part, tensor in changes.items():
        if tensor is None:
            del tensors[f"w/{part}"]
    save_file(tensors, tmp_path / "file", {"sparse_tensors": json.dumps(INDEX)})
    fails(tmp_path / "file", message)


def test_negative_counts_and_columns(tmp_path: Path):
    """Of a matrix so wide that they are signed."""
    shape = (2, 70_000)
    matrix = torch.zeros(shape)
    matrix[1, 69_999] = matrix[0, 0] = 1.0
    packed = pack({"w": matrix})
    for part, values in (("counts", [-1, 3]), ("columns", [-1, 69_999])):
        tensors = {**packed.tensors, f"w/{part}": torch.tensor(values, dtype=torch.int32)}
        save_file(tensors, tmp_path / "file", packed.metadata)
        with pytest.raises(CheckpointError, match="w: a (row of 70000 columns|column lies outside)"):
            read_packed(tmp_path / "file", {"w": shape})


def entry(**changes: Any) -> dict[str, Any]:
    return {"version": 1, "tensors": {"w": {**INDEX["tensors"]["w"], **changes}}}


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "its index of sparse tensors is damaged"),
        ("[" * 10**5, "its index of sparse tensors is damaged"),
        ([], "its index of sparse tensors is damaged: expected version and tensors"),
        ({"version": 1}, "its index of sparse tensors is damaged: expected version and tensors"),
        ({"version": 1, "tensors": []}, "tensors is no mapping"),
        ({**INDEX, "version": 2}, "its sparse tensors are of version 2, not 1"),
        (json.dumps(INDEX)[:-2] + ', "w": {}}}', "damaged: 'w' stands there twice"),
        (entry(layout="blocks"), "w: unknown layout 'blocks'; known: rows"),
        (entry(dtype="F8_E4M3"), "w: unknown dtype 'F8_E4M3'"),
        (entry(dtype=["F32"]), r"w: unknown dtype \['F32'\]"),
        (entry(dtype="F64"), r"w/values is F32 \(3,\), expected F64"),
        (entry(more=1), "w: its index entry is damaged: expected dtype, layout, shape"),
        (entry(shape=[3]), r"w: its shape is \[3\]; expected rows and columns"),
        (entry(shape=[3, -3]), r"w: its shape is \[3, -3\]"),
        (entry(shape=[3, True]), r"w: its shape is \[3, True\]"),
        (entry(shape=[3.0, 3]), r"w: its shape is \[3\.0, 3\]"),
        (entry(shape=[2, 3]), r"w is \(2, 3\), expected \(3, 3\)"),
        (entry(shape=[2**40, 2**40]), rf"w is \({2**40}, {2**40}\), expected \(3, 3\)"),
        ({"version": 1, "tensors": {}}, "missing w; unknown w/columns; unknown w/counts; unknown w/values"),
        ({"version": 1, "tensors": {"v": INDEX["tensors"]["w"]}}, "missing w; unknown v; unknown w/columns"),
    ],
)
def test_damaged_index(index: Any, message: str, tmp_path: Path):
    text = index if isinstance(index, str) else json.dumps(index)
    save_file(parts(), tmp_path / "file", {"sparse_tensors": text})
    fails(tmp_path / "file", message)


def test_no_index(tmp_path: Path):
    save_file(parts(), tmp_path / "file")
    fails(tmp_path / "file", "missing w; unknown w/columns; unknown w/counts; unknown w/values")


def test_both_dense_and_sparse(tmp_path: Path):
    save_file({**parts(), "w": W}, tmp_path / "file", {"sparse_tensors": json.dumps(INDEX)})
    fails(tmp_path / "file", "w is there twice, dense and sparse")


def test_a_sparse_vector_is_refused(tmp_path: Path):
    save_file(parts(), tmp_path / "file", {"sparse_tensors": json.dumps(INDEX)})
    with pytest.raises(CheckpointError, match=r"w is \(3, 3\), expected \(9,\)"):
        read_packed(tmp_path / "file", {"w": (9,)})


@pytest.mark.parametrize("tensor", [torch.zeros(3, 3).long(), torch.zeros(3, 3).to(torch.float8_e4m3fn)])
def test_weights_that_are_no_weights(tensor: Tensor, tmp_path: Path):
    save_file({"w": tensor}, tmp_path / "file")
    fails(tmp_path / "file", "w is of dtype (I64|F8_E4M3), expected one of F64, F32, F16, BF16")


def cut(data: bytes) -> bytes:
    return data[:-1]


def longer(data: bytes) -> bytes:
    return data + b"\0"


def huge_header(data: bytes) -> bytes:
    return b"\xff" * 7 + b"\x7f" + data[8:]


@pytest.mark.parametrize("damage", [cut, longer, huge_header, lambda data: b"", lambda data: data[:8]])
def test_damaged_bytes(damage: Callable[[bytes], bytes], tmp_path: Path):
    path = written({"w": W}, tmp_path / "file")
    path.write_bytes(damage(path.read_bytes()))
    fails(path, "not a readable safetensors file")


@given(where=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_is_one_value(
    where: float, value: int, tmp_path_factory: pytest.TempPathFactory
):
    """Nothing crashes: either an error of ours, or a matrix of the right shape."""
    path = written({"w": W}, tmp_path_factory.mktemp("byte") / "file")
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= value
    path.write_bytes(data)
    with contextlib.suppress(CheckpointError):
        assert read_packed(path, {"w": (3, 3)})["w"].shape == (3, 3)


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path):
    tensors = {f"{name}.weight": torch.eye(20) for name in "fedcba"}
    assert written(tensors, tmp_path / "a").read_bytes() == written(tensors, tmp_path / "b").read_bytes()
    assert len(load_file(tmp_path / "a")) == 18
