"""Parts of a model by name: attention heads, MLPs, layers, embeddings, as regions of its tensors."""
