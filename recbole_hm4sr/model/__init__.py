"""The models of this package, each one file that reads beside its paper."""
