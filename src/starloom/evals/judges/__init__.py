"""Judges: each takes problems and answers, and says which are right."""
