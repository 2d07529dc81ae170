"""Built-in strategies, one part per file; they are plug-ins like anyone else's."""
