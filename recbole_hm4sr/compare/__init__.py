"""Many runs, one protocol: every cell of a grid run once, and the tables that compare them."""
