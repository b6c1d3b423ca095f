"""`python -m hf_llc.cli`, where there is no console script; that imports from the working folder, `hf-llc` does not."""

from .app import main

main()
