"""Packing documents into rows of tokens."""

import hashlib
import struct
from collections.abc import Iterator

import torch

from hf_llc.tasks.text_generation.packing import fingerprint, pack


def test_documents_follow_each_other_with_one_eos_and_the_tail_is_dropped() -> None:
    tokens = pack([[1, 2, 3], [4], [5, 6, 7, 8]], eos_id=9, context_length=4, max_sequences=0)
    assert tokens.tolist() == [[1, 2, 3, 9], [4, 9, 5, 6]]
    assert tokens.dtype == torch.int32


def test_an_eos_stands_behind_the_last_document_too() -> None:
    assert pack([[1, 2, 3]], eos_id=9, context_length=4, max_sequences=0).tolist() == [[1, 2, 3, 9]]


def test_empty_documents_leave_nothing() -> None:
    assert pack([[], [1], [], [2], []], eos_id=9, context_length=2, max_sequences=0).tolist() == [[1, 9], [2, 9]]


def test_reading_stops_as_soon_as_all_rows_are_full() -> None:
    taken = []

    def documents() -> Iterator[list[int]]:
        for number in range(100):
            taken.append(number)
            yield [number]

    tokens = pack(documents(), eos_id=9, context_length=4, max_sequences=3)
    assert tokens.shape == (3, 4)
    assert taken == [0, 1, 2, 3, 4, 5]


def test_a_long_document_fills_no_more_than_the_rows_asked_for() -> None:
    assert pack([list(range(100))], eos_id=9, context_length=4, max_sequences=2).tolist() == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]


def test_too_little_text_gives_no_rows() -> None:
    assert pack([[1]], eos_id=9, context_length=4, max_sequences=5).shape == (0, 4)
    assert pack([], eos_id=9, context_length=4, max_sequences=0).shape == (0, 4)


def test_the_result_does_not_share_memory_with_a_buffer_that_goes_away() -> None:
    tokens = pack([[1, 2, 3]], eos_id=9, context_length=2, max_sequences=0)
    tokens += 1
    assert tokens.tolist() == [[2, 3], [4, 10]]


def test_fingerprint_is_the_hash_of_shape_and_little_endian_int32() -> None:
    tokens = torch.tensor([[1, 2], [300, 70_000]], dtype=torch.int32)
    expected = hashlib.sha256(b"(2, 2)" + struct.pack("<4i", 1, 2, 300, 70_000)).hexdigest()
    assert fingerprint(tokens) == f"sha256:{expected}"


def test_fingerprint_sees_shape_and_order_but_not_dtype_or_strides() -> None:
    tokens = torch.arange(6, dtype=torch.int32).reshape(2, 3)
    assert fingerprint(tokens.reshape(3, 2)) != fingerprint(tokens)
    assert fingerprint(tokens.flip(0)) != fingerprint(tokens)
    assert fingerprint(tokens.long()) == fingerprint(tokens)
    assert fingerprint(tokens.T.contiguous().T) == fingerprint(tokens)
