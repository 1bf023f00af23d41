"""HM4SR (WWW 2025), with its experts and losses."""
