"""The browser page and, optionally, landmarks over HTTP; what `lightmark serve` runs (extra `serve`)."""
