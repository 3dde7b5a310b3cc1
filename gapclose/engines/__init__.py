"""Engines that simulate one state after the other, and the processes that they do it in. Nothing here takes PyTorch."""
