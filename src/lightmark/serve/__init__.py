"""The browser page and, where asked for, landmarks over HTTP; what `lightmark serve` runs (extra `serve`)."""
