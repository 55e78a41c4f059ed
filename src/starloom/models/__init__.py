"""TOKEN → LOGITS: architectures, their published sizes, and checkpoints in the Hugging Face layout."""
