"""Claims of the papers, run again.

Each module is a script: `python -m tests.experiments.NAME FOLDER` writes its numbers and its picture into the folder.
`test_experiments.py` runs a tiny one of each.
"""
