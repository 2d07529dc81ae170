"""A scorer, a diversifier and a pipeline for tokenprune; found by name once the package is installed."""
