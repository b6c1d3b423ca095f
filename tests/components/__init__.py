"""Tests of `hf_llc.components`."""
