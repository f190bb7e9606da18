from saved_results import results, results_file, saved_model  # noqa: F401
