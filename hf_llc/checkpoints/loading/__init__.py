"""A checkpoint's files as a model whose every weight is the one that the files hold (transformers, safetensors)."""
