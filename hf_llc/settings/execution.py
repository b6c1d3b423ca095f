"""How a number is computed: `ExecutionSettings`, which change it by rounding alone."""

from dataclasses import dataclass
from typing import Annotated

from hf_llc.settings.bounds import Bounds, OneOf, check_fields, require
from hf_llc.settings.limits import LONGEST, MOST_THREADS
from hf_llc.settings.option import Option

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class ExecutionSettings:
    """How the machine computes; the number changes by rounding alone.

    Attributes:
        micro_batch_size: items per forward pass, which changes memory only.
        dtype: `float32` or `bfloat16`, in which losses and gradients are computed; weights and updates are float32.
        threads: CPU threads per process; None means cores divided by chains, so that 1 and N processes agree.
        devices_per_chain: processes, each with a device of its own, that hold one model together.
    """

    micro_batch_size: Annotated[
        int | None,
        Bounds(low=1, high=LONGEST),
        Option(
            help="Sequences or images per forward pass; lower it when memory is short. (default: from their size)",
            panel="Machine",
            published=False,
        ),
    ] = None
    dtype: Annotated[
        str,
        OneOf(DTYPES, "with either the weights are float32"),
        Option(
            help="float32, or bfloat16: matrix products in 16 bits, for GPUs; weights, noise and updates stay float32.",
            panel="Machine",
            common=True,
        ),
    ] = "float32"
    threads: Annotated[
        int | None,
        Bounds(low=1, high=MOST_THREADS),
        Option(help="CPU threads per process. (default: cores / chains)", panel="Machine", published=False),
    ] = None
    devices_per_chain: Annotated[
        int,
        Bounds(low=1, high=LONGEST),
        Option(
            help="Devices that hold one model together (FSDP2), for a model too big for one; --num-processes is "
            "a multiple of it.",
            panel="Machine",
        ),
    ] = 1

    def __post_init__(self) -> None:
        check_fields(self)
        # Autocast keeps 16-bit copies of all weights until the backward pass is over, in every process.
        require(
            self.devices_per_chain == 1 or self.dtype == "float32",
            f"`devices_per_chain={self.devices_per_chain}` needs `dtype=float32`: in {self.dtype} every "
            "device would hold a copy of the whole model.",
        )
