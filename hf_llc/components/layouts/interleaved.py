"""One projection with the queries, the key and the value of a head, then those of the next: GPT-NeoX, BLOOM, Falcon.

Where heads share keys and values, the queries of a group come first, then its key and its value.
"""

from torch import nn

from hf_llc.components.layouts.base import Heads, class_names, head_size, projection

ATTENTIONS = {
    "GPTNeoXAttention": ("query_key_value", "dense"),
    "GPTNeoXJapaneseAttention": ("query_key_value", "dense"),
    "BloomAttention": ("query_key_value", "dense"),
    "FalconAttention": ("query_key_value", "dense"),
    "PersimmonAttention": ("query_key_value", "dense"),
    "GPTBigCodeAttention": ("c_attn", "c_proj"),
}
"""Names of the projections by the class of the attention: their sizes do not tell this layout from others."""


class Interleaved:
    """One projection for all, group by group."""

    def heads(self, layer: nn.Module, name: str) -> Heads | None:
        attention = layer.get_submodule(name)
        kind = next((kind for kind in ATTENTIONS if kind in class_names(attention)), None)
        if kind is None or (kind == "GPTBigCodeAttention" and getattr(attention, "multi_query", False)):
            return None
        fused, output = (projection(layer, name, child) for child in ATTENTIONS[kind])
        size = None if output is None else head_size(attention, output.inputs)
        if fused is None or output is None or size is None or fused.outputs % size:
            return None
        heads = output.inputs // size
        groups, odd = divmod(fused.outputs // size - heads, 2)
        if odd or groups < 1 or heads % groups:
            return None
        each = heads // groups
        rows = [((head // each) * (each + 2) + head % each) * size for head in range(heads)]
        keys = [(group * (each + 2) + each) * size for group in range(groups)]
        return Heads(
            own=[
                [*fused.rows(row, row + size), *output.columns(head * size, (head + 1) * size)]
                for head, row in enumerate(rows)
            ],
            shared=[fused.rows(key, key + 2 * size) for key in keys],
            outer=name,
        )


LAYOUT = Interleaved()
