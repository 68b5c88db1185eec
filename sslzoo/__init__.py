"""sslzoo: a plugin-based zoo of self-supervised pretext methods that publish plain timm encoders."""

__version__ = "0.1.0"
