"""Ranks of the targets, groups of users and paired tests."""
