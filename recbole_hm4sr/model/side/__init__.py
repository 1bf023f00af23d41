"""Models whose attention reads side information of the items beside their ids."""
