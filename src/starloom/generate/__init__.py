"""WEIGHTS → COMPLETION: the protocols, an engine on ids, a session on text."""
