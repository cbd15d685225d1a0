"""The configs that the package ships; `jaxcert configs` lists them and their rows."""
