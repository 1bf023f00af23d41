"""What everything stands on: errors, files, and the workarounds for RecBole."""
