"""Check a data set before a run: numbers from arrays, then one page of words and charts."""
