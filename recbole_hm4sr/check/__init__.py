"""A data set judged before a run: numbers from arrays, then one page of words and plots."""
