"""Built-in model families, one per file; they are plug-ins like anyone else's."""
