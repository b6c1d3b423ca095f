"""The largest numbers that settings take: beyond them a value is a slip of the hand, or fits nowhere."""

LARGEST = 1e15
"""Of γ and nβ: beyond it a draw moves a weight by less than 32-bit floats can tell."""
LONGEST = 10**9
"""Steps, draws, sequences: a count above it is a slip of the hand, and lists of that length fill any memory."""
MOST_CHAINS = 10**5
MOST_PROCESSES = 10**4
MOST_TOKENS = 10**12
"""In a step of training; with it and a step of a million the count of tokens still fits into a table."""
MOST_THREADS = 4096
"""More than any machine has cores; asked for a million, the thread library ends the process."""
LARGEST_INTEGER = 2**63 - 1
"""Of tables (Arrow's int64), which hold the seed beside the number."""
