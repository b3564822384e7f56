"""Specs: frozen dataclasses that say all there is to say about an experiment."""
