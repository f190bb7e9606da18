"""A release or any catalogue of paintings is read, labelled and checked: rows with typed columns."""
