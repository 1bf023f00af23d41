"""Features of other projects, in this package's form."""
