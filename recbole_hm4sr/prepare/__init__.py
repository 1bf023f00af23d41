"""From raw material to the files a run reads: samples, encoders."""
