"""Annotation of large sets of pictures in chunks, each with one part file, resumable and in parallel."""
