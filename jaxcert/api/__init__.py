"""The functions that `import jaxcert` offers, each a call or two of the library's parts."""
