"""What is read off certificate records: metrics, tables, figures. Imports no jax."""
