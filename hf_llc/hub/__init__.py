"""The Hub's client: references, reading, downloading, writing, accounts, errors."""
