"""RMDNet: relation modelling and distillation for learning with noisy labels, in JAX and Flax."""

__version__ = "0.1.0"
