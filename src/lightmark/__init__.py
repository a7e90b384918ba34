"""Lightmark: facial-landmark detectors small enough for a phone and good enough to trust."""

__version__ = "0.1.0"
