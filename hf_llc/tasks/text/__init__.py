"""Text as token ids: files, columns, documents, tokenizers."""
