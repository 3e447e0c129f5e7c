"""Configuration: the one place that reads YAML files and the environment."""
