"""Queries, keys and values by a projection each: Llama, Qwen, Gemma, Mistral, OLMo, OPT, BERT and most others.

Rows of a projection go head by head. With grouped queries keys and values have fewer heads than queries.
"""

from torch import nn

from hf_llc.components.layouts.base import Heads, Projection, head_size, parent_of, projection

INPUTS = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), ("Wq", "Wk", "Wv"))
OUTPUTS = ("o_proj", "out_proj", "out_lin", "dense")
OUTPUT_BESIDE = "output.dense"
"""Of BERT and its like, whose query, key and value stand in a module `self` beside the module `output`."""


class Separate:
    """A projection each for queries, keys and values."""

    def heads(self, layer: nn.Module, name: str) -> Heads | None:
        inputs = next((each for names in INPUTS if (each := self._inputs(layer, name, names))), None)
        output, outer = self._output(layer, name)
        if inputs is None or output is None:
            return None
        query, key, value = inputs
        size = head_size(layer.get_submodule(name), output.inputs)
        fits = query.outputs == output.inputs and key.outputs == value.outputs
        if size is None or not fits or key.outputs % size or query.outputs % key.outputs:
            return None
        return Heads(
            own=[[*query.rows(at, at + size), *output.columns(at, at + size)] for at in range(0, query.outputs, size)],
            shared=[[*key.rows(at, at + size), *value.rows(at, at + size)] for at in range(0, key.outputs, size)],
            outer=outer,
        )

    def _inputs(self, layer: nn.Module, name: str, names: tuple[str, str, str]) -> list[Projection] | None:
        projections = [projection(layer, name, child) for child in names]
        present = [each for each in projections if each is not None]
        return present if len(present) == len(names) else None

    def _output(self, layer: nn.Module, name: str) -> tuple[Projection | None, str]:
        """The output projection, and the module that holds it and the others."""
        for child in OUTPUTS:
            if output := projection(layer, name, child):
                return output, name
        return projection(layer, parent_of(name), OUTPUT_BESIDE), parent_of(name)


LAYOUT = Separate()
