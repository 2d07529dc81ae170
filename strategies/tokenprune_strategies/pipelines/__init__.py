"""Built-in pipelines, one method per YAML file."""
