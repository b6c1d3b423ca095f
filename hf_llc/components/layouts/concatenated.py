"""One projection with the queries of all heads, then all keys, then all values: GPT-2, Phi-3, MPT, ModernBERT."""

from torch import nn
from transformers.pytorch_utils import Conv1D

from hf_llc.components.layouts.base import Heads, class_names, head_size, projection

ATTENTIONS = {
    "Phi3Attention": ("qkv_proj", "o_proj"),
    "MptAttention": ("Wqkv", "out_proj"),
    "ModernBertAttention": ("Wqkv", "Wo"),
    "GPTBigCodeAttention": ("c_attn", "c_proj"),
}
"""Names of the projections by the class of the attention: their sizes do not tell this layout from others."""
GPT2 = ("c_attn", "c_proj")
"""Of GPT-2 and what derives from it, whose `Conv1D` tells."""


class Concatenated:
    """One projection for all: queries, keys, values."""

    def heads(self, layer: nn.Module, name: str) -> Heads | None:
        names = self._names(layer.get_submodule(name))
        if names is None:
            return None
        fused, output = (projection(layer, name, child) for child in names)
        size = None if output is None else head_size(layer.get_submodule(name), output.inputs)
        if fused is None or output is None or size is None or fused.outputs % size:
            return None
        heads = output.inputs // size
        groups, odd = divmod(fused.outputs // size - heads, 2)
        if odd or groups < 1 or heads % groups:
            return None
        keys, values = heads * size, (heads + groups) * size
        return Heads(
            own=[[*fused.rows(at, at + size), *output.columns(at, at + size)] for at in range(0, heads * size, size)],
            shared=[
                [*fused.rows(keys + at, keys + at + size), *fused.rows(values + at, values + at + size)]
                for at in range(0, groups * size, size)
            ],
            outer=name,
        )

    def _names(self, attention: nn.Module) -> tuple[str, str] | None:
        if isinstance(getattr(attention, GPT2[0], None), Conv1D):
            return GPT2
        kind = next((kind for kind in ATTENTIONS if kind in class_names(attention)), None)
        # Without shared keys and values this class interleaves.
        interleaves = kind == "GPTBigCodeAttention" and not getattr(attention, "multi_query", False)
        return None if kind is None or interleaves else ATTENTIONS[kind]


LAYOUT = Concatenated()
