"""The main programs, compiled for an H200 that need not be there, and read.

`python -m benchmarks.compiled --help`; docs/accelerator.md says what the numbers mean.
`hlo` reads XLA's text, `count` and `products` count in it, `target` describes the device,
`programs` and the files beside it build what is compiled, `child` compiles one program,
`budgets` compares.
"""
