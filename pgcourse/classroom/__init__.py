"""Authoring (build) and instruction (classroom)."""
