"""Random numbers from (seed, purpose, chain, step), never from a global state, a rank or a world size.

Two processes that compute the same chain, or two checkpoints under the same seed, therefore see the same noise and
the same batches: differences along a curve are common-random-number differences.
"""

import hashlib

import torch


def derive(seed: int, purpose: str, *coordinates: int) -> int:
    """A 63-bit seed that depends on every argument and on nothing else."""
    text = ":".join([str(seed), purpose, *map(str, coordinates)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, purpose: str, *coordinates: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by the seed, the purpose and the coordinates."""
    stream = torch.Generator(device)
    stream.manual_seed(derive(seed, purpose, *coordinates))
    return stream
