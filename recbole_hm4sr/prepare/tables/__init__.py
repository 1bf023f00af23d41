"""From raw tables to a folder of atomic files."""
