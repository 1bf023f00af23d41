"""MMSR (CIKM 2023), with its codes, graphs and attention."""
