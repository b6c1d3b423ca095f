"""`python -m hf_llc.cli`, the form that `accelerate launch -m` and torchrun start."""

from .app import main

main()
