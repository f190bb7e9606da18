"""Rows become a dataset folder of Parquet shards."""
