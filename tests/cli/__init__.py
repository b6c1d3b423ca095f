"""Tests of hf_llc.cli."""
