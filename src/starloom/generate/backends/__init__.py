"""What turns ids into logits; each file is one way to do it."""
