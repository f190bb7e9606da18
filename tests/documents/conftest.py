from evaluated_model import paintings, tiny_model, tiny_model_folder, tiny_processor  # noqa: F401
from saved_results import results, results_file, saved_model  # noqa: F401
