from evaluated_model import paintings, tiny_model, tiny_model_folder, tiny_processor  # noqa: F401
