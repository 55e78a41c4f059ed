"""Lineage: from a file to its tokens, and from a training step back to its files."""
