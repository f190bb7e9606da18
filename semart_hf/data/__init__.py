"""Rows become batches: loading, sampling, augmentation and collation."""
