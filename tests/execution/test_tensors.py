"""Tensors on disk are read as they were written, or not at all."""

from pathlib import Path

import pytest
import torch

from hf_llc.execution.tensors import read_tensors, write_tensors

TENSORS = [torch.arange(6.0).reshape(2, 3), torch.tensor(1.5), torch.zeros(0), torch.ones(3, dtype=torch.bfloat16)]


def test_tensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_tensors(tmp_path / "some", [TENSORS[0].T, *TENSORS[1:]])
    read = read_tensors(tmp_path / "some")
    assert read is not None
    assert [tensor.dtype for tensor in read] == [tensor.dtype for tensor in TENSORS]
    assert all(torch.equal(one, other) for one, other in zip(read, [TENSORS[0].T, *TENSORS[1:]], strict=True))
    assert read_tensors(tmp_path / "none") is None


@pytest.mark.parametrize("place", range(0, 60, 7))
def test_a_flipped_bit_of_any_value_is_seen(tmp_path: Path, place: int) -> None:
    path = tmp_path / "some"
    write_tensors(path, TENSORS)
    content = bytearray(path.read_bytes())
    content[-1 - place] ^= 1
    path.write_bytes(content)
    assert read_tensors(path) is None


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, b"\xff" * 16, b"not tensors at all"])
def test_what_is_no_file_of_tensors_is_absent(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some").write_bytes(content)
    assert read_tensors(tmp_path / "some") is None
