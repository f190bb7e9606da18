"""A recipe, a YAML file of this folder or of the user, and a command line become checked fields."""
