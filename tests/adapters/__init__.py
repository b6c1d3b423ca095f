"""Tests of hf_llc.adapters."""
