"""A report of trust as one HTML file: its pieces, its parts, and the whole.

The one name to call is `trust_page`, in `whole`.
"""
