"""Comparisons, and the pictures and files that show them."""
