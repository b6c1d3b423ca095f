"""What is shown and published: figures, model cards, comparisons, exports, publishing."""
