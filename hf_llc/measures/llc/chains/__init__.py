"""λ̂ by chains: their length, the parts that they are made as, and rounds that end by the error or the time."""
