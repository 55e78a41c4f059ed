"""Generators beside the local session: an endpoint, a file of completions, vLLM; and how each is named."""
