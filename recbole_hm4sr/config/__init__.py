"""From YAML files and flags to one checked configuration."""
