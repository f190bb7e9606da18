"""Numbers become pages, figures and cards."""
