"""Downloading item images, and folders of them."""
