"""Pipelines, one YAML file each."""
