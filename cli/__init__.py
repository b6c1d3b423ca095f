"""The command line, installed as hf_llc.cli: one thin file a command, over the use cases of hf_llc."""
