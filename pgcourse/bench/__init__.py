"""Benchmarks: this project and its peers, side by side in one run (`make bench`).

The peers live in an environment of their own, `.venv-bench`, made on first use. Every row runs both
sides seed by seed in turn, so that a machine that is busy for a minute slows both.
"""
