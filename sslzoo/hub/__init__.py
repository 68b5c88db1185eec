"""Encoders out and in: folders and Hub repositories that plain timm can read."""
