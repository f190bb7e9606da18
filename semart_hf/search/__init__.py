"""A catalogue is indexed by a model's features, and searched by words, by pictures and by labels."""
