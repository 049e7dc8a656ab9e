from pathlib import Path

import pytest

from sparsecircuits.data.files import FileRecord, written
from sparsecircuits.errors import DataError


def test_a_file_takes_its_name_when_the_block_ends_well(tmp_path: Path):
    path = tmp_path / "a.bin"
    with written(path) as file:
        file.write(b"abc")
        assert not path.exists()
    assert path.read_bytes() == b"abc"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with written(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_record_notices_what_changed(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    record = FileRecord.of(path)
    # sha256("abc"), FIPS 180-2, appendix B.1
    assert record == FileRecord(
        bytes=3, sha256="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    record.check(path)
    path.write_bytes(b"abd")
    with pytest.raises(DataError, match=r"a\.bin: damaged: sha256 \w{12}…; ba7816bf8f01… was written"):
        record.check(path)
    path.write_bytes(b"ab")
    with pytest.raises(DataError, match=r"a\.bin: 2 bytes; 3 were written"):
        record.check(path)
    path.unlink()
    with pytest.raises(DataError, match=r"a\.bin: missing"):
        record.check(path)
