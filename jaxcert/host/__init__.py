"""Classifiers that run outside of JAX: functions of NumPy arrays, PyTorch modules, ONNX files
and oracles that are asked."""
