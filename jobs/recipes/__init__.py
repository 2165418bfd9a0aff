"""Recipes that come with the project; `relabel run NAME` finds them by name."""
