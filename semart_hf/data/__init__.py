"""A SemArt release becomes a typed dataset, and the dataset becomes batches."""
