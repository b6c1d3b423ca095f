"""How attention modules lay their heads out in tensors: a file each, found by its LAYOUT."""

from hf_llc.components.layouts.base import Layout
from hf_llc.settings.registry import Registry

LAYOUTS = Registry[Layout]("hf_llc.components.layouts", "LAYOUT")
