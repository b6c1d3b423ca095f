"""Tests of hf_llc.core."""
