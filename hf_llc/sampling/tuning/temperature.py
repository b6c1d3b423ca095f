"""The inverse temperature of the tempered posterior."""

import math

from hf_llc.errors import SettingsError


def default_n_beta(n: int) -> float:
    """nβ at the inverse temperature β* = 1/log n (Lau et al. 2023; Watanabe 2013): n / log n, no unit.

    Args:
        n: sequences in the empirical loss.

    Raises:
        SettingsError: n is below 2, where log n is not positive.
    """
    if n < 2:
        raise SettingsError(f"n / log n needs at least 2 items, got {n}. Give more data, or set `n_beta`.")
    return n / math.log(n)
