"""Landmarks of more pictures than one process or one evening can take: in chunks, each one part file."""
