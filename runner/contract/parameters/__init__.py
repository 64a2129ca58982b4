"""The parameters of notebooks: their names, their types as JSON Schema, and values that fit."""
